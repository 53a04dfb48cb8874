"""Knowledge lists: whatever bullets a model chose, one fact a line comes out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.blanks import strip
from nemocc_dask.text.layout import (
    Flags,
    Integers,
    between,
    byte_table,
    bytes_at,
    bytes_of,
    joined,
    offsets_of,
    running_total,
)
from nemocc_dask.text.lines import are_written
from nemocc_dask.text.patterns import SPACE, SPACES, any_case, matching_where
from nemocc_dask.text.segments import split

_SPACE = f"[{SPACE}]"
_NUMBER = r"[0-9]{1,3}"
# Facts begin with dashes and numbers too (-5 °C, 1.5 million): as bullets these need white space after them.
_BULLET = rf"(?:(?:[-*+–—·]|{_NUMBER}[.)]|\({_NUMBER}\))(?:{_SPACE}+|$)|[•▪◦‣]{_SPACE}*)"
BULLETS = f"^{_SPACE}*{_BULLET}+"
INDENTED = f"^{_SPACE}"
ENDS_WITH_COLON = "[:：][*_ \t]*$"
SENTENCE = '[.!?。！？]["”’)*_]*$'
_OPENINGS = ("here is", "here are", "here's", "here’s", "sure", "below", "the following")
PREAMBLE = f"^[*_# ]*(?:{'|'.join(map(any_case, _OPENINGS))})(?:[^0-9A-Za-z]|$)"
HEADING = "^#{1,6} "

# What a first byte tells without a pattern. Of characters beyond ASCII, which may be bullets or white space, nothing.
_SIGN = byte_table(b"-*+")
_PLAIN = byte_table(set(range(0x21, 0x80)) - set(b"-*+(0123456789"))  # begins neither a bullet nor white space
_ASCII_SPACE = byte_table(ord(space) for space in SPACES if space.isascii())
_MAY_END_WITH_COLON = byte_table(b":*_ \t\x9a")  # the last byte of the wide colon


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
    written = are_written(lines)
    if not written.all():
        lines, rows = lines.filter(pa.array(written)), rows[written]
    facts, fact_rows = _facts(lines, rows, len(texts))
    starts = np.searchsorted(fact_rows, np.arange(len(texts) + 1))
    return pc.if_else(texts.is_valid(), joined(facts, starts, "\n"), texts)


def _facts(lines: pa.LargeStringArray, rows: Integers, row_count: int) -> tuple[pa.LargeStringArray, Integers]:
    """The facts in these lines, none of which is blank, and the row of each. `rows` is sorted."""
    bare, bulleted, indented = _bare(lines)
    layout = Layout.of(bulleted, indented, rows, row_count)
    facts = strip(bare)
    if len(layout.begins) < len(lines):
        facts = strip(joined(facts, np.append(layout.begins, len(lines)), " "))
    wanted = _wanted(facts, layout)
    if wanted.all():
        return facts, rows[layout.begins]
    return facts.filter(pa.array(wanted)), rows[layout.begins][wanted]


def _bare(lines: pa.LargeStringArray) -> tuple[pa.LargeStringArray, Flags, Flags]:
    """The lines without bullets; whether each had one; whether those without are indented.

    Nearly all lines are `- Text` or `Text`, which bytes tell. Patterns see the others.
    """
    first = bytes_at(lines, 0)
    bulleted = _SIGN[first] & (bytes_at(lines, 1) == ord(" ")) & _PLAIN[bytes_at(lines, 2)]
    indented = np.zeros(len(lines), bool)
    bare = _without_beginnings(lines, np.where(bulleted, len("- "), 0))
    others = ~bulleted & ~_PLAIN[first]
    if others.any():
        where = pa.array(others)
        rest = lines.filter(where)
        without = pc.replace_substring_regex(rest, BULLETS, "")
        bulleted[others] = np.diff(offsets_of(without)) < np.diff(offsets_of(rest))
        indented = _ASCII_SPACE[first] | matching_where(lines, INDENTED, others & (first >= 0x80))
        bare = pc.replace_with_mask(bare, where, without)
    return bare, bulleted, indented


def _without_beginnings(lines: pa.LargeStringArray, lengths: Integers) -> pa.LargeStringArray:
    """Each line without so many bytes at its beginning."""
    offsets, data = offsets_of(lines) - offsets_of(lines)[0], bytes_of(lines)
    return between(data, offsets[:-1] + lengths, offsets[1:])


def _wanted(facts: pa.LargeStringArray, layout: Layout) -> Flags:
    unlike_a_sentence = ~matching_where(facts, SENTENCE, layout.before_first)
    return layout.wanted(
        announces=matching_where(facts, ENDS_WITH_COLON, _MAY_END_WITH_COLON[bytes_at(facts, -1)])
        | (np.diff(offsets_of(facts)) == 0),
        preamble=unlike_a_sentence | matching_where(facts, PREAMBLE, layout.before_first),
        heading=matching_where(facts, HEADING, layout.unbulleted),
    )


class Layout(NamedTuple):
    """How written lines make facts: arithmetic that does not ask where the text lies.

    begins: int64 (facts,), the lines that begin a fact; it lasts up to the next one.
    before_first: bool (facts,), whether it stands before the first bullet of its row.
    unbulleted: bool (facts,), whether it has none in a row that has some.
    """

    begins: Integers
    before_first: Flags
    unbulleted: Flags

    @classmethod
    def of(cls, bulleted: Flags, indented: Flags, rows: Integers, row_count: int) -> Layout:
        """The facts of lines (n,), none blank, of which some begin with a bullet or are indented; `rows` is sorted.

        >>> Layout.of(np.array([True, False]), np.array([False, True]), np.array([0, 0]), 1).begins.tolist()
        [0]
        """
        in_list, before_first = _place_in_list(bulleted, rows, row_count)
        first_in_row = np.diff(rows, prepend=-1) > 0
        begins = np.flatnonzero(~(in_list & ~bulleted & ~first_in_row & indented))
        return cls(begins, before_first[begins], (in_list & ~bulleted)[begins])

    def wanted(self, *, announces: Flags, preamble: Flags, heading: Flags) -> Flags:
        """bool, one per fact: which of them stay. The flags say what each fact reads like."""
        return ~(announces | (self.before_first & preamble) | (self.unbulleted & heading))


def _place_in_list(bulleted: Flags, rows: Integers, row_count: int) -> tuple[Flags, Flags]:
    """bool, one per line: is it in a row that has bullets, and does it stand before the first of them?"""
    bullets_before = running_total(bulleted)
    row_starts = bullets_before[np.searchsorted(rows, np.arange(row_count + 1))]
    in_list = (np.diff(row_starts) > 0)[rows]
    return in_list, in_list & (bullets_before[1:] == row_starts[:-1][rows])
