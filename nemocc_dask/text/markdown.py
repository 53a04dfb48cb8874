"""Takes bold, italics and links out of answers; code, maths, identifiers and addresses stay as they are.

One pattern reads a text from left to right. What is no markup though it may look like it (code, maths,
`2*3*4`, `my_snake_case`, an address) is an alternative of its own, is matched first and put back as it was;
so no part of it is ever tried as the beginning of emphasis, and no lookaround is needed. Emphasis inside
emphasis takes another round.

The vocabulary of the pattern stands below from small to large. An alternative is tried before those after it.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.patterns import SPACE, matches, until_settled

_LETTERS = (
    "0-9A-Za-zªµºÀ-ÖØ-öø-ɏ\u0300-\u037d\u037f-\u0588\u0590-\u060b\u0610-\u061a"
    "\u0620-\u0669\u066e-\u06d3\u06d5-\u0963\u0966-\u0dff\u10a0-\u10ff\u1e00-\u1fff"
)
"""Letters of scripts that put space between words. A star right after one of them opens nothing: `2*3`."""
_ALL_LETTERS = _LETTERS + "\u0e00-\u109f\u1100-\u1dff\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\uac00-\ud7a3"
"""Thai, Chinese, Japanese and Korean too: bold may stand inside words there, an underscore may not."""
_ASCII_SIGNS = r"""!"#$%&'()*+,./:;<=>?@\[\\\]^_`{|}~-"""

# What is read as one piece and left alone.
_CODE = r"(?:`{2,}(?:[^`\n]|`[^`\n])+`{2,}|`[^`\n]+`)"
_LINE_START = r"(?:^|\n)"
_FENCES = tuple(
    _LINE_START + rf"[ \t]*{fence}[^\n`]*\n(?:(?:[^\n]*\n)*?[ \t]*{fence}|(?:.|\n)*)" for fence in ("`{3,}", "~{3,}")
)
_BULLET = _LINE_START + r"[ \t]*(?:[-+*•]|[0-9]{1,3}[.)])[ \t]"
_INDENTED_CODE = _LINE_START + r"(?: {4}| {0,3}\t)[^\n]+"
_MATHS = (
    r"\$\$(?:[^$\n]|\n[^$\n])+\n?\$\$",  # ends before a blank line: $$ is slang for dear, too
    r"\$[0-9][0-9.,]* ",  # money: what follows it is no formula
    r"\$[^$ \t\n](?:(?:[^$*\n]|\*[^$*\n])*[^$*\n \t(–-])?\$",
    r"\\\((?:[^\\\n]|\\[^)\n])*\\\)",
    r"\\\[(?:[^\\]|\\[^\]])*\\\]",
)
_ESCAPED = r"\\[!-/:-@\[-`{-~]"
_COMMENT = r"/\*+[ \t\n!](?:[^*]|\*+[^*/])*\*+/"
_ADDRESS = rf"(?:https?|ftp|file)://(?:[!-)+-;=?-_a-~]|\*+[/{_LETTERS}])+"
_DUNDER = r"__[0-9A-Za-z_]*__"
_QUOTED_NAME = r"""["']_[0-9A-Za-z_]+["']"""
# A piece ends with its word: a letter of it left over would let the next sign open emphasis.
_WORD_ON = rf"[{_LETTERS}][_*{_ALL_LETTERS}]*"
# Emphasis that a letter follows is a product, a pointer or a glob: `*a, *b`, `x *y*z`.
_STARS_BEFORE_LETTER = rf"\*+(?:{_CODE}|[^*`\n \t])(?:(?:{_CODE}|[^*`\n])*(?:{_CODE}|[^*`\n \t]))?\*+{_WORD_ON}"
_STARS_BEFORE_SUFFIX = rf"\*[^*`\n \t]+\*\.[{_LETTERS}]"
_UNDERSCORES_BEFORE_LETTER = (
    rf"_+(?:{_CODE}|[^_`\n \t])(?:(?:{_CODE}|[^_`\n])*(?:{_CODE}|[^_`\n \t]))?_+"
    rf"[.@/(\[=]?[{_ALL_LETTERS}][_*{_ALL_LETTERS}]*"
)
_STARS_AFTER_LETTER = rf"[{_LETTERS})\]}}^]_*\*+|[./]\*[0-9A-Za-z.?+)|($\"'_]"
_UNDERSCORES_AFTER_LETTER = rf"[{_ALL_LETTERS})\]}}./\\@#$&=^~%<>:]_+"
_INDEX = rf"[{_LETTERS})\]]\["

_LEFT_ALONE = "|".join(
    (
        *_FENCES,
        _BULLET,
        _INDENTED_CODE,
        _CODE,
        *_MATHS,
        _ESCAPED,
        _COMMENT,
        _ADDRESS,
        _DUNDER,
        _QUOTED_NAME,
        _STARS_BEFORE_LETTER,
        _STARS_BEFORE_SUFFIX,
        _UNDERSCORES_BEFORE_LETTER,
        _STARS_AFTER_LETTER,
        _UNDERSCORES_AFTER_LETTER,
        _INDEX,
    )
)

