"""Files become partitions whose identity is data: files and ranges of them, whatever Dask calls the task."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from operator import mul
from typing import NamedTuple

import pyarrow.parquet as pq

from nemocc_dask.errors import InputError
from nemocc_dask.io.files import PARQUET, each_of, format_of, readers_for
from nemocc_dask.io.jsonl import bytes_and_bytes_per_line
from nemocc_dask.io.parquet import footer_of

PARTITION_BYTES = 64 << 20
"""About as much of a file, unpacked, is one partition at most, however few rows that are; but a row is never cut."""

CUTTING = 2
"""Number of the way in which files are cut: what another way has begun, this one cannot go on with."""

WHOLE = 1 << 40
"""A partition that is full; what fills a part of it is a whole number of these shares."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A range of a file, or of sample numbers.

    file, format: what it is read from; "" for rows made from nothing. start, stop: range of rows of a Parquet file, of
    bytes of a JSONL file once it is unpacked (the lines that begin there), or of sample numbers.
    """

    file: str
    format: str
    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """One partition of the input: a piece of one file, or several small files one after another.

    index: its number among all partitions, which names its shards.
    """

    index: int
    pieces: tuple[Piece, ...]

    @property
    def file(self) -> str:
        """The first of its files; "" for rows made from nothing."""
        return self.pieces[0].file


def plan_parts(files: Sequence[str], *, rows_per_partition: int, samples: int = 0) -> tuple[Part, ...]:
    """Make partitions of about `rows_per_partition` rows, or of fewer where these are large: files that are larger are
    cut, smaller ones go together with their neighbours. Then `samples` rows made from nothing.

    A file without rows adds nothing. Raises `InputError` for a file that is torn or cannot be read, and where no file
    has rows.
    """
    cut = each_of(partial(_cut, rows_per_partition=rows_per_partition), files, readers_for(files))
    groups = list(_grouped(cut))
    if files and not groups:
        raise InputError(f"There are no rows in the input: {', '.join(files[:3])}{', ...' if files[3:] else ''}.")
    groups += [(Piece("", "", *span),) for span in _even_spans(samples, rows_per_partition)]
    return tuple(Part(index, pieces) for index, pieces in enumerate(groups))


class _Cut(NamedTuple):
    """The pieces of a file, and how much of a partition it fills, in shares of `WHOLE`."""

    pieces: tuple[Piece, ...]
    share: int


def _cut(path: str, rows_per_partition: int) -> _Cut:
    kind = format_of(path)
    if kind == PARQUET:
        spans, share = _spans_of_rows(footer_of(path), rows_per_partition)
    else:
        size, bytes_per_line = bytes_and_bytes_per_line(path)
        most = min(PARTITION_BYTES, math.ceil(rows_per_partition * bytes_per_line))
        spans, share = _even_spans(size, most), size * WHOLE // most
    return _Cut(tuple(Piece(path, kind, *span) for span in spans), share)


def _grouped(files: Iterable[_Cut]) -> Iterator[tuple[Piece, ...]]:
    """Each piece of a file that was cut is a group; files of one piece share one as long as they fit."""
    together: list[Piece] = []
    filled = 0
    for pieces, share in files:
        if together and (len(pieces) > 1 or filled + share > WHOLE):
            yield tuple(together)
            together, filled = [], 0
        if len(pieces) > 1:
            yield from ((piece,) for piece in pieces)
        else:
            together, filled = [*together, *pieces], filled + share
    if together:
        yield tuple(together)


def _even_spans(length: int, most: int) -> list[Span]:
    number = -(-length // most)
    return [(length * index // number, length * (index + 1) // number) for index in range(number)]


def _spans_of_rows(footer: pq.FileMetaData, rows_per_partition: int) -> tuple[list[Span], int]:
    """Spans of equal weight, and the share of all: a row weighs one of so many rows, or its share of a partition's
    bytes if that is more.

    The bytes of a row are the mean of its row group's: nothing else is known of it without reading it.
    """
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    rows = [group.num_rows for group in groups if group.num_rows]
    bytes_per_row = [group.total_byte_size // group.num_rows for group in groups if group.num_rows]
    weights = [max(PARTITION_BYTES, each * rows_per_partition) for each in bytes_per_row]
    weight, most = sum(map(mul, rows, weights)), PARTITION_BYTES * rows_per_partition
    cuts = [0, *_rows_of_weight([stop for _, stop in _even_spans(weight, most)], rows, weights)]
    return [(start, stop) for start, stop in pairwise(cuts) if start < stop], weight * WHOLE // most


def _rows_of_weight(wanted: Sequence[int], rows: Sequence[int], weights: Sequence[int]) -> Iterator[int]:
    """For each of these weights, how many rows from the first on weigh no more.

    rows, weights: of each row group, how many rows it has, and what each of them weighs.
    """
    rows_before = [0, *accumulate(rows)]
    weight_before = [0, *accumulate(map(mul, rows, weights))]
    for weight in wanted:
        group = bisect_right(weight_before, weight) - 1
        yield rows_before[group] + ((weight - weight_before[group]) // weights[group] if group < len(rows) else 0)
