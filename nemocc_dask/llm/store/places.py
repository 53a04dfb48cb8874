"""Where stored answers stand: sorted arrays, 24 bytes an answer, that many keys are looked up in at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.unsignedinteger]

Place = tuple[int, int, int]
"""Number of a file, offset of a line in it, length of the line."""


class Places(NamedTuple):
    """Arrays of shape (n,), in order of the keys, of which several may be equal.

    keys: their first 64 bits, uint64. files: uint32. offsets: uint64. lengths: uint32.
    """

    keys: npt.NDArray[np.uint64]
    files: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]

    def at(self, keys: npt.NDArray[np.uint64]) -> Iterator[Place]:
        """The places of all answers whose keys begin like one of these; quickest where these are in order."""
        first = np.searchsorted(self.keys, keys)
        there = self.keys[np.minimum(first, len(self.keys) - 1)] == keys
        first, behind = first[there], np.searchsorted(self.keys, keys[there], side="right")
        hits = np.concatenate([np.arange(0), *map(np.arange, first, behind)])
        yield from zip(*(column[hits].tolist() for column in self[1:]), strict=True)


class Unsorted:
    """Places being gathered, in no order. In Python's arrays, which grow in place: of a large store, copies count."""

    def __init__(self) -> None:
        self._columns = array("Q"), array("I"), array("Q"), array("I")

    def add(self, keys: Column, file: int, offsets: Column, lengths: Column) -> None:
        """Add lines of a file."""
        files = np.full(len(keys), file)
        for gathered, column in zip(self._columns, (keys, files, offsets, lengths), strict=True):
            gathered.frombytes(column.astype(gathered.typecode, copy=False).tobytes())

    def __len__(self) -> int:
        return len(self._columns[0])

    def sorted(self) -> Places:
        """All of them, in order."""
        return _in_order(Places(*(np.frombuffer(gathered, gathered.typecode) for gathered in self._columns)))


class Sorted:
    """Places that grow: a few sorted arrays, each at least twice as long as the next. One thread adds at a time.

    >>> gathered, places = Unsorted(), Sorted()
    >>> gathered.add(np.array([7, 5], "Q"), 0, np.array([0, 100], "Q"), np.array([100, 50], "I"))
    >>> places.add(gathered.sorted())
    >>> list(places.runs[0].at(np.array([5, 6], "Q")))
    [(0, 100, 50)]
    """

    def __init__(self) -> None:
        self.runs: tuple[Places, ...] = ()

    def add(self, places: Places) -> None:
        """Add places that are in order, at least one. Whoever holds `runs` of before keeps them unchanged."""
        runs = [*self.runs, places]
        while len(runs) > 1 and 2 * len(runs[-1].keys) > len(runs[-2].keys):
            runs[-2:] = [_in_order(Places(*map(np.concatenate, zip(*runs[-2:], strict=True))))]
        self.runs = tuple(runs)

    def __len__(self) -> int:
        return sum(len(run.keys) for run in self.runs)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take up."""
        return sum(column.nbytes for run in self.runs for column in run)


def _in_order(places: Places) -> Places:
    order = np.argsort(places.keys, kind="stable")
    return Places(places.keys[order], places.files[order], places.offsets[order], places.lengths[order])
