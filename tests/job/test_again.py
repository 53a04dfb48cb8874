"""Rows that failed, or whose answer came empty or cut off, are asked for again, and no others."""

import json

import pandas as pd
import pytest

from nemocc_dask.job import run_job

from .jobs import (
    arguments,
    assert_accounted_for,
    assert_same_results,
    books_of,
    clean_documents,
    quiet,
    rejects,
)

DOCUMENTS = clean_documents(40)


@pytest.fixture
def spoilt(job, simulate, parquet):
    """Runs a job, in ten partitions, at an endpoint with some fault; returns the job, that endpoint and a sound one."""

    def run(fault, **settings):
        faulty, sound = simulate(**fault), simulate()
        first = job(faulty, input=parquet(DOCUMENTS), task=("distill",), rows_per_partition=4, **settings)
        run_job(first)
        return first, faulty, sound

    return run


def stages_of(output, part):
    """Rows that failed, or were rejected, at stage `generate` of a partition."""
    record = json.loads((output / "_nemocc" / "parts" / f"part-{part:05d}.json").read_text())
    [asked] = [stage for stage in record["tasks"]["distill"] if stage["stage"] == "generate"]
    return sum(asked["failed"].values()) + sum(asked["rejected"].values())


@pytest.mark.parametrize(
    ("fault", "flag", "reason"),
    [
        ({"bad_request_rate": 0.1}, "retry_failed", "http_400"),
        ({"empty_rate": 0.1}, "retry_empty", "empty"),
        ({"truncate_rate": 0.1}, "retry_truncated", "truncated"),
    ],
    ids=["failed", "empty", "truncated"],
)
def test_what_was_lost_is_asked_again(spoilt, output, tmp_path, fault, flag, reason):
    """Each flag asks again for rows of its kind alone; their partitions are made anew, and no other file is touched."""
    first, faulty, sound = spoilt(fault)
    lost = len(rejects(output, "distill").query("stage == 'generate' and reason == @reason"))
    redone = {part for part in range(10) if stages_of(output, part)}
    assert 0 < lost < 40 and 0 < len(redone) < 10
    kept = {path: path.stat().st_mtime_ns for path in output.rglob("part-*") if number(path) not in redone}
    paid = books_of(output)["spent"]["responses"]
    books = run_job(first.replace(base_url=sound.base_url, **{flag: True}))
    assert quiet(sound) == lost and quiet(faulty) == 40
    assert_accounted_for(output, books)
    account = books["tasks"]["distill"]
    assert account["failed"] == {} and reason not in account["rejected"].get("generate", {})
    assert books["spent"]["responses"] == paid + lost
    assert books["spent"]["prompt_tokens"] == sum(each.stats()["prompt_tokens"] for each in (faulty, sound))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    run_job(first.replace(base_url=sound.base_url, output=str(tmp_path / "fresh")))
    assert_same_results(output, tmp_path / "fresh", ("distill",))


def number(path):
    """The partition that a file belongs to; -1 for those of the store, which are never touched."""
    return -1 if "responses" in path.parts else int(path.name[5:10])


def test_without_a_flag_nothing_is_asked_again(spoilt, output, simulate):
    """A run that ended is over, whatever failed in it."""
    first, _, sound = spoilt({"bad_request_rate": 0.1, "empty_rate": 0.1})
    before = books_of(output)
    assert run_job(first.replace(base_url=sound.base_url)) == before and quiet(sound) == 0


def test_one_flag_leaves_the_other_rows(spoilt, output):
    """Where rows failed and others came empty, --retry-failed pays for no empty answer again."""
    first, _, sound = spoilt({"bad_request_rate": 0.2, "empty_rate": 0.2})
    before = books_of(output)["tasks"]["distill"]
    books = run_job(first.replace(base_url=sound.base_url, retry_failed=True))
    assert quiet(sound) == before["failed"]["http_400"]
    assert books["tasks"]["distill"]["rejected"]["generate"]["empty"] == before["rejected"]["generate"]["empty"] > 0


