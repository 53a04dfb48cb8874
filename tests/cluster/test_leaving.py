"""Workers that are told to go, as batch systems, Kubernetes and adaptive clusters do, in the middle of a job."""

from __future__ import annotations

from job.jobs import assert_accounted_for, books_of

from .processes import Cluster, EndpointProcess, nemocc_started

ROWS, LIMIT, LATENCY_S = 120, 8, 1.0


def test_a_worker_is_told_to_end(tmp_path):
    """SIGTERM to a worker: it stores what was in flight, the others go on, and nothing is paid for twice."""
    output = tmp_path / "out"
    with (
        EndpointProcess(tmp_path, latency=LATENCY_S) as endpoint,
        Cluster(workers=2, folder=tmp_path / "cluster") as cluster,
    ):
        where = ["--scheduler", cluster.address, "--base-url", endpoint.base_url, "--model", "simulated"]
        size = ["--samples", str(ROWS), "--rows-per-partition", "30", "--max-concurrent-requests", str(LIMIT)]
        with nemocc_started("run", *where, *size, "--output", str(output), log=tmp_path / "job.log") as job:
            job.until(lambda: endpoint.stats()["requests"] > 2 * LIMIT, "it asked")
            cluster.retire("w0")
            assert "killing" not in cluster.log("w0")
            assert job.wait() == 0, job.output()
        assert_accounted_for(output, books_of(output), endpoint.stats()["requests"])
        assert endpoint.stats()["requests"] == ROWS and endpoint.stats()["abandoned"] == 0
