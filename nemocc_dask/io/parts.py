"""Files become partitions whose identity is data: a file and a range of it, whatever Dask calls the task."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from operator import mul

import pyarrow.parquet as pq

from nemocc_dask.errors import InputError
from nemocc_dask.io.files import PARQUET, format_of
from nemocc_dask.io.jsonl import bytes_and_bytes_per_line
from nemocc_dask.io.parquet import footer_of

PARTITION_BYTES = 64 << 20
"""About as much of a file, unpacked, is one partition at most, however few rows that are; but a row is never cut."""

READERS = 4
"""Threads that look through the input before the run."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """One partition of the input.

    index: its number among all partitions, which names its shards. file, format: what it is read from; "" for rows
    made from nothing. start, stop: range of rows of a Parquet file, of bytes of a JSONL file once it is unpacked (the
    lines that begin there), or of sample numbers.
    """

    index: int
    file: str
    format: str
    start: int
    stop: int


def plan_parts(files: Sequence[str], *, rows_per_partition: int, samples: int = 0) -> tuple[Part, ...]:
    """Cut files into partitions of about `rows_per_partition` rows, or of fewer where these are large, then `samples`
    rows made from nothing.

    A file without rows adds none. Raises `InputError` for a file that is torn or cannot be read, and where no file has
    rows.
    """
    with ThreadPoolExecutor(READERS) as readers:
        spans = list(readers.map(partial(_spans, rows_per_partition=rows_per_partition), files))
    ranges = [(path, format_of(path), *span) for path, of_file in zip(files, spans, strict=True) for span in of_file]
    if files and not ranges:
        raise InputError(f"There are no rows in the input: {', '.join(files[:3])}{', ...' if files[3:] else ''}.")
    ranges += [("", "", *span) for span in _even_spans(samples, rows_per_partition)]
    return tuple(Part(index, *each) for index, each in enumerate(ranges))


def _spans(path: str, rows_per_partition: int) -> list[Span]:
    if format_of(path) == PARQUET:
        return _spans_of_rows(footer_of(path), rows_per_partition)
    size, bytes_per_line = bytes_and_bytes_per_line(path)
    return _even_spans(size, min(PARTITION_BYTES, math.ceil(rows_per_partition * bytes_per_line)))


def _even_spans(length: int, most: int) -> list[Span]:
    number = -(-length // most)
    return [(length * index // number, length * (index + 1) // number) for index in range(number)]


def _spans_of_rows(footer: pq.FileMetaData, rows_per_partition: int) -> list[Span]:
    """Spans of equal weight: a row weighs one of so many rows, or its share of a partition's bytes if that is more.

    The bytes of a row are the mean of its row group's: nothing else is known of it without reading it.
    """
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    rows = [group.num_rows for group in groups if group.num_rows]
    bytes_per_row = [group.total_byte_size // group.num_rows for group in groups if group.num_rows]
    weights = [max(PARTITION_BYTES, each * rows_per_partition) for each in bytes_per_row]
    spans = _even_spans(sum(map(mul, rows, weights)), PARTITION_BYTES * rows_per_partition)
    cuts = [0, *_rows_of_weight([stop for _, stop in spans], rows, weights)]
    return [(start, stop) for start, stop in pairwise(cuts) if start < stop]


def _rows_of_weight(wanted: Sequence[int], rows: Sequence[int], weights: Sequence[int]) -> Iterator[int]:
    """For each of these weights, how many rows from the first on weigh no more.

    rows, weights: of each row group, how many rows it has, and what each of them weighs.
    """
    rows_before = [0, *accumulate(rows)]
    weight_before = [0, *accumulate(map(mul, rows, weights))]
    for weight in wanted:
        group = bisect_right(weight_before, weight) - 1
        yield rows_before[group] + ((weight - weight_before[group]) // weights[group] if group < len(rows) else 0)
