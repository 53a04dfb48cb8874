"""A job on several hosts, one of which is cut off for a while: what becomes of its worker, and what is paid twice.

Hosts are network namespaces on this machine, so this needs root. `python benchmarks/cut_links.py` prints a table, which
takes ten minutes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # its processes and hosts are those of the tests

from cluster.hosts import Hosts, why_not
from cluster.processes import Cluster, EndpointProcess, nemocc_started
from job.jobs import books_of

LIMIT = 16
"""Requests at once, of all workers together."""
LATENCY_S = 0.5
ROWS_PER_PARTITION = 50
ASKED_BEFORE = 3 * LIMIT
"""Requests that the endpoint has had when the link is cut."""
LONGEST_END_S = 600.0


@dataclass(frozen=True)
class Cut:
    """What happens to the first of two workers.

    seconds: how long. tcp_timeout: `distributed.comm.timeouts.tcp` of all processes; None: Dask's own.
    from_scheduler_alone: it still reaches the endpoint.
    """

    seconds: float
    tcp_timeout: str | None = None
    from_scheduler_alone: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    worker_ended: how many seconds after the cut `dask worker` had ended; None where it outlived the job. seconds: after
    which the job had. still_cut: and the link was not mended yet. stats: what the endpoint saw.
    """

    exit_code: int
    worker_ended: float | None
    seconds: float
    still_cut: bool
    stats: dict[str, Any]
    books: dict[str, Any]
    said: str


CUTS = (Cut(20), Cut(30), Cut(30, "120s"), Cut(90, "120s"), Cut(45, from_scheduler_alone=True))


def run_with(cut: Cut, folder: Path, rows: int = 1400) -> Outcome:
    """Runs a job on two workers, a host each, while the link to one is cut and mended."""
    told = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": cut.tcp_timeout} if cut.tcp_timeout else {}
    output = folder / "out"
    with (
        Hosts(["scheduler", "w0", "w1", "endpoint"]) as hosts,
        EndpointProcess(folder, hosts=hosts, latency=LATENCY_S) as endpoint,
        Cluster(workers=2, folder=folder / "cluster", env=told, hosts=hosts) as cluster,
        nemocc_started(*_words(cluster, endpoint, output, rows), log=folder / "job.log", env=told) as job,
    ):
        job.until(lambda: endpoint.stats()["requests"] > ASKED_BEFORE, "it asked")
        _break(hosts, cut)
        began, is_cut, worker_ended = time.monotonic(), True, None
        while job.is_alive:
            since = time.monotonic() - began
            assert since < LONGEST_END_S, f"the job does not end:\n{job.output()}"
            if is_cut and since > cut.seconds:
                _mend(hosts, cut)
                is_cut = False
            if worker_ended is None and not cluster.is_running("w0"):
                worker_ended = since
            time.sleep(0.2)
        return Outcome(job.wait(), worker_ended, since, is_cut, endpoint.stats(), books_of(output), job.output())


def _words(cluster: Cluster, endpoint: EndpointProcess, output: Path, rows: int) -> list[str]:
    where = ["--scheduler", cluster.address, "--base-url", endpoint.base_url, "--model", "simulated"]
    size = ["--samples", str(rows), "--rows-per-partition", str(ROWS_PER_PARTITION)]
    return ["run", *where, *size, "--max-concurrent-requests", str(LIMIT), "--output", str(output)]


def _break(hosts: Hosts, cut: Cut) -> None:
    if cut.from_scheduler_alone:
        hosts.part("w0", "scheduler")
    else:
        hosts.cut("w0")


def _mend(hosts: Hosts, cut: Cut) -> None:
    if cut.from_scheduler_alone:
        hosts.join("w0", "scheduler")
    else:
        hosts.mend("w0")


def main() -> None:
    """Prints a line for each of CUTS."""
    if reason := why_not():
        sys.exit(f"There can be no hosts here: {reason}.")
    print("| cut off from | for | tcp timeout | `dask worker` ended | most at once | paid twice | lost | job ended |")
    print("|---|---|---|---|---|---|---|---|")
    for cut in CUTS:
        with TemporaryDirectory() as folder:
            came = run_with(cut, Path(folder))
        account, stats = came.books["tasks"]["multilingual_qa"], came.stats
        ended = "not" if came.worker_ended is None else f"after {came.worker_ended:.0f} s"
        which = "scheduler" if cut.from_scheduler_alone else "all"
        facts = (
            which,
            f"{cut.seconds:.0f} s",
            cut.tcp_timeout or "30s",
            ended,
            stats["peak_in_flight"],
            stats["repeated"],
        )
        lost = account["requests"] - account["kept"]
        print(f"| {' | '.join(map(str, facts))} | {lost} | after {came.seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
