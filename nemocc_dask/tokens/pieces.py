"""Columns of text in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def slices(
    texts: pa.LargeStringArray, *, max_bytes: int, max_rows: int | None = None, times: int = 1, around: int = 0
) -> Iterator[slice]:
    """Slices of at most so many bytes and rows, or of one row that is longer, for texts without nulls.

    times, around: what is made of a row holds its text so many times, and so many bytes more.

    >>> list(slices(pa.array(["ab", "c", "defgh"], pa.large_string()), max_bytes=3))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    ends = np.cumsum(pc.binary_length(texts).to_numpy() * times + around, dtype=np.int64)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + max_bytes, side="right")))
        end = min(end, start + (max_rows or len(ends)))
        yield slice(start, end)
        start = end
