"""Takes bold, italics and links out of answers; code, maths, identifiers and addresses stay as they are.

What is no prose though it may look like markup (code, maths, addresses) is hidden first, found by one pattern that
reads a text from left to right, so that no part of it is ever tried as the beginning of emphasis. Emphasis goes by
what stands beside its signs (`nemocc_dask.text.emphasis`), links by patterns of their own.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.emphasis import BARRIER, HIDDEN, may_have_emphasis, without_emphasis
from nemocc_dask.text.layout import Bytes, bytes_of, cut_at, offsets_of
from nemocc_dask.text.patterns import matches, until_settled

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
# It does not end with an underscore, which may close what the address stands in.
_IN_ADDRESS = r"\*+[/&=?0-9A-Za-z]|[!-)+-;=?-^a-~]"
_ADDRESS = rf"(?:https?|ftp|file)://(?:{_IN_ADDRESS}|_)*(?:{_IN_ADDRESS})"
_DUNDER = r"__[0-9A-Za-z_]*__"
_QUOTED_NAME = r"""["']_[0-9A-Za-z_]*["']|'\*[^'\n \t]*\*'"""
_TARGET = r"\.\. _[^_:\n]+:"  # of a link in reStructuredText
_NO_PROSE = "|".join(
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
        _TARGET,
    )
)

# Links.
_WORDS = rf"(?:{_CODE}|\\[^\n]|[^\[\]`\\\n]|\[[^\[\]\n]*\])"
_PLACE = r"(?:[^ \t\n()<>]|\([^ \t\n()]*\))"
_WEB_PLACE = rf"(?:<?(?:https?://|ftp://|mailto:){_PLACE}+>?)"
_NEAR_PLACE = rf"(?:<[^<>\n]*>|{_PLACE}*[./#]{_PLACE}*)"
_TITLE = r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'))?[ \t]*"""
_INDEX = r"[0-9A-Za-z)\]]\["
_WEB_LINK = rf"([0-9A-Za-z)\]]?)!?\[({_WORDS}*)\]\([ \t]*{_WEB_PLACE}{_TITLE}\)"
_NEAR_LINK = rf"!?\[({_WORDS}+)\]\([ \t]*{_NEAR_PLACE}{_TITLE}\)"
_LINKS = "|".join((_WEB_LINK, f"({_NO_PROSE}|{_INDEX})", _NEAR_LINK))
_WHAT_STAYS_OF_LINKS = r"\1\2\3\4"
_MAY_BE_LINK = r"\]\([ \t]*(?:<|[^ \t\n]*[./#:])"

_HIDDEN = rf"{_NO_PROSE}|\]\({_PLACE}*\)"


def remove_markdown(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Without bold, italics, bold italics and links, of which the words stay; all else stays as it is.

    Fenced, indented and inline code, maths between `$` or in LaTeX brackets, addresses, bullets, escaped
    signs, products, pointers, globs and identifiers are not markup. In doubt signs stay rather than go: a
    stray star harms a text less than a formula that lost its stars.

    >>> text = "**Use** [the docs](https://x.y/a_b) of my_snake_case: 2*3*4=24"
    >>> remove_markdown(pa.array([text, None], pa.large_string())).to_pylist()
    ['Use the docs of my_snake_case: 2*3*4=24', None]
    """
    return until_settled(texts, _without_outermost, applies=_may_be_markup)


def _may_be_markup(texts: pa.LargeStringArray) -> pa.BooleanArray:
    return pc.or_(may_have_emphasis(texts), matches(texts, _MAY_BE_LINK))


def _without_outermost(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    texts = without_emphasis(texts, _prose(texts))
    linked = matches(texts, _MAY_BE_LINK)
    if not linked.true_count:
        return texts
    return pc.replace_with_mask(
        texts, linked, pc.replace_substring_regex(texts.filter(linked), _LINKS, _WHAT_STAYS_OF_LINKS)
    )


def _prose(texts: pa.LargeStringArray) -> Bytes:
    """The texts' bytes end to end, with others in place of what is no prose, line breaks aside."""
    data = bytes_of(texts)
    # Nothing captured: RE2 is several times as fast at finding where a match is than at what in it is where.
    marked = pc.replace_substring_regex(_without_marks(texts), _HIDDEN, rf"{_MARK}\0{_MARK}")
    marks = np.flatnonzero(bytes_of(marked) == ord(_MARK))
    bounds = np.concatenate(([0], marks - np.arange(len(marks)), [len(data)]))
    covers = np.zeros(len(bounds) - 1, np.uint8)
    covers[1::2] = np.where(data[bounds[1:-1:2]] == ord("/"), BARRIER, HIDDEN)  # only comments begin with a slash
    cover = np.repeat(covers, np.diff(bounds))
    return np.where((cover == 0) | (data == ord("\n")), data, cover)


_MARK = "\x01"


def _without_marks(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The texts with another byte for the one that is about to mark places in them."""
    data, offsets = bytes_of(texts), offsets_of(texts)
    marks = data == ord(_MARK)
    if not marks.any():
        return texts
    cleared = np.where(marks, np.uint8(2), data)
    return cut_at(cleared, offsets - offsets[0])
