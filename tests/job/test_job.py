"""Whole jobs: every row is accounted for, and what is left behind is what was promised."""

import base64
import logging

import dask.dataframe as dd
import fsspec
import pandas as pd
import pyarrow as pa
import pytest

from nemocc_dask.job import run_job
from nemocc_dask.tasks import TASKS, task_to_toml
from nemocc_dask.tokens import TokenCounter

from .jobs import (
    COUNTS,
    LEDGER,
    OUTPUT_FIELDS,
    assert_accounted_for,
    assert_same_results,
    clean_documents,
    quiet,
    rejects,
    shard_rows,
    text,
)

FAULTS = {
    "none": {},
    "errors": {"error_rate": 0.3, "error_status": 503},
    "refused prompts": {"bad_request_rate": 0.1},
    "truncated": {"truncate_rate": 0.2},
    "empty": {"empty_rate": 0.2},
    "cut": {"cut_rate": 0.2, "cut_after_headers_rate": 0.2},
    "garbage": {"garbage_rate": 0.4},
    "everything": {
        "error_rate": 0.1,
        "bad_request_rate": 0.1,
        "truncate_rate": 0.1,
        "empty_rate": 0.1,
        "cut_rate": 0.1,
        "garbage_rate": 0.1,
        "no_usage": True,
        "max_n": 1,
    },
}


@pytest.mark.parametrize("faults", FAULTS)
def test_every_row_is_accounted_for(job, simulate, output, faults):
    """Whatever the endpoint does, the books of all six tasks balance, and agree with the files and its own count."""
    simulator = simulate(**FAULTS[faults])
    books = run_job(job(simulator, samples=15, max_retries=2, n=2 if faults == "everything" else 1))
    assert set(books["tasks"]) == set(OUTPUT_FIELDS)
    assert_accounted_for(output, books, http_requests=quiet(simulator))


def test_what_is_dropped_before_any_task(job, simulator, output):
    """Rows without id, text or score, blank ones and repeated ids are dropped with their reason and their place."""
    run_job(job(simulator))
    dropped = rejects(output, "input").set_index("reason")
    assert dropped.index.value_counts().to_dict() == {
        "null_id": 1,
        "duplicate_id": 1,
        "null_text": 1,
        "empty_text": 1,
        "null_score": 1,
    }
    assert dropped.loc["null_id", "detail"].endswith("a.parquet, row 3")
    assert "b.jsonl, row 1" in dropped.loc["duplicate_id", "detail"]
    assert dropped["stage"].to_dict() == dict.fromkeys(dropped.index, "read") | {"null_score": "route"}


def test_quality_routes(job, simulator, output):
    """Without --task, documents above the bound go to the four tasks of high quality and the others are paraphrased."""
    run_job(job(simulator, high_above=11))
    for task in OUTPUT_FIELDS.keys() - {"multilingual_qa"}:
        scores = shard_rows(output, task)["quality_score"]
        assert ((scores <= 11) if task == "wikipedia_paraphrasing" else (scores > 11)).all() and len(scores)


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_columns_of_shards(job, simulator, output, format):
    """A shard has the promised columns and no others, in Parquet and in JSONL."""
    run_job(job(simulator, samples=5, output_format=format))
    for task, field in OUTPUT_FIELDS.items():
        [*shards] = sorted((output / task).iterdir())
        assert {shard.suffix for shard in shards} == {f".{format}"}
        frames = [pd.read_parquet(s) if format == "parquet" else pd.read_json(s, lines=True) for s in shards]
        carried = ["id", "segment_id", "text", field, "quality_score", "topic", *COUNTS, *LEDGER]
        columns = ["id", "language", "text", *LEDGER] if task == "multilingual_qa" else carried
        assert all(list(frame.columns) == columns for frame in frames if len(frame))
        assert sum(map(len, frames)) > 0


def test_ids_keep_their_type(job, simulator, output, parquet):
    """Ids leave as they came in: large integers exactly, beside rows whose id is null."""
    frame = clean_documents(4).assign(id=pd.array([2**63 - 1, None, 2**63 - 2, 5], "Int64"))
    run_job(job(simulator, input=parquet(frame), task=("distill",)))
    found = shard_rows(output, "distill")["id"]
    assert found.dtype == "int64" and found.tolist() == [5, 2**63 - 2, 2**63 - 1]


