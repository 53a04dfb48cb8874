"""The recipe for Slurm, as the tasks that srun would start. There is no Slurm here: its variables are set by hand."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from job.jobs import assert_accounted_for, books_of

from .processes import EndpointProcess, Process

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "slurm" / "on_slurm.py"
TASKS = 4
CLIENT = 1
"""Number of the task that is the client, as dask-jobqueue deals out the roles."""


@contextmanager
def srun(folder: Path, *words: str) -> Iterator[list[Process]]:
    """The recipe as `srun --ntasks 4` starts it on one node."""
    job = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": str(TASKS), "SLURM_CPUS_PER_TASK": "2", "TMPDIR": str(folder)}
    with ExitStack() as running:
        yield [
            running.enter_context(
                Process(
                    [sys.executable, str(RECIPE), *words],
                    folder / f"task-{number}.log",
                    env={**job, "SLURM_PROCID": str(number)},
                )
            )
            for number in range(TASKS)
        ]


pytestmark = pytest.mark.cluster


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[EndpointProcess]:
    with EndpointProcess(tmp_path, latency=0.05) as running:
        yield running


def words(endpoint: EndpointProcess, output: Path, samples: int) -> list[str]:
    where = ["--base-url", endpoint.base_url, "--model", "simulated", "--output", str(output)]
    return ["run", *where, "--samples", str(samples), "--rows-per-partition", "20", "--max-concurrent-requests", "8"]


def test_a_job_on_slurm(endpoint, tmp_path):
    """One task is the scheduler, one the client, two are workers; all end with the job, and with its exit code."""
    output = tmp_path / "out"
    with srun(tmp_path / "slurm", *words(endpoint, output, samples=80)) as tasks:
        assert [task.wait() for task in tasks] == [0] * TASKS, tasks[CLIENT].output()
        assert sum("Start Nanny" in task.output() for task in tasks) == TASKS - 2
    assert_accounted_for(output, books_of(output), endpoint.stats()["requests"])


def test_the_time_is_up(endpoint, tmp_path):
    """SIGTERM to all tasks, as at a time limit, ends the job with what was in flight stored; the next one goes on."""
    output = tmp_path / "out"
    asked = words(endpoint, output, samples=2000)
    with srun(tmp_path / "slurm", *asked) as tasks:
        tasks[CLIENT].until(lambda: endpoint.stats()["requests"] > 50, "it asked")
        for task in tasks:
            task.signal(signal.SIGTERM)
        statuses = [task.wait() for task in tasks]
        assert statuses[CLIENT] == 130, tasks[CLIENT].output()
        assert statuses.count(0) == TASKS - 1, [task.output() for task in tasks]
    books = books_of(output)
    assert books["state"] == "interrupted"
    assert books["spent"]["responses"] == endpoint.stats()["answered"] < 2000
