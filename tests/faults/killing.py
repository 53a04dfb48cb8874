"""A job as a command in a process group of its own, which is killed at chosen moments and started again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from fault_cases import stats_of
from job.jobs import arguments, start

from nemocc_dask.settings import Job

LONGEST_WAIT_S = 90.0
UNEVEN_S = 0.4
"""A moment is looked for so long after the first request, at most."""


class Command:
    """A running command. Used in a `with` block, at the end of which it is dead.

    rng: draws how long after the command's first request a moment is looked for.
    """

    def __init__(self, job: Job, rng: random.Random) -> None:
        self._output, self._url, self._rng = Path(job.output), job.base_url[0], rng
        self._process = start(arguments(job))

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()

    def until(self, moment: str) -> None:
        """Returns in the middle of that: one of `MOMENTS`."""
        look = MOMENTS[moment]
        if look is not _books_written:
            self.until_it_asks()
            time.sleep(self._rng.uniform(0, UNEVEN_S))
        before = look(self._output)
        self._wait(lambda: look(self._output) - before, 0.0)

    def until_it_asks(self) -> None:
        """Returns when the endpoint has had another request."""
        requests = self._requests()
        self._wait(lambda: self._requests() > requests, 0.005)

    def kill(self) -> None:
        """SIGKILL to its whole process group."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, oldest first."""
        return workers_of(self._process.pid)

    def end(self) -> subprocess.CompletedProcess[str]:
        """Waits until it has ended by itself."""
        out, err = self._process.communicate(timeout=LONGEST_WAIT_S)
        return subprocess.CompletedProcess(self._process.args, self._process.returncode, out, err)

    def _requests(self) -> int:
        return int(stats_of(self._url)["requests"])

    def _wait(self, holds: Callable[[], Any], pause_s: float) -> None:
        until = time.monotonic() + LONGEST_WAIT_S
        while not holds():
            assert self._process.poll() is None, f"it ended too soon: {self._process.communicate()}"
            assert time.monotonic() < until, "the moment did not come"
            time.sleep(pause_s)


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """Worker processes of a process, oldest first; None: of this one."""
    children = psutil.Process(pid).children(recursive=True)
    return sorted(filter(_is_worker, children), key=psutil.Process.create_time)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has just died
        return False


def _being_written(output: Path) -> set[Any]:
    """Files that are being written, and those that have just come: if written in place, both would be one."""
    folders = [output / "_nemocc" / "unfinished", *output.glob("[!_]*")]
    return {name for folder in folders if folder.exists() for name in os.listdir(folder)}


def _stored(output: Path) -> set[Any]:
    folder = output / "_nemocc" / "responses"
    return {(file.name, file.stat().st_size) for file in folder.glob("*.jsonl")}


def _books_written(output: Path) -> set[Any]:
    books = output / "_nemocc" / "run.json"
    return {books.stat().st_mtime_ns} if books.exists() else set()


MOMENTS: dict[str, Callable[[Path], set[Any]]] = {
    "a request is under way": lambda _: {time.monotonic_ns()},
    "a shard is being written": _being_written,
    "an answer is being stored": _stored,
    "the books are being written": _books_written,
}
"""Moment → what there is to be seen of it; it has come when there is more."""

SHARD = re.compile(r"part-\d{5}\.parquet")


def assert_nothing_is_torn(output: Path, task: str) -> None:
    """What a reader may look at is whole, whenever it looks: shards, rejects, records and books."""
    for folder in (output / task, output / "_nemocc" / "rejected" / task):
        for file in folder.glob("*"):
            assert SHARD.fullmatch(file.name), file
            assert pq.read_table(file).num_columns > 10
    for file in output.glob("_nemocc/**/*.json"):
        json.loads(file.read_text(encoding="utf-8"))
