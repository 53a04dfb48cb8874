"""White space: whether a row has nothing else, and rows without it at their ends."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.patterns import SPACE, SPACES, matches


def is_blank(texts: pa.LargeStringArray) -> pa.BooleanArray:
    """True where a row is null or has nothing but white space; never null.

    >>> is_blank(pa.array(["a", " \\n", "", None], pa.large_string())).to_pylist()
    [False, True, True, True]
    """
    return pc.invert(matches(texts, f"[^{SPACE}]"))


def strip(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """White space off both ends, just what `str.strip` takes off; the very same array where there is none.

    >>> strip(pa.array([" a\\u3000", None], pa.large_string())).to_pylist()
    ['a', None]
    """
    stripped = pc.utf8_trim(texts, SPACES)
    return texts if _total_bytes(stripped) == _total_bytes(texts) else stripped


def _total_bytes(texts: pa.LargeStringArray) -> int:
    return int(pc.sum(pc.binary_length(texts), min_count=0).as_py())
