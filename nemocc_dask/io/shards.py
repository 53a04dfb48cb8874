"""What a shard and a file of rejects look like: their columns, in order, with one Arrow type each for the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.errors import FrameError
from nemocc_dask.tasks import Task
from nemocc_dask.text.engine import frames_of

_ARROW = {"string": pa.string(), "Int64": pa.int64(), "int64": pa.int64(), "float64": pa.float64()}
_LEDGER = [pa.field(name, _ARROW[dtype]) for name, dtype in columns.LEDGER.items()]
_SAMPLE = pa.field(columns.SAMPLE, pa.int64())
_REJECT = [pa.field(name, _ARROW[dtype]) for name, dtype in columns.REJECT.items()]

WRITTEN = frozenset(
    {columns.SEGMENT_ID, columns.SAMPLE, *columns.TOKEN_COUNTS, columns.TRAINING_TOKENS}
    | {*columns.LEDGER, *columns.REJECT}
)
"""Columns that a run writes and an input may therefore not carry along."""


def shard_schema(
    task: Task, documents: pa.Schema, *, samples: int = 1, counted_for_training: bool = False
) -> pa.Schema:
    """Columns of a task's shards.

    documents: the input's columns by the run's names; none for rows from nothing. samples: answers per prompt; several
    are told apart by a column `sample`. counted_for_training: with `training_token_count`.
    """
    sample = [_SAMPLE] if samples > 1 else []
    training = [pa.field(columns.TRAINING_TOKENS, pa.int64())] if counted_for_training else []
    if task.makes_documents:
        own = [(columns.ID, pa.int64()), (columns.LANGUAGE, pa.string()), (columns.TEXT, pa.string())]
        return pa.schema([pa.field(*field) for field in own] + sample + training + _LEDGER)
    first = [
        documents.field(columns.ID),
        pa.field(columns.SEGMENT_ID, pa.int64()),
        pa.field(columns.TEXT, pa.large_string()),
    ]
    carried = [field for field in documents if field.name not in (columns.ID, columns.TEXT)]
    counts = [pa.field(name, pa.int64()) for name in columns.TOKEN_COUNTS]
    result = pa.field(task.output_field, pa.large_string())
    return pa.schema([*first, result, *carried, *sample, *counts, *training, *_LEDGER])


def reject_schema(task: Task | None, documents: pa.Schema) -> pa.Schema:
    """Columns of the rejects of a task, or, for None, of the input: as much of a row as there was, and why it went."""
    known = list(documents) if task is None else list(shard_schema(task, documents))
    sample = [] if task is None else [_SAMPLE]
    return pa.schema(known + sample + _REJECT)


def as_table(frames: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """The frames' rows one after another under the schema; a column that a frame lacks is null there.

    Raises `FrameError` where a column cannot be of its type.
    """
    return pa.concat_tables([_table(frame, schema) for frame in frames]) if frames else schema.empty_table()


def _table(frame: Any, schema: pa.Schema) -> pa.Table:
    return pa.table([_array(frame, field) for field in schema], schema=schema)


def _array(frame: Any, field: pa.Field) -> Any:
    if field.name not in frame.columns:
        return pa.nulls(len(frame), field.type)
    try:
        return frames_of(frame).array(frame, field.name, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise FrameError(f"The column {field.name!r} cannot be written as {field.type}: {error}.") from None
