"""A job that is killed again and again, wherever it stands, ends with the results of one that ran unbroken."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import time

import pandas as pd
import pytest
from fault_cases import stats_of
from job.jobs import NOT_REPEATABLE, assert_accounted_for, assert_same_results, books_of, documents, rejects

from nemocc_dask.job import run_job
from nemocc_dask.settings import Job

from .killing import MOMENTS, Command, assert_nothing_is_torn

TASK, ROWS, LIMIT = "distill", 280, 8
REFUSED = 0.05
"""Share of the prompts that the endpoint never takes: so there are failed rows too, the same in each run."""


@pytest.fixture(scope="module")
def job(tmp_path_factory, tokenizer_file):
    """Makes a job in many small partitions, on documents of which some are of no use."""
    source = tmp_path_factory.mktemp("in") / "in.parquet"
    drawn = random.Random(0)
    ballast = [drawn.randbytes(50_000).hex() for _ in range(ROWS)]
    documents(ROWS).assign(quality_score=15, ballast=ballast).to_parquet(source, row_group_size=20)

    def make(url, output, **settings):
        usual = {"task": (TASK,), "model": "simulated", "tokenizer": str(tokenizer_file), "rows_per_partition": 4}
        quick = {"threads_per_worker": 2, "base_delay": 0.01, "max_concurrent_requests": LIMIT}
        return Job(input=(str(source),), output=str(output), base_url=(url,), **{**usual, **quick, **settings})

    return make


@pytest.fixture(scope="module")
def whole(job, endpoints, tmp_path_factory):
    """Folder and books of a run that nothing has broken."""
    output = tmp_path_factory.mktemp("whole") / "out"
    url = endpoints.start({"bad_request_rate": REFUSED})
    return output, run_job(job(url, output, rows_per_partition=40))


@pytest.fixture
def url(endpoints):
    """Address of an endpoint that takes its time."""
    return endpoints.start({"bad_request_rate": REFUSED, "latency_s": 0.08})


def assert_as_if_unbroken(output, whole, url, kills):
    """Results, rejects and books are those of the unbroken run; only what was in flight at a kill was sent twice."""
    folder, unbroken = whole
    books = books_of(output)
    assert_accounted_for(output, books)
    assert_same_results(output, folder, (TASK,))
    for stage in ("input", TASK):
        pd.testing.assert_frame_equal(comparable(rejects(output, stage)), comparable(rejects(folder, stage)))
    account, stats = unbroken["tasks"][TASK], stats_of(url)
    failed = account["failed"]["http_400"]
    assert failed > 5 and account["responses"] > 200
    assert stats["requests"] - stats["by_status"]["400"] - account["responses"] <= kills * LIMIT
    assert stats["repeated"] <= kills * LIMIT
    assert failed <= stats["by_status"]["400"] <= failed + kills * LIMIT
    assert books["spent"]["responses"] == account["responses"], "an answer was stored twice"
    assert not list((output / "_nemocc" / "unfinished").glob("*"))


def comparable(frame):
    """What of rejects is the same from run to run, in an order of their own."""
    frame = frame.drop(columns=NOT_REPEATABLE, errors="ignore")
    order = [name for name in ("detail", "id", "request_id", "reason") if name in frame.columns]
    return frame.sort_values(order).reset_index(drop=True)


def test_the_client_is_killed(job, whole, url, tmp_path):
    """Killed again and again, while it asks, stores and writes: nothing is torn or lost, and nothing is asked twice."""
    output, rng = tmp_path / "out", random.Random(1)
    moments = [*reversed(MOMENTS), "a shard is being written", "an answer is being stored"]
    for moment in moments:
        with Command(job(url, output), rng) as command:
            command.until(moment)
            command.kill()
        assert_nothing_is_torn(output, TASK)
    with Command(job(url, output), rng) as command:
        done = command.end()
    assert done.returncode == 3, done.stderr
    assert_as_if_unbroken(output, whole, url, kills=len(moments))


def test_workers_and_all_of_them_are_killed(job, whole, url, tmp_path):
    """Two workers: all processes are killed together, twice; then one worker, then the other, and the job goes on."""
    output, rng = tmp_path / "out", random.Random(2)
    two = job(url, output, workers=2)
    for moment in ("a shard is being written", "a request is under way"):
        with Command(two, rng) as command:
            command.until(moment)
            command.kill()
        assert_nothing_is_torn(output, TASK)
    with Command(two, rng) as command:
        command.until("a request is under way")
        first, second = command.workers()
        time.sleep(1.0)
        finished = records(output)
        first.kill()
        time.sleep(rng.uniform(0.2, 1.0))
        command.until("a shard is being written")
        second.kill()
        assert_nothing_is_torn(output, TASK)
        done = command.end()
    redone = [name for name, record in finished.items() if records(output)[name] != record]
    assert len(redone) <= 4 < len(finished), "what a dead worker had finished was done anew"
    assert done.returncode == 3, done.stderr
    assert_as_if_unbroken(output, whole, url, kills=4)


def records(output):
    """Partition → its record, which names the attempt that made it."""
    return {file.name: file.read_text(encoding="utf-8") for file in (output / "_nemocc" / "parts").glob("*.json")}


STARTING = """
    import time

    from faults.killing import workers_of
    from nemocc_dask import clusters

    if __name__ == "__main__":
        clusters.CLOSE_S = 1.0
        with clusters.local_cluster(2, 1):
            workers = set(workers_of())
            for worker in workers:
                worker.kill()
            while len(others := set(workers_of()) - workers) < 2:
                time.sleep(0.01)
            for other in others:
                time.sleep(0.1)
                other.kill()
            time.sleep(0.5)
        print("closed")
"""


def test_a_worker_that_is_killed_while_it_starts(tmp_path):
    """A cluster is closed in time even where the worker that replaces a dead one was killed before it was up."""
    script = tmp_path / "starting.py"
    script.write_text(textwrap.dedent(STARTING))
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False, env=there)
    assert done.stdout == "closed\n", done.stderr
