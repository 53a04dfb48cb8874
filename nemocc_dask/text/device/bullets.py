"""Knowledge lists on a device; `text.bullets` says what becomes of them, and holds the patterns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nemocc_dask.text import bullets
from nemocc_dask.text.device.columns import Columns, Texts
from nemocc_dask.text.device.segments import is_blank, split
from nemocc_dask.text.layout import Flags, Integers, running_total


def normalize_bullets(on: Columns, texts: Texts) -> Texts:
    """One fact a line, without bullets, numbers, headings and preamble; empty where no fact is left."""
    present = ~on.is_null(texts)
    lines, rows = split(on, texts, "\n")
    written = ~is_blank(on, lines)
    facts, fact_rows = _facts(on, on.filter(lines, written), rows[written], len(texts))
    bounds = np.searchsorted(fact_rows, np.append(np.flatnonzero(present), len(texts)))
    return on.put(texts, present, on.joined(facts, bounds, "\n"))


def _facts(on: Columns, lines: Texts, rows: Integers, row_count: int) -> tuple[Texts, Integers]:
    """The facts in these lines, none of which is blank, and the row of each. `rows` is sorted."""
    bulleted = on.matches(lines, bullets.BULLETS)
    layout = Layout.of(bulleted, on.matches(lines, bullets.INDENTED), rows, row_count)
    bare = on.strip(on.remove(lines, bullets.BULLETS))
    facts = on.strip(on.joined(bare, np.append(layout.begins, len(rows)), " "))
    wanted = _wanted(on, facts, layout)
    return on.filter(facts, wanted), rows[layout.begins][wanted]


def _wanted(on: Columns, facts: Texts, layout: Layout) -> Flags:
    return layout.wanted(
        announces=on.matches(facts, bullets.ENDS_WITH_COLON) | is_blank(on, facts),
        preamble=~on.matches(facts, bullets.SENTENCE) | on.matches(facts, bullets.PREAMBLE),
        heading=on.matches(facts, bullets.HEADING),
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
