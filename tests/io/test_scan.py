"""What is looked up before a run: columns and their types, and rows that repeat an id."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import ColumnNotFoundError, InputError
from nemocc_dask.io.files import find_files
from nemocc_dask.io.parts import Part, plan_parts
from nemocc_dask.io.read import read_part
from nemocc_dask.io.scan import Columns, find_columns, find_repeated_ids

Corpus = Callable[..., list[Part]]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Files of a folder as parts: lists of rows become JSONL, tables and frames Parquet."""

    def make(*files: Any, rows_per_partition: int = 500) -> list[Part]:
        for number, file in enumerate(files):
            path = tmp_path / f"{number}.{'jsonl' if isinstance(file, list) else 'parquet'}"
            if isinstance(file, list):
                path.write_text("\n".join(map(json.dumps, file)), encoding="utf-8")
            else:
                pq.write_table(pa.table(file) if isinstance(file, dict) else file, path)
        return list(plan_parts(find_files([str(tmp_path)]), rows_per_partition=rows_per_partition))

    return make


def columns_of(parts: list[Part], **settings: Any) -> Columns:
    wanted = {"id_field": "id", "text_field": "text", "score_field": None, "carried": None, "reserved": frozenset()}
    return find_columns(parts, **{**wanted, **settings})


def repeated(parts: list[Part]) -> dict[int, list[int]]:
    found = find_repeated_ids(parts, columns_of(parts))
    return {index: positions.tolist() for index, positions in found.items()}


# --- columns ----------------------------------------------------------------------------------------------------------


def test_names_of_the_run(corpus):
    """The input's own names for id, text and score become the run's; the other columns keep theirs."""
    parts = corpus({"key": [1], "body": ["a"], "grade": [0.5], "topic": ["t"]})
    found = columns_of(parts, id_field="key", text_field="body", score_field="grade")
    assert found.renamed == {"key": "id", "body": "text", "grade": "quality_score", "topic": "topic"}
    assert found.output_schema.names == ["id", "text", "quality_score", "topic"]


def test_carried_columns_can_be_named(corpus):
    """Of the other columns only those named are carried along; an empty list carries none."""
    parts = corpus({"id": [1], "text": ["a"], "b": [1], "c": [2]})
    assert columns_of(parts, carried=("c",)).carried == ("c",)
    assert columns_of(parts, carried=()).carried == ()


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"text_field": "body"}, "--text-field"),
        ({"id_field": "key"}, "--id-field"),
        ({"score_field": "grade"}, "--score-field"),
        ({"carried": ("topic",)}, "--columns"),
    ],
)
def test_a_missing_column_is_named_with_its_option(corpus, settings, remedy):
    """A column that is not there is named with the file, what there is, and the option that names another."""
    parts = corpus({"id": [1], "text": ["a"]})
    with pytest.raises(ColumnNotFoundError, match=rf"0\.parquet.*id, text.*{remedy}"):
        columns_of(parts, **settings)


def test_each_file_has_to_have_the_columns(corpus):
    """The file that lacks the column is named, though another has it."""
    parts = corpus({"id": [1], "text": ["a"]}, {"id": [1], "body": ["a"]})
    with pytest.raises(ColumnNotFoundError, match=r"1\.parquet"):
        columns_of(parts)


def test_a_column_of_some_lines_is_a_column(corpus):
    """A JSONL column that only some parts of a file have is found, and is null in the others."""
    rows = [{"id": i, "text": "a" * 50} | ({"topic": "t"} if i == 70 else {}) for i in range(100)]
    parts = corpus(rows, rows_per_partition=10)
    found = columns_of(parts)
    topics = [topic for part in parts for topic in read_part(part, found.schema).column("topic").to_pylist()]
    assert [i for i, topic in enumerate(topics) if topic] == [70]


def test_whole_and_broken_numbers_are_one_column(corpus):
    """Numbers that are whole in one file and broken in another become one type for all."""
    parts = corpus([{"id": 1, "text": "a", "x": 1}], [{"id": 2, "text": "b", "x": 1.5}], {"id": [3], "text": ["c"]})
    assert columns_of(parts).schema.field("x").type == pa.float64()


