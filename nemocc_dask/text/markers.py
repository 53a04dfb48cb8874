"""The marker an answer was asked to begin with, and the quotation marks that models put round the whole.

What is recognised is written twice: in C (`native/ends.c`), and in patterns, for what lies on a device and for markers
that are dressed or not in ASCII. Both are held to the same answers.
"""

from __future__ import annotations

from functools import cache, partial

import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.errors import SettingError
from nemocc_dask.text.blanks import strip
from nemocc_dask.text.native.library import shortened
from nemocc_dask.text.patterns import SPACE, any_case, matches, until_settled

_BLANK = f"[{SPACE}]*"


def _enclosed(opening: str, closing: str) -> str:
    """Pattern of a whole text between two different marks; marks inside it must balance, two levels deep."""
    other = f"[^{opening}{closing}]"
    level = other
    for _ in range(2):
        level = f"(?:{other}|{opening}(?:{level})*{closing})"
    return f"{opening}{level}*{closing}"


# A straight mark inside opens after space and is closed again: so `"A" and "B"` is two quotations, not one.
_STRAIGHT = rf'"(?:[^"]|[{SPACE}(]"[^"{SPACE}](?:[^"]*[^"{SPACE}])?")*"'
_CURLY_PAIRS = ("“”", "«»", "»«", "„“", "„”", "「」", "『』")
_WHOLLY_QUOTED = "|".join((_STRAIGHT, *(_enclosed(*pair) for pair in _CURLY_PAIRS)))
QUOTATION = f"^{_BLANK}(?:{_WHOLLY_QUOTED}){_BLANK}$"
QUOTATION_BEGINS = f'^{_BLANK}[{"".join(dict.fromkeys(pair[0] for pair in _CURLY_PAIRS))}"]'
"""Pattern of a text that may be wholly quoted, for its first character is a mark that opens."""


