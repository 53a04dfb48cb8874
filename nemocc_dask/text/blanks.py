"""White space: whether a row has nothing else, and rows without it at their ends."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.layout import byte_table, bytes_at, offsets_of, to_flags
from nemocc_dask.text.patterns import SPACE, SPACES, matching_where


def is_blank(texts: pa.LargeStringArray) -> pa.BooleanArray:
    """True where a row is null or has nothing but white space; never null.

    >>> is_blank(pa.array(["a", " \\n", "", None], pa.large_string())).to_pylist()
    [False, True, True, True]
    """
    present = to_flags(texts.is_valid())
    written = _IS_SIGN[bytes_at(texts, 0)] & present
    unsure = ~written & present & (np.diff(offsets_of(texts)) > 0)
    return pa.array(~(written | matching_where(texts, f"[^{SPACE}]", unsure)))


_IS_SIGN = byte_table(range(0x21, 0x80))
"""ASCII that is no white space: most rows tell by their first byte, but not those that begin with another character."""


def strip(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """White space off both ends, just what `str.strip` takes off; the very same array where there is none.

    >>> strip(pa.array([" a\\u3000", None], pa.large_string())).to_pylist()
    ['a', None]
    """
    stripped = pc.utf8_trim(texts, SPACES)
    return texts if _total_bytes(stripped) == _total_bytes(texts) else stripped


def _total_bytes(texts: pa.LargeStringArray) -> int:
    return int(pc.sum(pc.binary_length(texts), min_count=0).as_py())