def test_types_that_contradict_each_other_are_named(corpus):
    """A column that holds numbers in one file and text in another is named."""
    parts = corpus([{"id": 1, "text": "a"}], [{"id": "one", "text": "b"}])
    with pytest.raises(InputError, match=r"the same throughout.*id"):
        columns_of(parts)


@pytest.mark.parametrize(
    ("columns", "settings", "words"),
    [
        ({"id": [1], "text": [2]}, {}, "'text' is of type int64 .*--text-field"),
        ({"id": [[1]], "text": ["a"]}, {}, "'id' is of type list.*--id-field"),
        ({"id": [1], "text": ["a"], "s": ["x"]}, {"score_field": "s"}, "'s' is of type string.*--score-field"),
        ({"id": [1], "text": ["a"], "model": ["x"]}, {"reserved": frozenset({"model"})}, "'model'.*--columns"),
    ],
)
def test_columns_of_no_use_are_named(corpus, columns, settings, words):
    """A text that is a number, an id that is a list, a score that is text, a reserved name: each names its remedy."""
    with pytest.raises(InputError, match=words):
        columns_of(corpus(columns), **settings)


# --- repeated ids -----------------------------------------------------------------------------------------------------


def test_repeats_across_files_and_parts(corpus):
    """The first row of an id stays; each later one is found, in the same part, another part, or another file."""
    parts = corpus({"id": [1, 2, 1, 3], "text": list("abcd")}, {"id": [4, 2], "text": ["e", "f"]}, rows_per_partition=2)
    assert repeated(parts) == {0: [], 1: [0], 2: [1]}


@pytest.mark.parametrize("ids", [[7, 8], ["7", "8"], [7.5, 8.5]], ids=["int", "string", "float"])
def test_a_null_elsewhere_hides_no_repeat(corpus, ids):
    """A repeat is found though the column has nulls in one part and none in another; nulls repeat nothing."""
    parts = corpus(
        [{"id": ids[0], "text": "a"}, {"id": None, "text": "b"}, {"id": None, "text": "c"}],
        [{"id": ids[1], "text": "d"}, {"id": ids[0], "text": "e"}],
        rows_per_partition=3,
    )
    assert repeated(parts) == {0: [], 1: [1]}


def test_large_numbers_are_told_apart(corpus):
    """Neighbouring 64-bit ids are two, also beside a null, where floating point would make them one."""
    large = 2**63 - 1
    parts = corpus(
        {"id": pa.array([large, None, large - 1], pa.int64()), "text": list("abc")},
        {"id": pa.array([large - 2, large], pa.int64()), "text": list("de")},
        rows_per_partition=3,
    )
    assert repeated(parts) == {0: [], 1: [1]}


@pytest.mark.parametrize("large", [2**64 - 1, 2**53 + 0.0])
def test_numbers_that_cannot_be_told_apart_are_refused(corpus, large):
    """Ids that only fit a floating-point number of too few digits are refused, for two of them may have become one."""
    parts = corpus([{"id": large, "text": "a"}, {"id": 0.5, "text": "b"}])
    with pytest.raises(InputError, match=r"'id' of '.*0\.jsonl'.*too large.*--id-field"):
        repeated(parts)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.none() | st.integers(-3, 3) | st.just(2**62), min_size=1, max_size=6), min_size=1, max_size=4)
)
def test_repeats_are_those_of_pandas(tmp_path_factory, files):
    """Whatever the ids and wherever the cuts, the repeats are what pandas finds in all rows at once."""
    folder = tmp_path_factory.mktemp("ids")
    for number, ids in enumerate(files):
        table = pa.table({"id": pa.array(ids, pa.int64()), "text": ["a"] * len(ids)})
        pq.write_table(table, folder / f"{number}.parquet")
    parts = list(plan_parts(find_files([str(folder)]), rows_per_partition=2))
    found = find_repeated_ids(parts, columns_of(parts))
    lengths = [sum(piece.stop - piece.start for piece in part.pieces) for part in parts]
    flags = np.concatenate([np.isin(np.arange(rows), found[at]) for at, rows in enumerate(lengths)])
    every = pd.Series([each for ids in files for each in ids], dtype="Int64")
    assert flags.tolist() == (every.duplicated() & every.notna()).tolist()
