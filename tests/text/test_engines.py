"""The engines of frames: the same answers to whatever a phase asks, with pandas and with cuDF."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from kinds import chosen_kinds, skip_without_a_gpu

from nemocc_dask.errors import ColumnNotFoundError, FrameError
from nemocc_dask.io.shards import as_table
from nemocc_dask.text.engine import Frames, frames_of
from nemocc_dask.text.pandas_frames import frame_of, table_of


class Kind(NamedTuple):
    """An engine, and how a frame of its kind is made."""

    frames: Frames
    make: Any


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        kinds = dict.fromkeys("cudf" if kind == "cudf" else "pandas" for kind in chosen_kinds(metafunc.config))
        metafunc.parametrize("kind", list(kinds), indirect=True, scope="session")


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "cudf":
        skip_without_a_gpu()
        import cudf

        return Kind(frames_of(cudf.DataFrame({"a": [1]})), lambda columns: cudf.DataFrame(pd.DataFrame(columns)))
    return Kind(frames_of(pd.DataFrame()), pd.DataFrame)


ROWS = {"id": [7, 8, 9], "text": ["a", None, "cc"], "score": [1.5, None, 3.0]}


def listed(kind: Kind, frame: Any) -> dict[str, list[Any]]:
    """The columns as they would be written."""
    kinds = {"id": pa.int64(), "text": pa.large_string(), "score": pa.float64(), "n": pa.int64(), "why": pa.string()}
    return {name: kind.frames.array(frame, name, kinds[name]).to_pylist() for name in frame.columns}


def test_columns_are_read_alike(kind):
    """Text, numbers, values, what is missing, what is equal, and sizes are told as they stand in the frame."""
    frames, frame = kind.frames, kind.make(ROWS | {"word": ["x", None, "x"], "truth": [True, False, True]})
    assert frames.host(frames.texts(frame, "text")).to_pylist() == ["a", None, "cc"]
    assert frames.host(frames.texts(frame, "text")).type == pa.large_string()
    assert frames.byte_counts(frames.texts(frame, "text")).tolist() == [1, 0, 2]
    assert np.array_equal(frames.numbers(frame, "score"), [1.5, np.nan, 3.0], equal_nan=True)
    assert frames.numbers(frame, "id").tolist() == [7.0, 8.0, 9.0] and frames.numbers(frame, "truth").sum() == 2
    assert frames.values(frame, "id") == [7, 8, 9]
    assert frames.is_null(frame, "text").tolist() == frames.is_null(frame, "score").tolist() == [False, True, False]
    assert frames.codes(frame, "word").tolist() == [0, -1, 0] and frames.codes(frame, "score").tolist()[1] == -1


def test_rows_are_picked_and_repeated_in_the_order_asked(kind):
    """Rows are kept by a mask and taken by position, repeatedly too; columns replaced on the way keep their place."""
    frames, frame = kind.frames, kind.make(ROWS)
    assert frames.values(frames.keep(frame, np.array([True, False, True])), "id") == [7, 9]
    assert frames.values(frames.keep(frame, np.array([True, True, True])), "id") == [7, 8, 9]
    twice = frames.take(
        frame, np.array([2, 0, 0]), {"text": pa.array(["x", "y", None], pa.large_string()), "n": [1, 2, 3]}
    )
    assert list(twice.columns) == ["id", "text", "score", "n"]
    assert listed(kind, twice) == {"id": [9, 7, 7], "text": ["x", "y", None], "score": [3.0, 1.5, 1.5], "n": [1, 2, 3]}
    assert frames.values(frames.take(frame, np.array([], np.int64)), "id") == []
    assert listed(kind, frame)["text"] == ["a", None, "cc"], "the frame itself is not changed"


def test_columns_are_put_in_by_their_order(kind):
    """Arrow's, numpy's and the engine's own columns go in row by row, whatever the index says."""
    frames, frame = kind.frames, kind.frames.take(kind.make(ROWS), np.array([1, 1, 0]))
    own = frames.pick(frames.texts(frame, "text"), np.array([2, 0, 1]))
    put = frames.attach(frame, {"text": own, "n": pa.array([1, None, 2**53 + 1], pa.int64()), "score": np.arange(3.0)})
    expected = {"id": [8, 8, 7], "text": ["a", None, None], "score": [0.0, 1.0, 2.0], "n": [1, None, 2**53 + 1]}
    assert listed(kind, put) == expected
    assert list(frames.drop(put, ("text", "nothing")).columns) == ["id", "score", "n"]
    assert "n" not in frame.columns


def test_frames_are_made_and_put_together(kind):
    """From columns, from a table, and from several frames of which one lacks a column, which is missing there."""
    frames = kind.frames
    made = frames.from_columns({"text": pa.array(["a"], pa.large_string()), "n": np.array([5])})
    table = pa.table({"text": pa.array(["b", None]), "n": pa.array([None, 2**53 + 1], pa.int64())})
    both = frames.concat([frames.attach(made, {"why": pa.array(["x"], pa.large_string())}), frames.from_table(table)])
    assert listed(kind, both) == {"text": ["a", "b", None], "n": [5, None, 2**53 + 1], "why": ["x", None, None]}
    texts = frames.stack([frames.texts(made, "text"), frames.texts(both, "text")])
    assert frames.host(texts).to_pylist() == ["a", "a", "b", None]
    nothing = frames.from_columns({"text": pa.array([], pa.large_string())})
    assert frames.host(frames.texts(nothing, "text")).to_pylist() == []


