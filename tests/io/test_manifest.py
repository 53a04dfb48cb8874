"""The books: what is stored of a partition, whose results a folder holds, and sums that have to agree."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.accounting import StageCount
from nemocc_dask.errors import AccountingError, OutputError
from nemocc_dask.io.manifest import (
    RUN,
    PartRecord,
    Sums,
    add_up,
    check_identity,
    open_output,
    read_records,
    record_name,
    task_account,
)
from nemocc_dask.io.write import Output

READ = StageCount(stage="read", unit="documents", rows_in=5, rows_out=4, rejected={"null_id": 1})
FILTER = StageCount(stage="filter_segments", unit="segments", rows_in=6, rows_out=5, rejected={"segment_too_short": 1})
GENERATE = StageCount(
    stage="generate",
    unit="answers",
    rows_in=5,
    rows_out=3,
    rejected={"truncated": 1},
    failed={"http_400": 1},
    notes={"responses": 4, "http_requests": 7, "prompt_tokens": 40, "completion_tokens": 20},
)
RECORD = PartRecord(3, (READ,), {"distill": (FILTER, GENERATE)})

IDENTITY = {"model": "m", "input": [["a.parquet", 10]], "tasks": {"distill": {"prompt": "x", "languages": ()}}}


def changed(count: StageCount, **how: Any) -> StageCount:
    return StageCount(**{**count.as_record(), **how})


def books(output: Output, identity: Any) -> None:
    output.write_text(RUN, json.dumps({"identity": identity, "state": "running"}))


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(tmp_path):
    """A partition's record comes back equal, and only those that are there come back."""
    output = Output(str(tmp_path))
    output.write_text(record_name(3), RECORD.to_json())
    assert read_records(output, range(5)) == {3: RECORD}


numbers = st.integers(0, 10)
counts = st.builds(
    StageCount,
    stage=st.just("read"),
    unit=st.just("documents"),
    rows_in=numbers,
    rows_out=numbers,
    rejected=st.dictionaries(st.sampled_from("ab"), st.integers(1, 9)),
)


@given(st.lists(counts, min_size=1, max_size=5), st.randoms())
def test_sums_do_not_depend_on_the_order(parts, rng):
    """The sums over partitions are the same in whichever order partitions finish."""
    records = [PartRecord(i, (count,), {}) for i, count in enumerate(parts)]
    sums = add_up(records)
    rng.shuffle(records)
    assert add_up(records) == sums
    assert sums.documents[0].rows_in == sum(count.rows_in for count in parts)


def test_the_account_of_a_task():
    """An account tells requests, responses, failures, what went over the wire, tokens, rejects, and rows kept."""
    account = task_account((FILTER, GENERATE))
    del account["stages"]
    assert account == {
        "documents_in": 0,
        "segments": 5,
        "requests": 5,
        "reused": 0,
        "responses": 4,
        "failed": {"http_400": 1},
        "http_requests": 7,
        "rejected": {"filter_segments": {"segment_too_short": 1}, "generate": {"truncated": 1}},
        "kept": 3,
        "prompt_tokens": 40,
        "completion_tokens": 20,
        "cost": None,
    }


def test_books_that_balance():
    """Stages that follow on each other and lose no row pass."""
    check_identity(Sums((READ,), {"distill": (FILTER, GENERATE)}))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((FILTER, changed(GENERATE, rows_out=4)), "'distill'.*'generate'.*-1 rows"),
        ((FILTER, changed(FILTER, stage="next"), GENERATE), "'distill'.*'next'.*5 came in, not 6"),
        ((FILTER, changed(GENERATE, notes={"responses": 3})), "'distill'.*'generate'.*5 asked, 4 answered"),
    ],
    ids=["a row lost", "a row between stages", "an answer lost"],
)
def test_books_that_do_not_balance(stages, words):
    """A row that nothing accounts for is an error that names task, stage and numbers."""
    with pytest.raises(AccountingError, match=words):
        check_identity(Sums((READ,), {"distill": stages}))


# --- whose results a folder holds -------------------------------------------------------------------------------------


def test_a_new_folder_is_free(tmp_path):
    """A folder that is not there, or empty, or holds only the start of a run's own files, is free for any job."""
    output = Output(str(tmp_path / "out"))
    assert open_output(output, IDENTITY) is None
    (tmp_path / "out" / "_nemocc" / "unfinished").mkdir(parents=True)
    assert open_output(output, IDENTITY) is None


def test_the_same_job_gets_its_books(tmp_path):
    """The same job finds its books again, though tuples have become lists in them."""
    output = Output(str(tmp_path))
    books(output, IDENTITY)
    assert open_output(output, IDENTITY)["state"] == "running"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (IDENTITY | {"model": "n"}, r'model \("m" there, "n" here\)'),
        (IDENTITY | {"tasks": {"distill": {"prompt": "y", "languages": ()}}}, r'tasks\.distill\.prompt \("x" there'),
        (IDENTITY | {"tasks": {"other": {"prompt": "x"}}}, r"tasks\.distill\.\S+ .* there, null here"),
        (IDENTITY | {"input": [["a.parquet", 11]]}, r"input \(.*10.* there, .*11.* here\)"),
    ],
)
def test_another_job_is_refused_with_the_difference(tmp_path, now, words):
    """A folder with another job's results is refused, and each setting that differs is told with both values."""
    output = Output(str(tmp_path))
    books(output, IDENTITY)
    with pytest.raises(OutputError, match=words):
        open_output(output, now)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no json"])
def test_books_that_are_none_are_refused(tmp_path, content):
    """A run.json that no run has written is named instead of being overwritten."""
    output = Output(str(tmp_path))
    output.write_text(RUN, content)
    with pytest.raises(OutputError, match=r"run\.json"):
        open_output(output, IDENTITY)


def test_a_folder_with_other_files_is_refused(tmp_path):
    """A folder that holds files and no run is refused, and some of them are named."""
    for name in "abcde":
        (tmp_path / name).touch()
    with pytest.raises(OutputError, match=r"not empty \(a, b, c, \.\.\.\)"):
        open_output(Output(str(tmp_path)), IDENTITY)
