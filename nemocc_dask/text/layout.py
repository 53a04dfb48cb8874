"""How texts lie in Arrow's buffers, parts in their rows and rows in numpy: the arithmetic that kernels share.

Texts are a `pyarrow.LargeStringArray` of one chunk, any offset, nulls allowed; positions and token counts are int64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]


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


def bytes_of(texts: pa.LargeStringArray) -> Bytes:
    """The rows' UTF-8 end to end, with whatever lies beneath nulls; not copied.

    >>> bytes_of(pa.array(["ab", None, "ñ"], pa.large_string())).tobytes().decode()
    'abñ'
    """
    offsets = offsets_of(texts)
    return np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]


def bytes_at(lines: pa.LargeStringArray, place: int) -> Bytes:
    """uint8, one for each line: its byte at a place, from its end where that is negative; 0 where it is too short.

    >>> lines = pa.array(["ab", ""], pa.large_string())
    >>> bytes_at(lines, 1).tobytes(), bytes_at(lines, -2).tobytes()
    (b'b\\x00', b'a\\x00')
    """
    offsets, data = offsets_of(lines) - offsets_of(lines)[0], bytes_of(lines)
    places = (offsets[:-1] if place >= 0 else offsets[1:]) + place
    inside = (places >= offsets[:-1]) & (places < offsets[1:])
    return np.where(inside, data[places * inside], np.uint8(0)) if len(data) else np.zeros(len(lines), np.uint8)


def byte_table(signs: Iterable[int]) -> Flags:
    """bool (256,): which bytes are among these.

    >>> np.flatnonzero(byte_table(b"ab")).tolist()
    [97, 98]
    """
    flags = np.zeros(256, bool)
    flags[list(signs)] = True
    return flags


def cut_at(data: Bytes, bounds: Integers) -> pa.LargeStringArray:
    """The texts between each place in `data` and the next, `bounds` being one or more; nothing is copied.

    >>> cut_at(np.frombuffer(b"abc", np.uint8), np.array([0, 1, 3])).to_pylist()
    ['a', 'bc']
    """
    return pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(data))


def between(data: Bytes, starts: Integers, ends: Integers) -> pa.LargeStringArray:
    """The text from each start to its end; both rise, and no two of them overlap.

    >>> between(np.frombuffer(b"abcd", np.uint8), np.array([0, 2]), np.array([1, 4])).to_pylist()
    ['a', 'cd']
    """
    bounds = np.append(np.stack((starts, ends), axis=1).ravel(), len(data))
    pieces = cut_at(data, bounds)
    return pieces.filter(pa.array(np.arange(len(pieces)) % 2 == 0))


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
