"""Knowledge lists: whatever bullets a model chose, one fact a line comes out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.blanks import is_blank, strip
from nemocc_dask.text.layout import Flags, Integers, joined, running_total, to_flags
from nemocc_dask.text.patterns import SPACE, any_case, matches
from nemocc_dask.text.segments import split

_SPACE = f"[{SPACE}]"
_NUMBER = r"[0-9]{1,3}"
# Facts begin with dashes and numbers too (-5 °C, 1.5 million): as bullets these need white space after them.
_BULLET = rf"(?:(?:[-*+–—·]|{_NUMBER}[.)]|\({_NUMBER}\))(?:{_SPACE}+|$)|[•▪◦‣]{_SPACE}*)"
_BULLETS = f"^{_SPACE}*{_BULLET}+"
_INDENTED = f"^{_SPACE}"
_ENDS_WITH_COLON = "[:：][*_ \t]*$"
_SENTENCE = '[.!?。！？]["”’)*_]*$'
_OPENINGS = ("here is", "here are", "here's", "here’s", "sure", "below", "the following")
_PREAMBLE = f"^[*_# ]*(?:{'|'.join(map(any_case, _OPENINGS))})(?:[^0-9A-Za-z]|$)"
_HEADING = "^#{1,6} "


def normalize_bullets(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """One fact a line, without bullets, numbers, headings and preamble; empty where no fact is left.

    What ends with a colon only announces facts and goes. In a list without bullets every other line is a
    fact. In one with bullets an indented line without one continues the fact above, joined to it by a
    space, and two more kinds of line are no facts: Markdown headings, and before the first bullet whatever
    is no plain sentence or reads like a preamble (Here is, Sure, Below, The following).

    >>> text = "Here is the list:\\n\\n* Iron rusts.\\n* Gold\\n  does not."
    >>> normalize_bullets(pa.array([text, None], pa.large_string())).to_pylist()
    ['Iron rusts.\\nGold does not.', None]
    """
    lines, rows = split(texts, "\n")
    written = pc.invert(is_blank(lines))
    facts, fact_rows = _facts(lines.filter(written), rows[to_flags(written)], len(texts))
    starts = np.searchsorted(fact_rows, np.arange(len(texts) + 1))
    return pc.if_else(texts.is_valid(), joined(facts, starts, "\n"), texts)


def _facts(lines: pa.LargeStringArray, rows: Integers, row_count: int) -> tuple[pa.LargeStringArray, Integers]:
    """The facts in these lines, none of which is blank, and the row of each. `rows` is sorted."""
    bulleted = to_flags(matches(lines, _BULLETS))
    in_list, before_first = _place_in_list(bulleted, rows, row_count)
    first_in_row = np.diff(rows, prepend=-1) > 0
    continues = in_list & ~bulleted & ~first_in_row & to_flags(matches(lines, _INDENTED))
    begins = np.flatnonzero(~continues)
    facts = strip(joined(_bare(lines), np.append(begins, len(lines)), " "))
    wanted = _wanted(facts, unbulleted=(in_list & ~bulleted)[begins], before_first=before_first[begins])
    return facts.filter(pa.array(wanted)), rows[begins][wanted]


def _place_in_list(bulleted: Flags, rows: Integers, row_count: int) -> tuple[Flags, Flags]:
    """bool, one per line: is it in a row that has bullets, and does it stand before the first of them?"""
    bullets_before = running_total(bulleted)
    row_starts = bullets_before[np.searchsorted(rows, np.arange(row_count + 1))]
    in_list = (np.diff(row_starts) > 0)[rows]
    return in_list, in_list & (bullets_before[1:] == row_starts[:-1][rows])


def _bare(lines: pa.LargeStringArray) -> pa.LargeStringArray:
    return strip(pc.replace_substring_regex(lines, _BULLETS, ""))


def _wanted(facts: pa.LargeStringArray, *, unbulleted: Flags, before_first: Flags) -> Flags:
    """bool, one per fact. The masks: facts without a bullet in a list with some; those before its first."""
    announces = to_flags(matches(facts, _ENDS_WITH_COLON)) | to_flags(is_blank(facts))
    preamble = ~to_flags(matches(facts, _SENTENCE)) | to_flags(matches(facts, _PREAMBLE))
    heading = to_flags(matches(facts, _HEADING))
    return ~(announces | (before_first & preamble) | (unbulleted & heading))
