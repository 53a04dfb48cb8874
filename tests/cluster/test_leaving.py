"""What leaves in the middle of a job: a worker that is told to end, as batch systems do, and the scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from job.jobs import assert_accounted_for, books_of, wait_until

from .processes import Cluster, EndpointProcess, Process, nemocc_started

ROWS, LIMIT, LATENCY_S = 120, 8, 1.0

pytestmark = pytest.mark.cluster


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[EndpointProcess]:
    with EndpointProcess(tmp_path, latency=LATENCY_S) as running:
        yield running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(workers=2, folder=tmp_path / "cluster") as running:
        yield running


def begun(cluster: Cluster, endpoint: EndpointProcess, output: Path) -> AbstractContextManager[Process]:
    """A job that has just been started."""
    where = ["--scheduler", cluster.address, "--base-url", endpoint.base_url, "--model", "simulated"]
    size = ["--samples", str(ROWS), "--rows-per-partition", "30", "--max-concurrent-requests", str(LIMIT)]
    return nemocc_started("run", *where, *size, "--output", str(output), log=output.parent / "job.log")


def until_it_is_under_way(job: Process, endpoint: EndpointProcess) -> None:
    job.until(lambda: endpoint.stats()["requests"] > 2 * LIMIT, "it asked")


def test_a_worker_is_told_to_end(cluster, endpoint, tmp_path):
    """SIGTERM to a worker: it stores what was in flight, the others go on, and nothing is paid for twice."""
    output = tmp_path / "out"
    with begun(cluster, endpoint, output) as job:
        until_it_is_under_way(job, endpoint)
        cluster.retire("w0")
        assert "killing" not in cluster.log("w0")
        assert job.wait() == 0, job.output()
    assert_accounted_for(output, books_of(output), endpoint.stats()["requests"])
    assert endpoint.stats()["requests"] == ROWS and endpoint.stats()["abandoned"] == 0


def test_the_scheduler_dies(cluster, endpoint, tmp_path):
    """The job stops and says why in one line; on a new scheduler it goes on, and nothing is paid for twice."""
    output = tmp_path / "out"
    with begun(cluster, endpoint, output) as job:
        until_it_is_under_way(job, endpoint)
        cluster.kill_scheduler()
        assert job.wait() == 1
        *_, last = job.output().splitlines()
        assert last.startswith(f"nemocc-dask: The Dask scheduler at {cluster.address} does not answer any more.")
        assert "Traceback" not in job.output()
    assert books_of(output)["state"] == "stopped"
    wait_until(lambda: not (cluster.is_running("w0") or cluster.is_running("w1")), seconds=60)
    asked = endpoint.stats()["requests"]
    cluster.restart_scheduler()
    cluster.add_worker("w2")
    with begun(cluster, endpoint, output) as job:
        assert job.wait() == 0, job.output()
    assert endpoint.stats()["requests"] == ROWS > asked and endpoint.stats()["abandoned"] == 0
