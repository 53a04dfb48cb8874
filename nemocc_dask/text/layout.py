"""How texts lie in Arrow's buffers, parts in their rows and rows in numpy: the arithmetic that kernels share.

Texts are a `pyarrow.LargeStringArray` of one chunk, any offset, nulls allowed; positions and token counts are int64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Parts(NamedTuple):
    """What rows were cut into, in order.

    texts: the parts, (n,), without nulls.
    parents: int64 (n,), the row each part came from, never decreasing.
    """

    texts: pa.LargeStringArray
    parents: Integers


def to_flags(booleans: pa.BooleanArray) -> Flags:
    """Booleans without nulls for numpy: this copies, as Arrow keeps eight of them in a byte.

    >>> to_flags(pa.array([True, False])).tolist()
    [True, False]
    """
    return np.asarray(booleans.to_numpy(zero_copy_only=False), bool)


def offsets_of(texts: pa.LargeStringArray) -> Integers:
    """int64 (n + 1,): where each row begins in the data buffer, and where the last one ends.

    >>> offsets_of(pa.array(["ab", None, "ñ"], pa.large_string())).tolist()
    [0, 2, 2, 4]
    """
    if not len(texts):
        return np.zeros(1, np.int64)  # Arrow may leave out the buffers of an empty array
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def bytes_of(texts: pa.LargeStringArray) -> NDArray[np.uint8]:
    """The rows' UTF-8 end to end, with whatever lies beneath nulls; not copied.

    >>> bytes_of(pa.array(["ab", None, "ñ"], pa.large_string())).tobytes().decode()
    'abñ'
    """
    offsets = offsets_of(texts)
    return np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]


def changes(ids: Integers) -> Flags:
    """True for the first element and for each that differs from the one before it.

    >>> changes(np.array([7, 7, 8])).tolist()
    [True, False, True]
    """
    return np.concatenate((np.ones(len(ids[:1]), bool), ids[1:] != ids[:-1]))


def running_total(counts: Integers | Flags) -> Integers:
    """How much comes before each place, and before the end: int64, one longer than `counts`.

    >>> running_total(np.array([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def joined(parts: pa.LargeStringArray, bounds: Integers, separator: str) -> pa.LargeStringArray:
    """Group i is `parts[bounds[i]:bounds[i + 1]]` with the separator between; of no parts, an empty string.

    >>> joined(pa.array(["a", "b"], pa.large_string()), np.array([0, 2, 2]), "+").to_pylist()
    ['a+b', '']
    """
    # Arrow joins lists with 32-bit offsets only: 2**31 parts at most, whatever their bytes.
    groups = pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), parts)
    return pc.binary_join(groups, pa.scalar(separator, parts.type))
