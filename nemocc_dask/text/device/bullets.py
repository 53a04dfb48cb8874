"""Knowledge lists on a device; `text.bullets` says what becomes of them, and holds the patterns and the arithmetic."""

from __future__ import annotations

import numpy as np

from nemocc_dask.text import bullets
from nemocc_dask.text.device.columns import Columns, Texts
from nemocc_dask.text.device.segments import is_blank, split
from nemocc_dask.text.layout import Flags, Integers


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
    layout = bullets.Layout.of(bulleted, on.matches(lines, bullets.INDENTED), rows, row_count)
    bare = on.strip(on.remove(lines, bullets.BULLETS))
    facts = on.strip(on.joined(bare, np.append(layout.begins, len(rows)), " "))
    wanted = _wanted(on, facts, layout)
    return on.filter(facts, wanted), rows[layout.begins][wanted]


def _wanted(on: Columns, facts: Texts, layout: bullets.Layout) -> Flags:
    return layout.wanted(
        announces=on.matches(facts, bullets.ENDS_WITH_COLON) | is_blank(on, facts),
        preamble=~on.matches(facts, bullets.SENTENCE) | on.matches(facts, bullets.PREAMBLE),
        heading=on.matches(facts, bullets.HEADING),
    )
