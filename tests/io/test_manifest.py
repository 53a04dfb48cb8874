"""The books: what is stored of a partition, whose results a folder holds, and what is removed to make room."""

import json
from dataclasses import replace

import pytest

from nemocc_dask.accounting import StageCount
from nemocc_dask.errors import OutputError
from nemocc_dask.io.manifest import (
    RUN,
    VERSION,
    PartRecord,
    has_shards,
    read_books,
    read_records,
    record_name,
    remove_results,
)
from nemocc_dask.io.write import Output

READ = StageCount(stage="read", unit="documents", rows_in=5, rows_out=4, rejected={"null_id": 1})
GENERATE = StageCount(
    stage="generate", unit="answers", rows_in=5, rows_out=4, failed={"http_400": 1}, notes={"reused": 1}
)
RECORD = PartRecord(3, "run-part-00003-1f0c", (READ,), {"distill": (GENERATE,)})


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(tmp_path):
    """A partition's record comes back equal, and only those that are there come back."""
    output = Output(str(tmp_path))
    output.write_text(record_name(3), RECORD.to_json())
    assert list(read_records(output, 5)) == [RECORD]


# --- whose results a folder holds -------------------------------------------------------------------------------------


def test_a_new_folder_is_free(tmp_path):
    """A folder that is not there, or empty, or holds only the start of a run's own files, is free for any job."""
    output = Output(str(tmp_path / "out"))
    assert read_books(output) is None
    (tmp_path / "out" / "_nemocc" / "unfinished").mkdir(parents=True)
    assert read_books(output) is None


def test_books_are_read_as_they_were_written(tmp_path):
    """A run finds the books that it left."""
    output = Output(str(tmp_path))
    output.write_text(RUN, json.dumps({"version": VERSION, "state": "running"}))
    assert read_books(output) == {"version": VERSION, "state": "running"}


@pytest.mark.parametrize("content", ["", "[]", "{}", "no json"])
def test_books_that_are_none_are_refused(tmp_path, content):
    """A run.json that no run has written is named instead of being overwritten."""
    output = Output(str(tmp_path))
    output.write_text(RUN, content)
    with pytest.raises(OutputError, match=r"run\.json"):
        read_books(output)


def test_books_of_another_version_are_refused(tmp_path):
    """A folder whose books another version has written is left alone: what is paid for there is in no store."""
    output = Output(str(tmp_path))
    output.write_text(RUN, json.dumps({"version": 1, "state": "done", "identity": {}}))
    with pytest.raises(OutputError, match=f"books 1, not {VERSION}.*--output"):
        read_books(output)


def test_a_folder_with_other_files_is_refused(tmp_path):
    """A folder that holds files and no run is refused, and some of them are named."""
    for name in "abcde":
        (tmp_path / name).touch()
    with pytest.raises(OutputError, match=r"not empty \(a, b, c, \.\.\.\)"):
        read_books(Output(str(tmp_path)))


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_many_records_are_read_in_order(tmp_path, scheme):
    """Of thousands of records those of the job are read, in order, and of what else is there none."""
    output, numbers = Output(f"{scheme}{tmp_path}"), [*range(0, 2400, 2)]
    for index in [*numbers, 5000]:
        output.write_text(record_name(index), replace(RECORD, index=index).to_json())
    output.write_text("_nemocc/parts/notes.json", "x")
    assert [record.index for record in read_records(output, 2400)] == numbers


# --- making room ------------------------------------------------------------------------------------------------------

OURS = ["distill/part-00000.parquet", "distill/part-00012.jsonl", "_nemocc/parts/part-00000.json"]
OURS += ["_nemocc/rejected/distill/part-00000.parquet", "gone/part-00000.parquet"]
NOT_OURS = ["distill/notes.txt", "distill/mine/part-00000.parquet", "other/part-00000.parquet"]
NOT_OURS += ["_nemocc/responses/a.jsonl", "part-00000.parquet"]


@pytest.mark.parametrize("folder", ["out", "out[1]"])
def test_many_files_are_removed(tmp_path, folder):
    """Where there is a call that removes many files at once, those that are named go, one that is gone already
    included, and no others, whatever signs the folder's name has."""
    output = Output(f"memory://{tmp_path}/{folder}")
    names = [record_name(index) for index in range(1200)]
    for name in names:
        output.write_text(name, "x")
    output.remove([*names[:1000], record_name(9999)])
    assert output.below("_nemocc/parts") == names[1000:]


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_results_are_removed_and_nothing_else(tmp_path, scheme):
    """Shards of the tasks named, rejects and records go; the store and what a person has put there stay."""
    output = Output(f"{scheme}{tmp_path}")
    for name in (*OURS, *NOT_OURS):
        output.write_text(name, "x")
    remove_results(output, ["distill", "gone", "never_was"])
    assert [name for name in (*OURS, *NOT_OURS) if output.exists(name)] == NOT_OURS
    assert has_shards(output, "other") and not has_shards(output, "distill")
    if not scheme:
        assert not (tmp_path / "gone").exists()