def remove_quotation(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Without the quotation marks that enclose a whole row, and the white space on both sides of them.

    Marks within marks come off alike (`“«x»”`), so that doing it twice is doing it once. Where no one pair
    encloses the whole, the row stays as it is. Single quotes are left alone: they are apostrophes too.

    >>> remove_quotation(pa.array([' “All of it.”', '"A" and "B"', None], pa.large_string())).to_pylist()
    ['All of it.', '"A" and "B"', None]
    """
    return shortened("nemocc_without_quotation", texts)


_EMPHASIS = "[*_]+"
_HEADING = f"[#>{SPACE}]*"
_QUOTES = {'"': '"', "“": "”", "„": "[“”]", "«": "»", "「": "」", "‘": "’", "'": "'"}
"""Opening mark: pattern of the mark that closes it."""


def _rest_before(opening: str, closing: str) -> str:
    """Pattern of a text whose own quotation marks balance, so that one more at its end is not its own."""
    if opening in "„'‘":  # these also close, or are apostrophes
        return "((?:.|\n)*)"
    return f"((?:[^{opening}{closing}]|{opening}[^{opening}{closing}]*{closing})*)"


def starts_with_marker(texts: pa.LargeStringArray, marker: str) -> pa.BooleanArray:
    """True where a row begins with the marker, however dressed; false where the row is null.

    Blank lines, heading signs, emphasis and quotation marks may precede it, letters may be of any case, white
    space between the words of any kind. Raises `SettingError` where the marker has no words.

    >>> rows = pa.array(["\\n**PARAPHRASED text:** Iron rusts.", "Iron rusts.", None], pa.large_string())
    >>> starts_with_marker(rows, "Paraphrased Text:").to_pylist()
    [True, False, False]
    """
    return matches(texts, any_dress(marker))


def any_dress(marker: str) -> str:
    """Pattern of a text that begins with the marker, however dressed. Raises `SettingError` where it has no words.

    >>> import re
    >>> bool(re.search(any_dress("My version:"), "**my version**: Iron rusts."))
    True
    """
    return f"^{_HEADING}{_in_any_dress(*_words_and_colon(marker))}"


def no_dress(marker: str) -> str | None:
    """Pattern of the marker at the start of a text that has neither emphasis nor quotation marks before it.

    It matches in one way only, and all that it matches goes. None where the marker begins with a sign, which might be
    dress itself. Raises `SettingError` where the marker has no words.

    >>> import re
    >>> re.sub(no_dress("My version:"), "", "## my version: Iron rusts.")
    ' Iron rusts.'
    """
    words, colon = _words_and_colon(marker)
    return f"^{_HEADING}{words}{colon}" if marker.strip()[0].isalnum() else None


def slice_after_marker(texts: pa.LargeStringArray, marker: str) -> pa.LargeStringArray:
    """What follows the marker a row begins with, without its wrapping and without white space at both ends.

    A quotation mark opened before the marker and closed at the end of the row goes at both places. A marker
    said twice at the start goes twice. Rows that do not begin with it stay as they are. Raises
    `SettingError` where the marker has no words.

    >>> rows = pa.array(['"My version: Iron rusts."', "Iron."], pa.large_string())
    >>> slice_after_marker(rows, "My version:").to_pylist()
    ['Iron rusts.', 'Iron.']
    """
    return until_settled(
        _without_plain_marker(texts, marker),
        partial(_without_dressed_marker, marker=marker),
        applies=partial(starts_with_marker, marker=marker),
    )


def _without_plain_marker(texts: pa.LargeStringArray, marker: str) -> pa.LargeStringArray:
    """What follows a marker that nothing is wrapped round, however often it is said.

    Compiled code knows the letter cases of ASCII alone; markers of other scripts are found by a pattern.
    """
    words = " ".join(marker.strip().removesuffix(":").split())
    if words.isascii() and words.isprintable() and words[:1].isalnum():
        return shortened("nemocc_after_marker", texts, words.lower().encode(), marker.strip().endswith(":"))
    undressed = f"^{_HEADING}{''.join(_words_and_colon(marker))}"
    return until_settled(
        texts,
        lambda rows: strip(pc.replace_substring_regex(rows, undressed, "")),
        applies=partial(matches, pattern=undressed),
    )


def _without_dressed_marker(texts: pa.LargeStringArray, marker: str) -> pa.LargeStringArray:
    rest = pc.replace_substring_regex(texts, _dressed_marker(marker), r"\1\2\3\4\5\6\7\8\9")
    return _without_plain_marker(pc.if_else(pc.equal(rest, texts), texts, strip(rest)), marker)


def _dressed_marker(marker: str) -> str:
    """Pattern of the marker and all that was wrapped round it; what it captures is to stay."""
    words, colon = _words_and_colon(marker)
    plain = f"(?:{_EMPHASIS}{_BLANK}{words}(?:{_EMPHASIS}{colon}|{colon}{_EMPHASIS})|{words}{colon})"
    in_quotes = [f"{opening}{plain}{closing}" for opening, closing in _QUOTES.items()]
    all_in_quotes = [
        f"{opening}{plain}{_rest_before(opening, closing)}{closing}{_BLANK}$" for opening, closing in _QUOTES.items()
    ]
    all_emphasised = [f"[{sign}]+{_BLANK}{words}{colon}([^{sign}]*)[{sign}]+{_BLANK}$" for sign in "*_"]
    forms = (
        *(f"{_EMPHASIS}{form}{_EMPHASIS}" for form in in_quotes),
        *in_quotes,
        *all_in_quotes,
        plain,
        *all_emphasised,
        _in_any_dress(words, colon),
    )
    return f"^{_HEADING}(?:{'|'.join(forms)})"


def _in_any_dress(words: str, colon: str) -> str:
    quote = f"[{''.join(_QUOTES)}]?"
    return f"(?:{_EMPHASIS})?{quote}(?:{_EMPHASIS})?{_BLANK}{words}(?:{_EMPHASIS})?{colon}"


@cache
def _words_and_colon(marker: str) -> tuple[str, str]:
    """Patterns of the marker's words in any case and of its colon, which may stand apart or be full-width."""
    words = marker.strip().removesuffix(":")
    if not words.strip():
        raise SettingError(f"The marker {marker!r} has no words; give the line that answers begin with.")
    return any_case(words), "[ \t]*[:：]" if marker.strip().endswith(":") else ""