def test_readable_at_every_moment(job, simulate, output):
    """After every partition, and at the end, a task's folder reads as a Dask dataframe of what has been finished."""
    seen = []

    class Watch:
        def told(self, line):
            raise AssertionError(line)

        def started(self, parts, done):
            assert (parts, done) == (4, 0)

        def counted(self, part, counts):
            assert 0 <= part < 4 and all(isinstance(number, int) for number in counts.values())

        def part_done(self):
            seen.append(len(dd.read_parquet(str(output / "distill")).compute(scheduler="sync")))

    run_job(job(simulate(latency_s=0.01)), progress=Watch())
    assert len(seen) == 4 and seen == sorted(seen)
    assert seen[-1] == len(dd.read_parquet(str(output / "distill")).compute(scheduler="sync")) > 0


def test_results_do_not_depend_on_the_partitions(job, simulator, tmp_path):
    """The same documents in partitions of 3 rows and of 1,000 give the same rows, samples from nothing included."""
    for rows in (3, 1000):
        run_job(job(simulator, rows_per_partition=rows, samples=10, output=str(tmp_path / f"{rows}")))
    assert_same_results(tmp_path / "3", tmp_path / "1000")


def test_several_answers_are_several_rows(job, simulator, output, parquet):
    """With n=2 each segment has two rows that were drawn with different seeds."""
    run_job(job(simulator, input=parquet(clean_documents(5)), task=("distill",), n=2))
    rows = shard_rows(output, "distill")
    assert rows["id"].value_counts().to_dict() == dict.fromkeys(range(5), 2)
    assert rows["request_id"].is_unique and rows["distill"].nunique() > 5


def test_limit_of_requests_at_once(job, simulate):
    """However many partitions and tasks wait, no more requests are on the wire than the limit, and it is used."""
    simulator = simulate(latency_s=0.02)
    run_job(job(simulator, max_concurrent_requests=5))
    assert simulator.stats()["peak_in_flight"] == 5


def test_worker_processes_share_the_limit(job, simulate, output):
    """Two worker processes together stay within the limit, and their books balance like those of one."""
    simulator = simulate(latency_s=0.05, error_rate=0.1)
    books = run_job(job(simulator, workers=2, threads_per_worker=2, max_concurrent_requests=7, task=("distill",)))
    assert 0 < simulator.stats()["peak_in_flight"] <= 7
    assert_accounted_for(output, books, http_requests=quiet(simulator))


# --- which tasks, which documents -------------------------------------------------------------------------------------


def test_named_tasks_get_every_document(job, simulator, output):
    """With --task the score is not looked at: every document goes to the tasks named, and to no other."""
    books = run_job(job(simulator, task=("distill", "knowledge_list"), score_field="none"))
    assert set(books["tasks"]) == {"distill", "knowledge_list"}
    assert {account["documents_in"] for account in books["tasks"].values()} == {36}


def test_a_task_of_ones_own(job, simulator, output, tmp_path, parquet):
    """A task file is run on every document, with its own prompt, field and bounds."""
    own = task_to_toml(TASKS["distill"]).replace('"distill"', '"brief"')
    (tmp_path / "brief.toml").write_text(own.replace("min_result_tokens = 50", "min_result_tokens = 1"))
    books = run_job(job(simulator, input=parquet(clean_documents(5)), task_file=(str(tmp_path / "brief.toml"),)))
    assert list(books["tasks"]) == ["brief"] and books["tasks"]["brief"]["kept"] == 5
    assert "brief" in shard_rows(output, "brief").columns


def test_bounds_on_the_score(job, simulator, output):
    """Only documents within --min-score and --max-score, both inclusive, are used; the others are rejects."""
    run_job(job(simulator, task=("distill",), min_score=4, max_score=15))
    assert set(shard_rows(output, "distill")["quality_score"]) <= set(range(4, 16))
    reasons = rejects(output, "input")["reason"].value_counts()
    assert reasons["below_min_score"] > 0 and reasons["above_max_score"] > 0 and reasons["null_score"] == 1


