"""A job on several hosts, one of which is cut off for a while: what becomes of its worker, and what is paid twice.

Hosts are network namespaces on this machine, so this needs root. `python benchmarks/cut_links.py` prints a table, which
takes a quarter of an hour.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1] / "tests")
)  # its processes are the tests'; one here is called like them

from cluster.hosts import Hosts, why_not
from cluster.processes import LONGEST_START_S, Cluster, EndpointProcess, nemocc, nemocc_started
from job.jobs import books_of, wait_until

from nemocc_dask.io.write import Output
from nemocc_dask.pulse import UNDER_WAY, read_progress

WORKERS = ("w0", "w1")
LIMIT = 16
"""Requests at once, of all workers together."""
LATENCY_S = 0.5
ROWS_PER_PARTITION = 50
ASKED_BEFORE = 3 * LIMIT
"""Requests that the endpoint has had when the link is cut."""
LONGEST_END_S = 600.0


@dataclass(frozen=True)
class Cut:
    """What happens to one of two workers.

    seconds: how long. tcp_timeout: `distributed.comm.timeouts.tcp` of all processes; None: Dask's own.
    from_scheduler_alone: it still reaches the endpoint. drives: the job was submitted, and this worker drives it.
    """

    seconds: float
    tcp_timeout: str | None = None
    from_scheduler_alone: bool = False
    drives: bool = False


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


CUTS = (
    Cut(20),
    Cut(30),
    Cut(30, "120s"),
    Cut(90, "120s"),
    Cut(45, from_scheduler_alone=True),
    Cut(45, drives=True),
    Cut(45, from_scheduler_alone=True, drives=True),
)


def run_with(cut: Cut, folder: Path, rows: int = 1400) -> Outcome:
    """Runs a job on two workers, a host each, while the link to one is cut and mended."""
    told = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": cut.tcp_timeout} if cut.tcp_timeout else {}
    with (
        Hosts(["scheduler", *WORKERS, "endpoint"]) as hosts,
        EndpointProcess(folder, hosts=hosts, latency=LATENCY_S) as endpoint,
        Cluster(workers=len(WORKERS), folder=folder / "cluster", env=told, hosts=hosts) as cluster,
        (_Submitted if cut.drives else _Ran)(_words(cluster, endpoint, folder / "out", rows), folder, told) as job,
    ):
        wait_until(lambda: endpoint.stats()["requests"] > ASKED_BEFORE, LONGEST_START_S)
        victim = _worker_at(job.driver(), hosts)
        _break(hosts, victim, cut)
        began, is_cut, worker_ended = time.monotonic(), True, None
        while not job.is_over():
            since = time.monotonic() - began
            assert since < LONGEST_END_S, f"the job does not end:\n{job.said()}"
            if is_cut and since > cut.seconds:
                _mend(hosts, victim, cut)
                is_cut = False
            if worker_ended is None and not cluster.is_running(victim):
                worker_ended = since
            time.sleep(0.2)
        return Outcome(
            job.status(), worker_ended, since, is_cut, endpoint.stats(), books_of(folder / "out"), job.said()
        )


class _Ran:
    """A job whose client stays. Used in a `with` block."""

    def __init__(self, words: list[str], folder: Path, env: dict[str, str]) -> None:
        self._started = nemocc_started("run", *words, log=folder / "job.log", env=env)

    def __enter__(self) -> Self:
        self._job = self._started.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        self._started.__exit__(*why)

    def is_over(self) -> bool:
        return not self._job.is_alive

    def status(self) -> int:
        return self._job.wait()

    def said(self) -> str:
        return self._job.output()

    def driver(self) -> None:
        """Address of the worker that drives it: none does."""


class _Submitted:
    """A job that its cluster drives. Used in a `with` block, at the end of which the cluster is gone anyway."""

    def __init__(self, words: list[str], folder: Path, env: dict[str, str]) -> None:
        done = nemocc("submit", *words, env=env)
        assert done.returncode == 0, done.stderr
        self._output = folder / "out"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def is_over(self) -> bool:
        return bool(self._told()["state"] not in UNDER_WAY)

    def status(self) -> int:
        return 0 if self._told()["state"] == "done" else 1

    def said(self) -> str:
        return nemocc("status", str(self._output)).stdout

    def driver(self) -> str:
        """Address of the worker that drives it."""
        return str(self._told()["driver"]["worker"])

    def _told(self) -> dict[str, Any]:
        told = read_progress(Output(str(self._output)))
        assert told is not None
        return told


def _worker_at(address: str | None, hosts: Hosts) -> str:
    """Name of the worker there; of any, where it does not matter which."""
    return next(name for name in WORKERS if address is None or f"//{hosts.address(name)}:" in address)


def _words(cluster: Cluster, endpoint: EndpointProcess, output: Path, rows: int) -> list[str]:
    where = ["--scheduler", cluster.address, "--base-url", endpoint.base_url, "--model", "simulated"]
    size = ["--samples", str(rows), "--rows-per-partition", str(ROWS_PER_PARTITION)]
    return [*where, *size, "--max-concurrent-requests", str(LIMIT), "--output", str(output)]


def _break(hosts: Hosts, victim: str, cut: Cut) -> None:
    if cut.from_scheduler_alone:
        hosts.part(victim, "scheduler")
    else:
        hosts.cut(victim)


def _mend(hosts: Hosts, victim: str, cut: Cut) -> None:
    if cut.from_scheduler_alone:
        hosts.join(victim, "scheduler")
    else:
        hosts.mend(victim)


def main() -> None:
    """Prints a line for each of CUTS."""
    if reason := why_not():
        sys.exit(f"There can be no hosts here: {reason}.")
    print("| cut off | from | for | tcp timeout | `dask worker` ended | most at once | paid twice | lost | job ended |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cut in CUTS:
        with TemporaryDirectory() as folder:
            print(f"| {' | '.join(_row(cut, run_with(cut, Path(folder))))} |", flush=True)


def _row(cut: Cut, came: Outcome) -> list[str]:
    account, stats = came.books["tasks"]["multilingual_qa"], came.stats
    return [
        "the driver" if cut.drives else "a worker",
        "scheduler" if cut.from_scheduler_alone else "all",
        f"{cut.seconds:.0f} s",
        cut.tcp_timeout or "30s",
        "not" if came.worker_ended is None else f"after {came.worker_ended:.0f} s",
        str(stats["peak_in_flight"]),
        str(stats["repeated"]),
        str(account["requests"] - account["kept"]),
        f"after {came.seconds:.0f} s",
    ]


if __name__ == "__main__":
    main()