def test_shards_are_of_one_type_whatever_the_frame(kind):
    """What is written has the types of the schema: times, and integers that may be missing, too."""
    schema = pa.schema(
        {
            "id": pa.int64(),
            "text": pa.large_string(),
            "when": pa.timestamp("us"),
            "n": pa.int64(),
            "lacking": pa.string(),
        }
    )
    columns = {
        "id": [1, 2],
        "text": pa.array(["a", None], pa.large_string()),
        "when": pa.array([0, None], pa.timestamp("us")),
        "n": pa.array([None, 3], pa.int64()),
    }
    written = as_table([kind.frames.from_table(pa.table(columns)), kind.frames.from_table(pa.table(columns))], schema)
    assert written.schema == schema
    assert written.slice(2).to_pylist()[1] == {"id": 2, "text": None, "when": None, "n": 3, "lacking": None}


def test_columns_of_another_kind_are_refused(kind):
    """Numbers are no text, text is no number, lists cannot be compared, and what is not there is named."""
    frames, frame = kind.frames, kind.frames.from_table(pa.table({"n": [1], "text": ["a"], "list": [[1]]}))
    with pytest.raises(FrameError, match="'n' is of type"):
        frames.texts(frame, "n")
    with pytest.raises(FrameError, match="'text' is of type"):
        frames.numbers(frame, "text")
    with pytest.raises(FrameError, match="'list' is of type"):
        frames.codes(frame, "list")
    with pytest.raises(ColumnNotFoundError, match="missing"):
        frames.texts(frame, "missing")
    empty = frames.attach(frame, {"none": pa.nulls(1, pa.float64())})
    assert frames.host(frames.texts(empty, "none")).to_pylist() == [None], "what is missing altogether may be text"


OF_PANDAS = {
    "n": pd.array([1, None], "Int64"),
    "small": np.array([1, 2], "int8"),
    "score": [1.5, None],
    "scores": pd.array([1.5, None], "Float64"),
    "text": ["a", None],
    "texts": pd.Series(["a", "b"], dtype=pd.ArrowDtype(pa.string())),
    "kind": pd.Categorical(["x", None], ["x", "y"]),
    "truth": [True, False],
    "truths": pd.array([True, None], "boolean"),
    "when": pd.to_datetime(["2020-01-01", None]).as_unit("us"),
    "nothing": [np.nan, np.nan],
}


def test_frames_come_from_pandas_and_go_back(kind):
    """Given its dtypes a pandas frame comes back as it was, index included, and so does one without rows."""
    frame = pd.DataFrame(OF_PANDAS).set_axis(pd.Index([5, 5]))
    for rows in (frame, frame[:0]):
        moved = kind.frames.from_pandas(rows)
        assert frames_of(moved) is kind.frames and len(moved) == len(rows)
        pd.testing.assert_frame_equal(kind.frames.to_pandas(moved, dict(frame.dtypes)), rows)
    assert_types(kind.frames.to_pandas(kind.frames.from_pandas(frame[["n", "small"]])))
    steady = kind.frames.pandas_dtypes(kind.frames.from_pandas(frame[:0]))
    assert kind.frames.to_pandas(kind.frames.from_pandas(frame)).astype(steady)["n"].tolist() == [1, pd.NA]


def assert_types(frame):
    assert frame.dtypes.astype(str).to_dict() == {"n": "Int64", "small": "int8"}


def test_a_frame_that_went_through_arrow_is_what_it_was():
    """What cuDF is made of, and read as, loses no value and no dtype; integers without one are nullable if need be."""
    frame = pd.DataFrame(OF_PANDAS).set_axis(pd.Index([5, 5]))
    for rows in (frame, frame[:0]):
        pd.testing.assert_frame_equal(frame_of(table_of(rows), rows.index, dict(frame.dtypes)), rows)
    assert_types(frame_of(table_of(frame[["n", "small"]]), frame.index))
    unknown = frame.dtypes.to_dict() | {"kind": pd.CategoricalDtype(["of Dask's metadata"])}
    assert frame_of(table_of(frame), frame.index, unknown)["kind"].tolist() == ["x", np.nan]


@pytest.mark.parametrize("values", [["\ud800"], [1, "a"], [object()]], ids=["surrogate", "mixed", "object"])
def test_what_arrow_cannot_hold_is_named(values):
    """A column of broken text, or of several kinds of values, is refused before it goes to a device."""
    with pytest.raises(FrameError, match="'odd' is of type object"):
        table_of(pd.DataFrame({"odd": pd.Series(values, dtype=object)}))


def test_other_frames_have_no_engine():
    """A table of Arrow, or a class that only sounds like cuDF's, is refused by name."""
    for other in (pa.table({"a": [1]}), type("DataFrame", (), {"__module__": "cudfish"})()):
        with pytest.raises(FrameError, match="cannot be worked on"):
            frames_of(other)
