"""Admitting documents: rows that cannot be told apart or read are rejected, each under its reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from books import assert_accounted, assert_same_kind, reasons, rejects
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from nemocc_dask.admit import admit
from nemocc_dask.errors import ColumnNotFoundError, FrameError
from nemocc_dask.settings import MAX_DOCUMENT_BYTES

MIXED = pd.DataFrame(
    {
        "id": [1, 2, 1, None, 3, 4, 5, None],
        "text": ["a", "b", "again", "no id", None, " \n\t\u3000", "", None],
        "quality_score": range(8),
    }
)


def test_each_bad_row_goes_under_its_reason():
    """Null ids, repeated ids, null and blank texts are rejected; the first row of an id stays."""
    outcome = admit(MIXED)
    assert outcome.kept["text"].tolist() == ["a", "b"]
    assert reasons(outcome) == {"read": {"null_id": 2, "duplicate_id": 1, "null_text": 1, "empty_text": 2}}
    assert_accounted(outcome, len(MIXED))


def test_a_rejected_row_keeps_its_columns_and_place():
    """A rejected row is there whole, with stage and reason beside it and its place in the input as its index."""
    rows = rejects(admit(MIXED)).sort_index()
    assert rows.index.tolist() == [2, 3, 4, 5, 6, 7]
    assert rows["quality_score"].tolist() == [2, 3, 4, 5, 6, 7]
    assert rows["reason"].tolist() == ["duplicate_id", "null_id", "null_text", "empty_text", "empty_text", "null_id"]
    assert set(rows["stage"]) == {"read"} and rows["status"].isna().all() and rows["detail"].isna().all()


rows_of_documents = st.lists(
    st.tuples(st.none() | st.integers(0, 5), st.none() | st.sampled_from(["", " ", "a", "b"])), max_size=20
)


@given(rows=rows_of_documents)
@settings(max_examples=100, deadline=None)
def test_what_is_kept_is_what_an_obvious_loop_keeps(rows):
    """Kept are the rows with an id not seen before, in the whole input, and a text that is more than white space."""
    frame = pd.DataFrame(
        {
            "id": pd.array([key for key, _ in rows], dtype="Int64"),
            "text": pd.Series([text for _, text in rows], dtype="str"),
        }
    )
    seen, expected = set(), []
    for position, (key, text) in enumerate(rows):
        if key is not None and key not in seen and (text or "").strip():
            expected.append(position)
        seen.add(key)
    outcome = admit(frame)
    assert outcome.kept.index.tolist() == expected
    assert_accounted(outcome, len(rows))


def test_repeats_may_be_known_from_elsewhere():
    """A mask of rows whose ids were seen in another partition takes the place of looking within this one."""
    documents = pd.DataFrame({"id": [1, 1, 2], "text": ["a", "b", "c"]})
    outcome = admit(documents, duplicated=np.array([False, False, True]))
    assert outcome.kept["text"].tolist() == ["a", "b"] and reasons(outcome) == {"read": {"duplicate_id": 1}}


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 1],
        ["x", "y", "x"],
        [1.5, 2.5, 1.5],
        pd.array([1, 2, 1], dtype="Int64"),
        pytest.param([b"x", b"y", b"x"], marks=pytest.mark.pandas_alone("cuDF has no columns of bytes")),
    ],
)
def test_ids_may_be_of_any_type(ids):
    """Numbers, text and bytes tell documents apart alike."""
    outcome = admit(pd.DataFrame({"id": ids, "text": ["a", "b", "c"]}))
    assert outcome.kept["text"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "texts",
    [
        pd.Series(["a", None], dtype="str"),
        pd.Series(["a", None], dtype="string[pyarrow]"),
        pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())),
        pd.Series(["a", None], dtype=object),
        pd.Series(["a", np.nan], dtype=object),
        pd.Series(["a", None], dtype="category"),
    ],
    ids=lambda texts: str(texts.dtype),
)
def test_texts_may_be_of_any_string_type(texts):
    """Every way pandas holds text, and every way it says that there is none, is read alike."""
    outcome = admit(pd.DataFrame({"id": [1, 2], "text": texts}))
    assert outcome.kept["id"].tolist() == [1] and reasons(outcome) == {"read": {"null_text": 1}}


@pytest.mark.parametrize("nothing", [[None, None], [np.nan, np.nan], [pd.NA, pd.NA]])
def test_a_column_of_nothing_but_nulls_is_no_mistake(nothing):
    """Where no row has a text, or none an id, all are rejected and nothing raises."""
    assert reasons(admit(pd.DataFrame({"id": [1, 2], "text": nothing}))) == {"read": {"null_text": 2}}
    assert reasons(admit(pd.DataFrame({"id": nothing, "text": ["a", "b"]}))) == {"read": {"null_id": 2}}


def test_rows_may_share_their_index():
    """Rows are told apart by position: an index that repeats itself, as after `pd.concat`, loses none."""
    documents = pd.DataFrame({"id": [1, 2, 2, 3], "text": ["a", "b", "c", None]}, index=[0, 0, 0, 0])
    assert admit(documents).kept["text"].tolist() == ["a", "b"]


def test_the_given_frame_is_not_changed():
    """Admitting leaves the frame it was given as it was."""
    before = MIXED.copy(deep=True)
    admit(MIXED)
    assert_frame_equal(MIXED, before)


@pytest.mark.parametrize("empty", [MIXED[:0], pd.DataFrame({"id": [], "text": [], "quality_score": []})])
def test_no_documents_are_legal(empty):
    """Zero rows are admitted as zero rows with the same columns, and dtypes where they had any."""
    outcome = admit(empty)
    assert list(outcome.kept.columns) == list(MIXED.columns)
    assert_accounted(outcome, 0)
    assert_same_kind(admit(MIXED[:0]).kept, admit(MIXED).kept)


@pytest.mark.parametrize("column", ["id", "text"])
def test_a_missing_column_is_named(column):
    """Without `id` or `text` the caller learns which is missing and which there are."""
    with pytest.raises(ColumnNotFoundError, match=f"no column '{column}'.*quality_score"):
        admit(MIXED.drop(columns=column))


def test_text_that_is_no_text_is_refused():
    """A column of numbers under `text` is the caller's mistake."""
    with pytest.raises(FrameError, match="'text' is of type int64 and has to hold text"):
        admit(pd.DataFrame({"id": [1], "text": [5]}))


def test_ids_that_cannot_be_compared_are_refused():
    """Ids that are lists are the caller's mistake, told in words that name the column."""
    with pytest.raises(FrameError, match="'id'"):
        admit(pd.DataFrame({"id": [[1], [2]], "text": ["a", "b"]}))


def test_documents_over_the_limit_are_rejected_with_their_size():
    """A text of more bytes of UTF-8 than may be goes, one of just as many stays; the reject tells its size."""
    frame = pd.DataFrame({"id": [1, 2, 3, 4], "text": ["é" * 50, "é" * 50 + "x", "x" * 1234, None]})
    outcome = admit(frame, max_document_bytes=100)
    assert outcome.kept["id"].tolist() == [1]
    assert reasons(outcome) == {"read": {"null_text": 1, "document_too_large": 2}}
    assert rejects(outcome)["detail"].dropna().tolist() == ["101 bytes", "1,234 bytes"]
    assert reasons(admit(pd.DataFrame({"id": [1], "text": ["x" * (MAX_DOCUMENT_BYTES + 1)]}))) == {
        "read": {"document_too_large": 1}
    }
