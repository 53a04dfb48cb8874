"""What is in a part: its columns and their types, and its rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import pyarrow as pa

from nemocc_dask.io.files import PARQUET, each_of, readers_for, unreadable
from nemocc_dask.io.jsonl import read_lines
from nemocc_dask.io.parquet import parquet_schema, read_rows
from nemocc_dask.io.parts import Part, Piece


def schema_of(piece: Piece) -> pa.Schema:
    """Arrow schema of a piece's file, or of its lines. Raises `InputError`."""
    if piece.format == PARQUET:
        return parquet_schema(piece.file)
    lines = read_lines(piece.file, piece.start, piece.stop, None)
    return pa.schema([_without_dates(field) for field in lines.schema])


def _without_dates(field: pa.Field) -> pa.Field:
    """The field, where what Arrow took for dates is text: JSON has no dates, and another part's text may be no date."""
    if pa.types.is_timestamp(field.type):
        return field.with_type(pa.string())
    if pa.types.is_list(field.type):
        return field.with_type(pa.list_(_without_dates(field.type.value_field)))
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([_without_dates(inner) for inner in field.type]))
    return field


def read_part(part: Part, wanted: pa.Schema) -> pa.Table:
    """The wanted columns of a part, in its rows' order, in the wanted types and memory of their own.

    Raises `InputError`. Parts of the same file are read fastest in rising order; when no more are to come,
    `close_streams` closes what has been kept open for them.
    """
    return joined(read_pieces(part, wanted))


def read_pieces(part: Part, wanted: pa.Schema) -> list[pa.Table]:
    """As `read_part`, piece by piece."""
    if len(part.pieces) == 1:
        return [_read(part.pieces[0], wanted)]
    readers = readers_for(piece.file for piece in part.pieces)
    return list(each_of(lambda piece: _read(piece, wanted), part.pieces, readers))


def joined(pieces: Sequence[pa.Table]) -> pa.Table:
    """The rows of pieces one after another."""
    return pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces).combine_chunks()


def names_of_rows(part: Part, lengths: Sequence[int], positions: Iterable[int]) -> Iterator[str]:
    """File and row of each of these rows of a part, for a person to find it by. lengths: rows of each of its pieces.

    >>> part = Part(0, (Piece("a.parquet", "parquet", 10, 12), Piece("b.jsonl", "jsonl", 0, 99)))
    >>> list(names_of_rows(part, [2, 2], [1, 3]))
    ['a.parquet, row 11', 'b.jsonl, row 1']
    """
    begins = [0, *accumulate(lengths)]
    for position in positions:
        at = bisect_right(begins, position) - 1
        piece, row = part.pieces[at], position - begins[at]
        if piece.format == PARQUET:
            yield f"{piece.file}, row {piece.start + row}"
        else:  # only a reader of the whole file knows how many lines there are before
            yield f"{piece.file}, row {row}" + (f" from byte {piece.start} on" if piece.start else "")


def _read(piece: Piece, wanted: pa.Schema) -> pa.Table:
    if piece.format == PARQUET:
        table = _with_nulls(read_rows(piece.file, piece.start, piece.stop, wanted.names), wanted)
    else:
        table = read_lines(piece.file, piece.start, piece.stop, wanted)
    try:
        cast = table.select(wanted.names).cast(wanted)
        if piece.format == PARQUET:
            cast.validate(full=True)  # text may not be UTF-8, which nobody else looks at
    except pa.ArrowInvalid as error:
        raise unreadable(piece.file, str(error)) from None
    return cast


def _with_nulls(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with a column of nulls for each that other files have and this one has not."""
    for name in set(wanted.names) - set(table.column_names):
        table = table.append_column(wanted.field(name), pa.nulls(len(table), wanted.field(name).type))
    return table