def test_nothing_to_ask_again(job, simulator, cli, parquet):
    """Where no row failed a retry says so, sends nothing, and ends well."""
    first = job(simulator, input=parquet(DOCUMENTS), task=("distill",))
    run_job(first)
    result = cli(*arguments(first), "--retry-failed", "--retry-empty")
    assert result.exit_code == 0 and "0 rows of this run failed or came empty." in result.stderr
    assert "nothing was sent now" in result.stdout and quiet(simulator) == 40


def test_the_command_line_tells_of_it(job, simulate, cli, parquet):
    """The summary of a run with failures names the flag, and the flag mends them: exit code 3, then 0."""
    first = job(simulate(bad_request_rate=0.2), input=parquet(DOCUMENTS), task=("distill",))
    result = cli(*arguments(first))
    assert result.exit_code == 3 and "--retry-failed" in result.stdout
    result = cli(*arguments(first.replace(base_url=simulate().base_url)), "--retry-failed")
    assert result.exit_code == 0 and "--retry-failed" not in result.stdout
    [heading] = [line for line in result.stdout.splitlines() if line.strip().startswith("task")]
    assert "reused" in heading


def test_a_retry_that_breaks(spoilt, output, simulate):
    """A retry that is stopped is no finished run: the same command goes on with it."""
    first, _, sound = spoilt({"bad_request_rate": 0.2})
    lost = books_of(output)["tasks"]["distill"]["failed"]["http_400"]
    capped = first.replace(base_url=sound.base_url, retry_failed=True, max_concurrent_requests=1)
    spent = sum(books_of(output)["spent"][name] for name in ("prompt_tokens", "completion_tokens"))
    with pytest.raises(RuntimeError, match="max-tokens-total"):
        run_job(capped.replace(max_tokens_total=spent + 1))
    assert books_of(output)["state"] == "stopped" and 0 < quiet(sound) < lost
    books = run_job(capped.replace(retry_failed=False))
    assert quiet(sound) == lost and books["state"] == "done" and books["tasks"]["distill"]["failed"] == {}


def test_a_retry_beyond_the_cap(spoilt, output):
    """A run that has reached its cap removes nothing for a retry: without the flag it is still done."""
    first, _, sound = spoilt({"bad_request_rate": 0.2})
    before, kept = books_of(output)["tasks"], sorted(output.rglob("part-*"))
    with pytest.raises(RuntimeError, match="max-tokens-total"):
        run_job(first.replace(base_url=sound.base_url, retry_failed=True, max_tokens_total=1))
    assert quiet(sound) == 0 and sorted(output.rglob("part-*")) == kept
    books = run_job(first.replace(base_url=sound.base_url))
    assert books["state"] == "done" and quiet(sound) == 0
    assert json.loads(json.dumps(books["tasks"], default=dict)) == before


def test_what_is_said_of_a_row_that_failed(spoilt, output):
    """A row that got no answer is among the rejects, with stage, reason, status, attempts and the endpoint's words."""
    spoilt({"error_rate": 1.0, "error_status": 503}, max_retries=2)
    rows = rejects(output, "distill")
    assert len(rows) == 40 and set(rows["reason"]) == {"http_503"} and set(rows["stage"]) == {"generate"}
    assert set(rows["status"]) == {503} and set(rows["attempts"]) == {3} and rows["detail"].str.len().min() > 0
    assert rows["request_id"].is_unique and rows["text"].notna().all() and rows["latency_s"].notna().all()


def test_what_is_said_of_an_answer_of_no_use(spoilt, output):
    """A rejected answer stands there with its ledger: what it cost is known."""
    spoilt({"truncate_rate": 0.3})
    rows = rejects(output, "distill")
    assert set(rows["reason"]) == {"truncated"} and set(rows["finish_reason"]) == {"length"}
    assert (rows["prompt_tokens"] > 0).all() and set(rows["attempts"]) == {1} and pd.isna(rows["status"]).all()