# Links.
_WORDS = rf"(?:{_CODE}|\\[^\n]|[^\[\]`\\\n]|\[[^\[\]\n]*\])"
_PLACE = r"(?:[^ \t\n()<>]|\([^ \t\n()]*\))"
_WEB_PLACE = rf"(?:<?(?:https?://|ftp://|mailto:){_PLACE}+>?)"
_NEAR_PLACE = rf"(?:<[^<>\n]*>|{_PLACE}*[./#]{_PLACE}*)"
_TITLE = r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'))?[ \t]*"""
_WEB_LINK = rf"([{_LETTERS})\]]?)!?\[({_WORDS}*)\]\([ \t]*{_WEB_PLACE}{_TITLE}\)"
_NEAR_LINK = rf"!?\[({_WORDS}+)\]\([ \t]*{_NEAR_PLACE}{_TITLE}\)"

# Emphasis. Its words begin and end with something that is neither space nor a sign of code.
_BRACKETED = r"\([^()*`\n]*\)"
_LONE = rf"[^{SPACE}{_ASCII_SIGNS}]"


def _words(first: str, inside: str, last: str) -> str:
    return rf"(?:{first})(?:{inside})*(?:{last})|{first}"


_BOLD_WORDS = _words(
    first=rf"{_CODE}|\\[^\n]|[^{SPACE}*`\\),;/=|>]",
    inside=rf"{_CODE}|\\[^\n]| \* |[^*`\\\n]",
    last=rf"{_CODE}|\\[^\n]|[^{SPACE}*`\\(\[/=&]",
)
_STARRED_WORDS = _words(
    first=rf"{_CODE}|{_BRACKETED}|-[{_LETTERS}]|[\"'#$@_]|{_LONE}",
    inside=rf"{_CODE}|{_BRACKETED}|\\[^\n]|[^*`()\\\n=|<>{{}}]",
    last=rf"{_CODE}|{_BRACKETED}|[{_LETTERS}]-|[^{SPACE}*`()\\/=|<>{{}}\[+&^-]",
)
_QUOTED = r'"[^"_*`\n]*"'
_UNDERSCORED_FIRST = rf"{_CODE}|{_BRACKETED}|{_QUOTED}|['#@-]|{_LONE}"
_UNDERSCORED_INSIDE = rf"{_CODE}|{_BRACKETED}|[ (]{_QUOTED}|[^_*`()\\\n=|<>{{}}\"$]"
_UNDERSCORED_LAST = rf"{_CODE}|{_BRACKETED}|[ (]{_QUOTED}|[^{SPACE}_*`()\\/=|<>{{}}\"$\[+&^]"
_UNDERSCORED_WORDS = _words(_UNDERSCORED_FIRST, _UNDERSCORED_INSIDE, _UNDERSCORED_LAST)
# One word between double underscores is an identifier (`__init__`): two of them, or a colon, are asked for.
_TWO_WORDS = (
    rf"(?:{_UNDERSCORED_FIRST})(?:{_UNDERSCORED_INSIDE})*"
    rf"(?: (?:{_UNDERSCORED_INSIDE})*(?:{_UNDERSCORED_LAST})|:)"
)

_EMPHASIS = "|".join(
    (
        rf"\*\*\*({_BOLD_WORDS})\*\*\*",
        rf"\*\*({_BOLD_WORDS})\*\*",
        rf"\*({_STARRED_WORDS})\*",
        rf"__({_TWO_WORDS})__",
        rf"_({_UNDERSCORED_WORDS})_",
    )
)
_MARKUP = "|".join((_WEB_LINK, f"({_LEFT_ALONE})", _NEAR_LINK, _EMPHASIS))
_WHAT_STAYS = r"\1\2\3\4\5\6\7\8\9"
_MAY_BE_MARKUP = rf"\]\(|{_EMPHASIS}"
"""Found wherever something goes, in a tenth of the time: captures are what is slow, a microsecond a match."""


def remove_markdown(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Without bold, italics, bold italics and links, of which the words stay; all else stays as it is.

    Fenced, indented and inline code, maths between `$` or in LaTeX brackets, addresses, bullets, escaped
    signs, products, pointers, globs and identifiers are not markup. In doubt signs stay rather than go: a
    stray star harms a text less than a formula that lost its stars.

    >>> text = "**Use** [the docs](https://x.y/a_b) of my_snake_case: 2*3*4=24"
    >>> remove_markdown(pa.array([text, None], pa.large_string())).to_pylist()
    ['Use the docs of my_snake_case: 2*3*4=24', None]
    """
    return until_settled(texts, _without_outermost, applies=partial(matches, pattern=_MAY_BE_MARKUP))


def _without_outermost(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    return pc.replace_substring_regex(texts, _MARKUP, _WHAT_STAYS)
