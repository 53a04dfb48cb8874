"""What is in a part: its columns and their types, and its rows."""

from __future__ import annotations

import pyarrow as pa

from nemocc_dask.io.files import PARQUET, unreadable
from nemocc_dask.io.jsonl import read_lines
from nemocc_dask.io.parquet import parquet_schema, read_rows
from nemocc_dask.io.parts import Part


def schema_of(part: Part) -> pa.Schema:
    """Arrow schema of a part's file, or of its lines. Raises `InputError`."""
    if part.format == PARQUET:
        return parquet_schema(part.file)
    return pa.schema([_without_dates(field) for field in read_lines(part.file, part.start, part.stop, None).schema])


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
    if part.format == PARQUET:
        table = _with_nulls(read_rows(part.file, part.start, part.stop, wanted.names), wanted)
    else:
        table = read_lines(part.file, part.start, part.stop, wanted)
    try:
        cast = table.select(wanted.names).cast(wanted)
        if part.format == PARQUET:
            cast.validate(full=True)  # text may not be UTF-8, which nobody else looks at
    except pa.ArrowInvalid as error:
        raise unreadable(part.file, str(error)) from None
    return cast


def _with_nulls(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with a column of nulls for each that other files have and this one has not."""
    for name in set(wanted.names) - set(table.column_names):
        table = table.append_column(wanted.field(name), pa.nulls(len(table), wanted.field(name).type))
    return table
