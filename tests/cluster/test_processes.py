"""The cluster of processes that other tests kill: it comes up, loses what it is told to, and leaves nothing behind."""

from __future__ import annotations

import psutil
import pytest
from job.jobs import assert_accounted_for, books_of, wait_until

from .processes import Cluster, EndpointProcess, nemocc, runs


def test_a_job_on_it(tmp_path):
    """A job runs on a cluster of processes, which are gone when the block ends."""
    with Cluster(workers=2, folder=tmp_path / "cluster") as cluster, EndpointProcess(tmp_path) as endpoint:
        pids = [*cluster.workers().values(), endpoint.pid]
        where = ["--scheduler", cluster.address, "--base-url", endpoint.base_url, "--model", "simulated"]
        done = nemocc("run", *where, "--output", str(tmp_path / "out"), "--samples", "40", "--rows-per-partition", "10")
        assert done.returncode == 0, done.stderr
        assert_accounted_for(tmp_path / "out", books_of(tmp_path / "out"), endpoint.stats()["requests"])
    assert len(pids) == 3 and not any(map(runs, pids))


def test_what_dies_and_what_comes_back(tmp_path):
    """A nanny starts its worker anew, a worker without one stays away, and a scheduler comes back at its address."""
    with Cluster(workers=2, folder=tmp_path) as cluster:
        before = cluster.workers()
        cluster.kill("w0")
        wait_until(lambda: cluster.workers().get("w0", before["w0"]) != before["w0"])
        cluster.until_known("w0")
        cluster.kill("w1", nanny=True)
        assert cluster.workers().keys() == {"w0"}
        cluster.add_worker("w2")
        cluster.stop("w2")
        assert psutil.Process(cluster.workers()["w2"]).status() == psutil.STATUS_STOPPED
        cluster.go_on("w2")
        cluster.retire("w2")
        address = cluster.address
        cluster.kill_scheduler()
        cluster.restart_scheduler()
        cluster.add_worker("w3")
        assert cluster.address == address


def test_nothing_is_left_where_a_test_fails(tmp_path):
    """All processes end with the block, also where it fails, and those that hang."""
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        _fail_in(Cluster(workers=1, nanny=False, folder=tmp_path), pids)
    assert len(pids) == 1 and not any(map(runs, pids))


def _fail_in(cluster: Cluster, pids: list[int]) -> None:
    with cluster:
        pids += cluster.workers().values()
        cluster.stop("w0")
        raise ZeroDivisionError
