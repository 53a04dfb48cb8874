"""A disk that gets full stops a job with one line; once there is room, the same command ends it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from fault_cases import stats_of
from job.jobs import NOT_REPEATABLE, arguments, assert_accounted_for, assert_same_results, finish, text

from nemocc_dask.job import run_job
from nemocc_dask.settings import Job

resource = pytest.importorskip("resource")

TASK, ROWS, LIMIT = "distill", 120, 8
MB = 2**20
COMMAND_WITH_LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from nemocc_dask.cli import main
main()
"""


class SmallDisk:
    """A folder on a file system of its own, which can be filled up."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._filler = folder, folder / "filler"
        self.output = folder / "out"

    def run(self, words: list[str], room: int) -> subprocess.CompletedProcess[str]:
        """The command line, with room for so many bytes in all."""
        free = os.statvfs(self._folder)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - room)
        try:
            return finish(words)
        finally:
            self._filler.unlink()


class SmallFiles:
    """Any folder, for a process none of whose files may be larger than so much."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "out"

    def run(self, words: list[str], room: int) -> subprocess.CompletedProcess[str]:
        """The command line, with room for so many bytes in each file."""
        command = [sys.executable, "-B", "-c", COMMAND_WITH_LIMIT, str(room), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _mounted(folder: Path) -> bool:
    """Whether this user may give the folder a disk of its own."""
    with suppress(FileNotFoundError):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={64 * MB}", "tmpfs", str(folder)]
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk | SmallFiles]:
    """A disk that gets full where this user may mount one, else files that cannot grow."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not _mounted(folder):
        yield SmallFiles(folder)
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Callable[..., Job]:
    """Makes a job on documents that carry 16 KB each, which go to shards and not to the store."""
    source, rng = tmp_path_factory.mktemp("in") / "in.parquet", random.Random(1)
    ballast = [rng.randbytes(16_000).hex() for _ in range(ROWS)]
    pd.DataFrame({"id": range(ROWS), "text": [text(number) for number in range(ROWS)], "ballast": ballast}).to_parquet(
        source
    )

    def make(url: str, output: Path, **settings: object) -> Job:
        there = {"input": (str(source),), "output": str(output), "base_url": (url,), "model": "simulated"}
        usual = {"task": (TASK,), "tokenizer": str(tokenizer_file), "max_concurrent_requests": LIMIT}
        return Job(**{**there, **usual, **settings})

    return make


@pytest.fixture
def url(endpoints) -> str:
    """Address of an endpoint that takes its time."""
    return str(endpoints.start({"latency_s": 0.02}))


def assert_stopped(done, output, file):
    """The command ended with one line, which names the file and what to do, and no traceback."""
    assert done.returncode == 1, done
    *_, last = said = done.stderr.splitlines()
    assert last.startswith("nemocc-dask: ") and file in last and str(output) in last
    assert "No space left on device" in last or "File too large" in last
    assert "Make room and run the same command again" in last
    assert not [line for line in said[:-1] if "rows, ETA" not in line and line != "preparing"], said
    assert "Traceback" not in done.stdout


def assert_goes_on(job, output, url, endpoints, *, asked_again):
    """With room the job ends; its results are those of a run with room from the start."""
    books = run_job(job(url, output))
    assert_accounted_for(output, books)
    other = output.parent.parent / "other"
    whole = run_job(job(endpoints.start({}), other))
    assert_same_results(output, other, (TASK,))
    needed, stats = whole["tasks"][TASK]["responses"], stats_of(url)
    assert stats["requests"] <= needed + asked_again and stats["repeated"] <= asked_again
    assert books["spent"]["responses"] == needed >= ROWS
    assert not list((output / "_nemocc" / "unfinished").glob("*"))


def test_the_store_hits_the_limit(disk, job, url, endpoints):
    """An answer that cannot be stored stops the job; those stored before are not asked for again."""
    # An attempt keeps 2 MB back where it can: room for the answers under way when the disk gets full.
    kept_back = 2 * MB if isinstance(disk, SmallDisk) else 0
    done = disk.run(arguments(job(url, disk.output)), 64_000 + kept_back)
    assert_stopped(done, disk.output, ".jsonl cannot be written")
    assert 20 < stats_of(url)["requests"] < 100
    # Without that room each answer makes way for one more request, until the first of them has stopped the job.
    assert_goes_on(job, disk.output, url, endpoints, asked_again=0 if kept_back else 2 * LIMIT)


def test_a_shard_hits_the_limit(disk, job, url, endpoints):
    """A shard that cannot be written stops the job; when there is room, nothing is asked for again."""
    done = disk.run(arguments(job(url, disk.output)), 600_000)
    assert_stopped(done, disk.output, "part-00000.parquet cannot be written")
    asked = stats_of(url)["requests"]
    assert asked >= ROWS and not list((disk.output / TASK).glob("*"))
    assert_goes_on(job, disk.output, url, endpoints, asked_again=0)
    assert stats_of(url)["requests"] == asked


def test_the_books_hit_the_limit(disk, job, url, endpoints):
    """Where not even the books can be begun, nothing is sent."""
    done = disk.run(arguments(job(url, disk.output)), 0 if isinstance(disk, SmallDisk) else 1000)
    assert_stopped(done, disk.output, "run.json cannot be written")
    assert stats_of(url)["requests"] == 0
    assert_goes_on(job, disk.output, url, endpoints, asked_again=0)


def test_the_books_hit_the_limit_at_the_end(tmp_path, endpoints):
    """Books that can be begun and not finished stop the job too; what is done stays, and nothing is asked for again."""

    def job(name):
        there = {"output": str(tmp_path / name / "out"), "base_url": (url,), "model": "simulated"}
        return Job(samples=5, rows_per_partition=1, output_format="jsonl", **there)

    url = endpoints.start({})
    run_job(job("whole"))
    other = tmp_path / "whole" / "out"
    room = (other / "_nemocc" / "run.json").stat().st_size - 100
    assert room > 2 * max(file.stat().st_size for file in other.rglob("*.jsonl")), "others would hit it first"
    url = endpoints.start({})
    small = SmallFiles(tmp_path / "small")
    assert_stopped(small.run(arguments(job("small")), room), small.output, "run.json cannot be written")
    assert stats_of(url)["requests"] == 5 and len(list((small.output / "multilingual_qa").glob("*"))) == 5
    books = run_job(job("small"))
    assert books["state"] == "done" and books["tasks"]["multilingual_qa"]["kept"] == 5
    assert stats_of(url)["requests"] == 5
    for one, whole in zip(sorted(small.output.glob("*/*.jsonl")), sorted(other.glob("*/*.jsonl")), strict=True):
        assert comparable(one) == comparable(whole)


def comparable(shard):
    """Rows of a shard without what differs from run to run."""
    rows = [json.loads(line) for line in shard.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name not in NOT_REPEATABLE} for row in rows]
