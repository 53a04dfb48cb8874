"""What surprised those who first used it: each of these once went wrong, or went by without a word."""

import dataclasses
import logging

import pandas as pd
import pytest
from click.testing import CliRunner

import nemocc_dask as ncc
from nemocc_dask.cli import nemocc
from nemocc_dask.errors import EndpointUnreachableError, SettingError
from nemocc_dask.job import run_job
from nemocc_dask.tasks import TASKS

from .jobs import arguments, assert_accounted_for, clean_documents, quiet, rejects, shard_rows

NOWHERE = "http://127.0.0.1:9/v1"


def test_a_column_that_only_some_files_have(job, simulator, output, tmp_path, parquet):
    """Documents of a file without the column have it empty; nobody is stopped by it."""
    first, second = clean_documents(8)[:4], clean_documents(8)[4:]
    parquet(first.assign(url="u"), "mixed-1.parquet")
    parquet(second, "mixed-2.parquet")
    books = run_job(job(simulator, input=str(tmp_path / "mixed-*.parquet"), task=("distill",), columns=None))
    assert_accounted_for(output, books, http_requests=quiet(simulator))
    urls = shard_rows(output, "distill").set_index("id")["url"]
    assert set(urls[urls.index.isin(first["id"])]) == {"u"} and urls[urls.index.isin(second["id"])].isna().all()


def test_two_answers_to_a_prompt_are_told_apart(job, simulator, output, parquet):
    """With n=2, id, segment and sample name each row, kept or rejected."""
    run_job(job(simulator, input=parquet(clean_documents(6)), task=("distill",), n=2))
    kept = shard_rows(output, "distill")
    assert set(kept["sample"]) == {0, 1}
    assert not kept.duplicated(["id", "segment_id", "sample"]).any()


def test_an_endpoint_that_is_gone_stops_a_chain(tokenizer_file):
    """Where no request reaches anybody, the result is an error and not an empty frame."""
    gone = ncc.Endpoint(base_url=NOWHERE, model="m", max_retries=0)
    docs = clean_documents(3)
    with pytest.raises(EndpointUnreachableError, match=r"127\.0\.0\.1:9"):
        docs.nemocc.preprocess("distill", tokenizer=tokenizer_file).nemocc.generate("distill", endpoint=gone)
    with pytest.raises(SettingError, match="Endpoint"):
        docs.nemocc.generate("distill", endpoint=NOWHERE)


def test_joined_answers_are_counted(job, simulator, output):
    """From answers to texts the account goes on: it says how many were joined."""
    books = run_job(job(simulator, task=("wikipedia_paraphrasing",)))
    stages = {stage["stage"]: stage for stage in books["tasks"]["wikipedia_paraphrasing"]["stages"]}
    assert stages["filter_results"]["notes"] == {"answers_joined": stages["postprocess"]["rows_out"]}
    joined = shard_rows(output, "wikipedia_paraphrasing")["request_id"].str.split(",").str.len().sum()
    dropped = rejects(output, "wikipedia_paraphrasing").query("stage == 'filter_results'")
    assert joined + dropped["request_id"].str.split(",").str.len().sum() == stages["postprocess"]["rows_out"]


def test_a_marker_that_the_prompt_does_not_ask_for(caplog):
    """A task that will throw away all it pays for says so when it is made."""
    with caplog.at_level(logging.WARNING):
        dataclasses.replace(TASKS["distill"], name="brief", prompt="Shorten: {document}")
    assert "'Paraphrased Text:'" in caplog.text


def test_a_run_that_keeps_nothing_says_so(job, simulate, tmp_path):
    """Answers of which none is of use are told in capitals; a run that had ended says so, and one that failed why."""
    settings = job(simulate(empty_rate=1.0), task=("distill",))
    said = [CliRunner().invoke(nemocc, arguments(settings)) for _ in range(2)]
    assert [result.exit_code for result in said] == [0, 0]
    assert "NOTHING WAS KEPT" in said[0].output and "This run ended at" not in said[0].output
    assert "Most were dropped as empty" in said[0].output and "--retry-empty" in said[0].output
    assert "This run ended at" in said[1].output
    failing = job(simulate(bad_request_rate=0.5), task=("distill",), output=str(tmp_path / "failing"))
    result = CliRunner().invoke(nemocc, arguments(failing))
    assert result.exit_code == 3 and "--max-failed-fraction 0.01" in result.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"languages": ("French",)}, "--samples"), ({"min_score": 9, "max_score": 3}, "no score meets")],
)
def test_settings_that_do_nothing_together(settings, words):
    """Two settings of which one makes the other senseless are refused."""
    with pytest.raises(SettingError, match=words):
        ncc.Job(input="in.parquet", output="out", base_url=NOWHERE, model="m", **settings)


def test_languages_of_rows_from_nothing():
    """A chain's languages are said where its rows are made."""
    rows = ncc.from_nothing(samples=20, languages=["Portuguese", "Czech"]).compute()
    assert set(rows["language"]) == {"Portuguese", "Czech"}


def test_the_version_is_told():
    """Both faces know which version they are."""
    result = CliRunner().invoke(nemocc, ["--version"])
    assert result.exit_code == 0 and ncc.__version__ in result.output


def test_frames_of_other_kinds_of_text():
    """A frame that was made by hand, with text of dtype object, works like one that was read."""
    docs = pd.DataFrame({"id": [1], "text": pd.Series(["Water boils at a hundred degrees."], dtype=object)})
    assert docs.nemocc.split_documents()["text"].tolist() == ["Water boils at a hundred degrees."]


def test_nothing_to_synthesize():
    """An empty list of tasks is told to be one."""
    endpoint = ncc.Endpoint(base_url=NOWHERE, model="m")
    with pytest.raises(SettingError, match="nothing to do"):
        clean_documents(1).nemocc.synthesize([], endpoint=endpoint)