def test_columns_by_other_names(job, simulator, output, parquet):
    """Columns of other names are read by their options, and only the named ones of the rest are carried along."""
    frame = clean_documents(5).rename(columns={"id": "key", "text": "body", "quality_score": "grade"})
    frame = frame.assign(topic="t", more=1)
    names = {"id_field": "key", "text_field": "body", "score_field": "grade", "columns": ("topic",)}
    run_job(job(simulator, input=parquet(frame), **names))
    rows = shard_rows(output, "distill")
    assert list(rows.columns)[:6] == ["id", "segment_id", "text", "distill", "quality_score", "topic"]
    assert "more" not in rows.columns and set(rows["quality_score"]) == {15}


def test_rows_from_nothing(job, simulator, output):
    """Samples need no input; each has one of the languages asked for, and prompts of one language differ by seed."""
    books = run_job(job(simulator, input=(), samples=30, languages=("German", "Czech")))
    rows = shard_rows(output, "multilingual_qa")
    assert rows["id"].tolist() == list(range(30)) and set(rows["language"]) == {"German", "Czech"}
    assert rows["request_id"].is_unique
    assert_accounted_for(output, books, http_requests=quiet(simulator))


def test_language_codes_can_be_required(job, simulator, output):
    """With --require-language-code an answer without the code of its language is rejected for that."""
    books = run_job(job(simulator, input=(), samples=30, require_language_code=True))
    codes = {"English": "[EN]", "French": "[FR]", "German": "[DE]", "Spanish": "[ES]", "Italian": "[IT]"}
    rows = shard_rows(output, "multilingual_qa")
    assert all(row.text.lstrip().startswith(codes[row.language]) for row in rows.itertuples())
    dropped = rejects(output, "multilingual_qa")
    assert len(rows) + len(dropped) == 30 and set(dropped["reason"]) <= {"language_code_missing"}
    assert_accounted_for(output, books)


def test_nested_and_odd_columns_are_carried_along(job, simulator, output, parquet):
    """Columns of lists, objects, dates and missing numbers reach the shards as they were."""
    frame = clean_documents(3).assign(
        tags=[["a", "b"], [], None],
        about=[{"n": 1}, None, {"n": 2}],
        made=pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
        count=pd.array([2**62 + 1, None, 3], "Int64"),
    )
    run_job(job(simulator, input=parquet(frame), task=("distill",)))
    rows = pd.read_parquet(output / "distill", dtype_backend="pyarrow").sort_values("id")
    assert rows["tags"].tolist()[:2] == [["a", "b"], []] and rows["about"].tolist()[2] == {"n": 2}
    assert rows["count"].tolist()[0] == 2**62 + 1 and rows["count"].isna().tolist() == [False, True, False]
    assert rows["made"].isna().tolist() == [False, True, False]


def test_a_null_in_another_partition(job, simulator, output, parquet):
    """Partitions without nulls are worked on like any other, though the file's column has nulls elsewhere."""
    frame = clean_documents(40).assign(text=[None, *(text(number, 40) for number in range(1, 40))])
    books = run_job(job(simulator, input=parquet(frame), task=("distill",)))
    assert books["tasks"]["distill"]["documents_in"] == 39
    assert_accounted_for(output, books, http_requests=quiet(simulator))


def test_nothing_is_left_of_any_document(job, simulator, output, parquet):
    """A corpus of which no row survives its filters ends well, without a request; its shards are there and empty."""
    frame = pd.DataFrame({"id": range(5), "text": ["Too short."] * 5, "quality_score": [15] * 5})
    books = run_job(job(simulator, input=parquet(frame)))
    assert quiet(simulator) == 0
    assert_accounted_for(output, books)
    assert len(dd.read_parquet(str(output / "distill")).compute(scheduler="sync")) == 0


