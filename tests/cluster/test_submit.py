"""A job that is handed to a cluster: it outlives its client, its driver's worker and its scheduler."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from job.jobs import assert_accounted_for, books_of, wait_until

from .processes import Cluster, EndpointProcess, nemocc

LIMIT = 12
SAMPLES = 900


class Submitted:
    """A job of many small partitions, on a cluster, at an endpoint that takes a fifth of a second."""

    def __init__(self, folder: Path, cluster: Cluster, endpoint: EndpointProcess) -> None:
        self.cluster, self.endpoint, self.output = cluster, endpoint, folder / "out"

    def words(self, *more: str) -> list[str]:
        return [
            "--scheduler", self.cluster.address, "--output", str(self.output), "--samples", str(SAMPLES),
            "--rows-per-partition", "20", "--base-url", self.endpoint.base_url, "--model", "simulated",
            "--max-concurrent-requests", str(LIMIT), "--fixed-concurrency", *more,
        ]  # fmt: skip

    def submit(self, *more: str):
        return nemocc("submit", *self.words(*more))

    def progress(self) -> dict[str, Any] | None:
        path = self.output / "_nemocc" / "progress.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def until_asked(self, requests: int) -> None:
        wait_until(lambda: self.endpoint.stats()["requests"] >= requests, 90)

    def until(self, state: str) -> None:
        wait_until(lambda: (self.progress() or {}).get("state") == state, 120)

    def assert_all_came(self) -> None:
        """No row is lost, and the limit was kept."""
        seen = self.endpoint.stats()
        assert_accounted_for(self.output, books_of(self.output))
        assert books_of(self.output)["tasks"]["multilingual_qa"]["kept"] == SAMPLES
        assert seen["peak_in_flight"] <= LIMIT


@pytest.fixture
def submitted(tmp_path):
    """A job that is not submitted yet."""
    with (
        EndpointProcess(tmp_path, latency=0.2) as endpoint,
        Cluster(3, 2, folder=tmp_path / "cluster", env={"NEMOCC_TEST_KEY": "secret"}) as cluster,
    ):
        yield Submitted(tmp_path, cluster, endpoint)


def test_it_ends_without_its_client(submitted):
    """`submit` returns at once, the job ends by itself, `status` tells what was sent, and a second `submit` is refused
    while it runs."""
    assert (done := submitted.submit()).returncode == 0, done.stderr
    submitted.until_asked(20)
    told = json.loads(nemocc("status", "--json", str(submitted.output)).stdout)
    again = submitted.submit()
    assert again.returncode == 2 and "Another run is writing" in again.stderr
    assert told["state"] == "running" and 0 < told["http_requests"] <= submitted.endpoint.stats()["requests"]
    assert told["rows"]["all"] == SAMPLES and told["driver"]["worker"].startswith("tcp://127.0.0.1:")
    submitted.until("done")
    submitted.assert_all_came()
    words = nemocc("status", str(submitted.output)).stdout
    assert f"done: {SAMPLES} of {SAMPLES} rows" in words and f"{SAMPLES} requests sent" in words
    assert submitted.endpoint.stats()["requests"] == SAMPLES


def test_what_kills_and_hangs_workers_costs_what_was_in_flight(submitted):
    """One worker killed, one stopped for some seconds, one added: nothing is lost, the limit is kept, and asked again
    is at most what was in flight at the dead one."""
    assert submitted.submit().returncode == 0
    submitted.until_asked(100)
    driver = submitted.cluster.name_of(submitted.progress()["driver"]["worker"])
    others = [name for name in submitted.cluster.workers() if name != driver]
    submitted.cluster.kill(others[0], nanny=True)
    submitted.cluster.stop(others[1])
    submitted.cluster.add_worker("added")
    time.sleep(4)
    submitted.cluster.go_on(others[1])
    submitted.until("done")
    submitted.assert_all_came()
    seen = submitted.endpoint.stats()
    assert seen["repeated"] + seen["abandoned"] <= LIMIT


def test_the_drivers_worker_and_the_scheduler_are_killed(submitted):
    """Another worker drives on by itself; after the scheduler's death the same command does; nothing that was answered
    is asked again but what was in flight."""
    assert submitted.submit().returncode == 0
    submitted.until_asked(100)
    first = submitted.progress()["driver"]
    submitted.cluster.kill(submitted.cluster.name_of(first["worker"]))
    wait_until(lambda: submitted.progress()["driver"]["id"] != first["id"], 60)
    submitted.until_asked(250)
    submitted.cluster.kill_scheduler()
    wait_until(lambda: not submitted.cluster.workers(), 60)
    submitted.cluster.restart_scheduler()
    for name in ("again0", "again1"):
        submitted.cluster.add_worker(name)
    assert (done := submitted.submit()).returncode == 0, done.stderr
    submitted.until("done")
    submitted.assert_all_came()
    assert submitted.endpoint.stats()["requests"] <= SAMPLES + 2 * LIMIT


def test_cancelled_it_sends_nothing_more_and_goes_on_later(submitted):
    """After `cancel` has returned no request comes, `status` says so, and `submit` goes on with what is missing."""
    assert submitted.submit().returncode == 0
    submitted.until_asked(100)
    done = nemocc("cancel", str(submitted.output))
    assert done.returncode == 0 and "cancelled" in done.stdout, done.stderr
    sent = submitted.endpoint.stats()["requests"]
    time.sleep(3)
    assert submitted.endpoint.stats()["requests"] == sent
    assert nemocc("status", str(submitted.output)).stdout.startswith("cancelled: ")
    again = nemocc("cancel", str(submitted.output))
    assert again.returncode == 2 and "is cancelled" in again.stderr
    assert submitted.submit().returncode == 0
    submitted.until("done")
    submitted.assert_all_came()
    assert submitted.endpoint.stats()["requests"] == SAMPLES


def test_what_is_wrong_is_told_before_anything_is_sent(submitted):
    """A missing variable on the workers, a missing file, a folder without a run: one line each, and no request."""
    missing = submitted.submit("--api-key-env", "NEMOCC_TEST_NO_SUCH_KEY")
    assert missing.returncode == 2 and "NEMOCC_TEST_NO_SUCH_KEY is not set on worker tcp://" in missing.stderr
    no_file = submitted.submit("--input", "none.parquet", "--api-key-env", "NEMOCC_TEST_KEY")
    assert no_file.returncode == 2 and "none.parquet" in no_file.stderr and "Traceback" not in no_file.stderr
    nowhere = nemocc("status", str(submitted.output / "nowhere"))
    assert nowhere.returncode == 2 and "no run" in nowhere.stderr
    assert submitted.endpoint.stats()["requests"] == 0
