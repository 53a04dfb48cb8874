"""What a shard holds: its columns, in order, with one type each whatever the rows are."""

import datetime
from dataclasses import replace
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest

from nemocc_dask.errors import FrameError
from nemocc_dask.io.shards import as_table, reject_schema, shard_schema
from nemocc_dask.tasks import TASKS
from nemocc_dask.text.engine import PANDAS

LEDGER = ["request_id", "model", "finish_reason", "prompt_tokens", "completion_tokens", "attempts", "latency_s"]
COUNTS = [
    "document_token_count",
    "segment_token_count",
    "rephrased_segment_token_count",
    "rephrased_document_token_count",
]
DOCUMENTS = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("quality_score", pa.int64()), ("topic", pa.string())]
)

OF_EACH_TYPE = pa.table(
    {
        "int8": pa.array([1, None, 3], pa.int8()),
        "int64": pa.array([2**62 + 1, None, -1], pa.int64()),
        "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
        "bool": [True, None, False],
        "float": [1.5, None, -0.0],
        "text": ["x", None, ""],
        "decimal": [Decimal("1.10"), None, Decimal("123.45")],
        "date": [datetime.date(2020, 1, 1), None, datetime.date(9999, 1, 1)],
        "moment": pa.array([datetime.datetime(2020, 1, 1), None, None], pa.timestamp("us", "UTC")),
        "bytes": [b"\xff", None, b""],
        "list": pa.array([[1, None], None, []], pa.list_(pa.int64())),
        "empty lists": pa.array([[], None, []], pa.list_(pa.string())),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None}], pa.struct({"a": pa.int64(), "b": pa.string()})),
        "structs": pa.array([[{"a": 1}], None, []], pa.list_(pa.struct({"a": pa.int64()}))),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "category": pa.array(["x", None, "y"]).dictionary_encode(),
        "nothing": pa.nulls(3),
    }
)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.makes_documents])
def test_columns_of_a_shard(name):
    """A shard has id, segment, texts, what was carried along, token counts and ledger, in this order."""
    schema = shard_schema(TASKS[name], DOCUMENTS)
    field = TASKS[name].output_field
    assert schema.names == ["id", "segment_id", "text", field, "quality_score", "topic", *COUNTS, *LEDGER]
    assert schema.field("id").type == pa.string()


def test_columns_of_documents_from_nothing():
    """A shard of multilingual Q&A has id, language, text and the ledger."""
    assert shard_schema(TASKS["multilingual_qa"], pa.schema([])).names == ["id", "language", "text", *LEDGER]


def test_columns_of_rejects():
    """Rejects have as much of a row as there was, and why it went; those of the input have no task's columns."""
    why = ["stage", "reason", "status", "detail"]
    assert reject_schema(None, DOCUMENTS).names == [*DOCUMENTS.names, *why]
    of_task = reject_schema(TASKS["distill"], DOCUMENTS).names
    assert of_task == [*shard_schema(TASKS["distill"], DOCUMENTS).names, "sample", *why]


@pytest.mark.parametrize("name", OF_EACH_TYPE.column_names)
def test_every_type_comes_through_a_frame(name):
    """A column of any type leaves a frame as it went in: nulls are nulls, large integers exact, nested values whole."""
    table = OF_EACH_TYPE.select([name])
    frame = PANDAS.from_table(table)
    back = as_table([frame, frame.iloc[:0], frame.iloc[1:2]], table.schema)
    assert back.schema == table.schema
    assert back.to_pylist() == [*table.to_pylist(), {name: None}]


def test_columns_a_frame_lacks_are_null():
    """Frames that stopped at different stages fit one table: what a frame lacks is null in its rows."""
    schema = pa.schema([("id", pa.int64()), ("text", pa.large_string())])
    table = as_table([pd.DataFrame({"id": [1]}), pd.DataFrame({"text": ["a"], "id": [2], "more": [0]})], schema)
    assert table.to_pylist() == [{"id": 1, "text": None}, {"id": 2, "text": "a"}]


def test_no_frames_at_all():
    """No frames make a table of no rows with all columns."""
    assert as_table([], DOCUMENTS).schema == DOCUMENTS


@pytest.mark.parametrize("values", [["x"], [["a"]], [1.5]])
def test_a_value_of_another_type_is_named(values):
    """A value that cannot be of the column's type is an error that names column and type."""
    with pytest.raises(FrameError, match="'id' cannot be written as int64"):
        as_table([pd.DataFrame({"id": values})], pa.schema([("id", pa.int64())]))


def test_tasks_of_ones_own_have_their_field():
    """A task of the user's own puts its result into the field that it names."""
    own = replace(TASKS["distill"], name="faq", output_field="faq")
    assert "faq" in shard_schema(own, DOCUMENTS).names
