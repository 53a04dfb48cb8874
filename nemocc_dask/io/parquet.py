"""Rows of a Parquet file: a row group is decoded in pieces, however large it is, and by no more than one pass."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from nemocc_dask.filesystems import is_on_disk
from nemocc_dask.io.files import (
    REMOTE_READERS,
    SMALL_BYTES,
    file_size,
    look_into,
    named,
    opened_for_ranges,
    opened_whole,
    version_of,
)
from nemocc_dask.io.streams import STREAMS

BATCH_BYTES = 4 << 20
"""About as much of a row group is decoded at once, but no less than a page of each column. Pages are of 1 MB mostly;
Arrow, though, writes none of fewer than 1,024 rows, however large these are, unless it is told to."""

BATCH_ROWS = 1024
"""At most so many rows: the size of a column that is stored as a dictionary says little about that of its rows."""

_BUFFER_BYTES = 1 << 20
"""Of a column, read at once. Without a buffer, Arrow reads the whole column of a row group first."""

_REMOTE_BUFFER_BYTES = 4 << 20
"""The same where each reading is a request to an object store."""


def parquet_schema(path: str) -> pa.Schema:
    """Arrow schema of the file. Raises `InputError`."""
    return _schema(path, version_of(path))


@lru_cache(maxsize=1 << 17)
def _schema(path: str, version: str) -> pa.Schema:
    return _one_of_each(_layout(path, version).footer.schema.to_arrow_schema().remove_metadata())


@lru_cache(maxsize=64)
def _one_of_each(schema: pa.Schema) -> pa.Schema:
    """The first of equal schemas, so that those of many files take no more room than one."""
    return schema


def footer_of(path: str) -> pq.FileMetaData:
    """What the file says of itself; its schema is remembered with it. Raises `InputError` where it is no Parquet."""
    version = version_of(path)
    footer = _layout(path, version).footer
    _schema(path, version)
    return footer


class _Layout(NamedTuple):
    """rows_before: of each row group, and of the end."""

    footer: pq.FileMetaData
    rows_before: tuple[int, ...]


@lru_cache(maxsize=REMOTE_READERS)
def _layout(path: str, version: str) -> _Layout:  # noqa: ARG001 - another version, another layout
    footer = look_into(path, lambda file: pq.ParquetFile(file).metadata, opened_for_ranges)
    lengths = (footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    return _Layout(footer, (0, *accumulate(lengths)))


def read_rows(path: str, start: int, stop: int, names: Sequence[str]) -> pa.Table:
    """Rows start to stop, at least one, of those columns that the file has, in its own order.

    They take no more memory than they are large. Raises `InputError`.
    """
    if file_size(path) <= SMALL_BYTES:
        table = look_into(path, lambda file: _whole(file, stop - start, names), opened_whole)
        if table is not None:
            return table
    version = version_of(path)
    footer, rows_before = _layout(path, version)
    taken = []
    for group, first, last in _pieces(rows_before, start, stop):
        opened_anew = partial(_RowGroup, path, footer, group, tuple(names))
        key = (path, version, group, tuple(names))
        taken.append(named(path, partial(STREAMS.take, key, opened_anew, first, last)))
    return _owned(pa.concat_tables(taken))


def _whole(file: Any, rows: int, names: Sequence[str]) -> pa.Table | None:
    """The columns of a file that has so many rows, and of another None: it costs less to open a small file once."""
    parquet = pq.ParquetFile(file, pre_buffer=False)
    return parquet.read(list(names), use_threads=False) if parquet.metadata.num_rows == rows else None


def _pieces(rows_before: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Row groups that hold some of the rows, and which of theirs: (group, first, last), counted from the group's."""
    for group in range(bisect_right(rows_before, start) - 1, bisect_left(rows_before, stop)):
        begin, end = rows_before[group], rows_before[group + 1]
        if begin < end:
            yield group, max(start, begin) - begin, min(stop, end) - begin


def _owned(table: pa.Table) -> pa.Table:
    """The same rows, copied: slices would keep alive all that was decoded with them."""
    return pa.concat_tables([table, table.slice(0, 0)]).combine_chunks()


_NOTHING = pa.RecordBatch.from_pylist([])


class _RowGroup:
    """The rows of one row group, decoded batch by batch from the first on."""

    def __init__(self, path: str, footer: pq.FileMetaData, group: int, names: Sequence[str]) -> None:
        self.at = 0
        self._rows: int = footer.row_group(group).num_rows
        self._source = opened_for_ranges(path)
        buffer = _BUFFER_BYTES if is_on_disk(path) else _REMOTE_BUFFER_BYTES
        file = pq.ParquetFile(self._source, metadata=footer, pre_buffer=False, buffer_size=buffer)
        self._batches = file.iter_batches(
            _rows_per_batch(footer.row_group(group), names), row_groups=[group], columns=list(names), use_threads=False
        )
        self._rest = _NOTHING

    @property
    def is_over(self) -> bool:
        return self.at >= self._rows

    def take(self, start: int, stop: int) -> pa.Table:
        for _ in self._until(start):
            pass
        return pa.Table.from_batches(list(self._until(stop)))

    def close(self) -> None:
        self._source.close()

    def _until(self, stop: int) -> Iterator[pa.RecordBatch]:
        while self.at < stop:
            batch = self._rest if len(self._rest) else next(self._batches, _NOTHING)
            if not len(batch):
                raise EOFError(f"a row group ends before its row {self.at}")
            piece = batch.slice(0, stop - self.at)
            # What is empty would still keep the batch alive.
            self._rest = batch.slice(len(piece)) if len(piece) < len(batch) else _NOTHING
            self.at += len(piece)
            yield piece


def _rows_per_batch(group: pq.RowGroupMetaData, names: Sequence[str]) -> int:
    columns = [group.column(index) for index in range(group.num_columns)]
    wanted = tuple(f"{name}." for name in names)  # a nested column has a path for each of its leaves
    sizes = [each.total_uncompressed_size for each in columns if f"{each.path_in_schema}.".startswith(wanted)]
    rows: int = BATCH_BYTES * group.num_rows // max(1, sum(sizes))
    return max(1, min(BATCH_ROWS, rows))