# --- where the output is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["file://", "memory://"])
def test_output_at_an_address(job, simulator, tmp_path, scheme):
    """The output may be any fsspec address; a second call finds the run there."""
    url = f"{scheme}{tmp_path}/out"
    books = run_job(job(simulator, output=url, task=("distill",)))
    assert len(dd.read_parquet(f"{url}/distill").compute(scheduler="sync")) == books["tasks"]["distill"]["kept"] > 0
    requests = quiet(simulator)
    run_job(job(simulator, output=url, task=("distill",)))
    assert quiet(simulator) == requests
    if scheme == "memory://":
        fsspec.filesystem("memory").rm(f"{tmp_path}/out", recursive=True)


def test_results_are_the_input_of_a_next_job(job, simulator, tmp_path, output):
    """A task's folder serves as the input of a next job, empty shards among the others included."""
    frame = pd.concat([clean_documents(10).assign(text="Too short."), clean_documents(10)]).assign(id=range(20))
    frame.to_parquet(tmp_path / "in.parquet")
    run_job(job(simulator, input=str(tmp_path / "in.parquet"), task=("distill",)))
    assert {len(pd.read_parquet(shard)) for shard in (output / "distill").iterdir()} == {0, 10}
    further = {"input": str(output / "distill"), "output": str(tmp_path / "next"), "text_field": "distill"}
    books = run_job(job(simulator, **further, columns=(), task=("knowledge_list",)))
    assert books["tasks"]["knowledge_list"]["documents_in"] == 10


def test_counts_for_training(job, simulate, tmp_path):
    """A second tokenizer counts each result into a column of its own; named later, it costs no request."""
    simulator, output = simulate(), tmp_path / "out"
    settings = {"output": str(output), "task": ("distill",), "samples": 5, "max_concurrent_requests": 8}
    run_job(job(simulator, **settings))
    assert "training_token_count" not in shard_rows(output, "distill").columns
    requests = quiet(simulator)
    books = run_job(job(simulator, **settings, count_with="mistral-nemo"))
    assert quiet(simulator) == requests and books["tasks"]["distill"]["reused"] > 0
    other = TokenCounter("mistral-nemo")
    for task, field in (("distill", "distill"), ("multilingual_qa", "text")):
        rows = shard_rows(output, task)
        true = other.count(pa.array(rows[field].tolist(), pa.large_string()))
        assert rows["training_token_count"].tolist() == true.tolist() and len(rows) > 0
    rows = shard_rows(output, "distill")
    assert (rows["training_token_count"] != rows["rephrased_document_token_count"]).any()


def test_a_document_that_is_too_large(job, simulator, output, parquet):
    """It is rejected before any task, with its size and where it stands; the others come out."""
    frame = clean_documents(6)
    frame.loc[2, "text"] = "An endless line. " * 1000
    books = run_job(job(simulator, input=parquet(frame), task=("distill",), max_document_bytes=10_000))
    assert books["tasks"]["distill"]["documents_in"] == 5
    [row] = rejects(output, "input").to_dict("records")
    assert row["reason"] == "document_too_large" and row["detail"].endswith("row 2: 17,000 bytes")


# --- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_reaches_the_endpoint_and_nothing_else(job, simulate, output, monkeypatch, caplog, capfd):
    """The key of the environment is sent with every request, and stands in no file and in no line that is written."""
    key = "sk-a-secret-of-the-test"
    monkeypatch.setenv("THE_KEY", key)
    caplog.set_level(logging.DEBUG)
    simulator = simulate(api_key=key, bad_request_rate=0.2)
    books = run_job(job(simulator, api_key_env="THE_KEY", task=("distill",)))
    assert books["tasks"]["distill"]["kept"] > 0
    assert_accounted_for(output, books, http_requests=quiet(simulator))
    forms = [key.encode(), base64.b64encode(key.encode())]
    written = [path.read_bytes() for path in output.rglob("*") if path.is_file()]
    said = [record.getMessage().encode() for record in caplog.records] + [
        words.encode() for words in capfd.readouterr()
    ]
    assert not any(form in content for form in forms for content in [*written, *said])
    assert b"THE_KEY" in (output / "_nemocc" / "run.json").read_bytes()
