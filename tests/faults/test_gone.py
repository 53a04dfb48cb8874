"""An endpoint that goes away stops a job in time, or only holds it up; nothing that was answered is asked again."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from job.jobs import arguments, assert_accounted_for, books_of, shard_rows
from yarl import URL

from nemocc_dask.cli import nemocc
from nemocc_dask.errors import EndpointUnreachableError
from nemocc_dask.job import run_job
from nemocc_dask.settings import Job
from nemocc_dask.simulate import Knobs, Simulator

ROWS, LIMIT, AFTER = 300, 16, 100
"""Rows of a job, requests at once, and requests after which the endpoint dies."""

DOWN_AFTER_S = 2.0
TASK = "multilingual_qa"


@pytest.fixture
def start() -> Iterator[Callable[..., Simulator]]:
    """Starts simulated endpoints, and stops them after the test."""
    with ExitStack() as running:
        yield lambda port=0, **knobs: running.enter_context(Simulator(Knobs(latency_s=0.02, **knobs), port=port))


def job(url: str, output: Path, **settings: Any) -> Job:
    there = {"output": str(output), "base_url": (url,), "model": "simulated", "samples": ROWS}
    patience = {"base_delay": 0.05, "down_after": DOWN_AFTER_S}
    return Job(**{**there, **patience, "rows_per_partition": 60, "max_concurrent_requests": LIMIT, **settings})


def revive(simulator: Simulator) -> None:
    address = f"{simulator.base_url.removesuffix('v1')}revive"
    urllib.request.urlopen(urllib.request.Request(address, method="POST")).close()


def assert_whole(output: Path, sound: Simulator, books: dict[str, Any]) -> None:
    """All rows are kept, and they are those that an endpoint gives which never failed."""
    assert books["tasks"][TASK]["failed"] == {} and books["tasks"][TASK]["kept"] == ROWS
    assert_accounted_for(output, books)
    whole = output.parent / "whole"
    run_job(job(sound.base_url, whole))
    assert shard_rows(output, TASK).equals(shard_rows(whole, TASK))


def test_it_does_not_come_back(start, tmp_path):
    """The command stops after --down-after, says so in one line, and when the endpoint is back asks what is missing."""
    simulator, output = start(fails_after=AFTER), tmp_path / "out"
    words = arguments(job(simulator.base_url, output))
    began = time.monotonic()
    done = CliRunner().invoke(nemocc, words, prog_name="nemocc-dask")
    assert done.exit_code == 1 and time.monotonic() - began >= DOWN_AFTER_S
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"nemocc-dask: Nobody has answered at {simulator.base_url} for ")
    assert "Start the endpoint" in last and "Traceback" not in done.output
    books, answered = books_of(output), simulator.stats()["answered"]
    assert books["state"] == "stopped" and last.endswith(books["error"])
    assert books["spent"]["responses"] == answered > AFTER - LIMIT
    assert books["tasks"][TASK]["failed"] == {}

    revive(simulator)
    before = simulator.stats()["requests"]
    done = CliRunner().invoke(nemocc, words, prog_name="nemocc-dask")
    assert done.exit_code == 0, done.output
    assert simulator.stats()["requests"] - before == ROWS - answered and simulator.stats()["repeated"] == 0
    assert_whole(output, start(), books_of(output))


def test_another_takes_its_place(start, tmp_path):
    """A new endpoint at the same address gets the requests that are missing, and no other."""
    first, output = start(fails_after=AFTER), tmp_path / "out"
    with pytest.raises(EndpointUnreachableError, match="Nobody has answered"):
        run_job(job(first.base_url, output))
    address = first.base_url
    first.stop()
    second = start(port=URL(address).port)
    books = run_job(job(address, output))
    assert second.stats()["requests"] == ROWS - first.stats()["answered"]
    assert_whole(output, start(), books)


def test_it_goes_away_between_the_answers_to_one_prompt(start, tmp_path):
    """Of several answers to a prompt that come one by one, those that came are kept, and the others asked for later."""
    simulator = start(fails_after=AFTER, max_n=1)
    several = job(simulator.base_url, tmp_path / "out", samples=50, n=4)
    with pytest.raises(EndpointUnreachableError, match="Nobody has answered"):
        run_job(several)
    answered = simulator.stats()["answered"]
    assert books_of(tmp_path / "out")["spent"]["responses"] == answered > AFTER - LIMIT
    revive(simulator)
    books = run_job(several)
    assert books["tasks"][TASK]["kept"] == 200 == simulator.stats()["answered"]
    assert simulator.stats()["repeated"] == 0


@pytest.mark.parametrize("away_s", [0.3, 1.3])
def test_it_comes_back_in_time(start, tmp_path, away_s):
    """A job outlasts an absence shorter than --down-after; no row fails, and none is asked again after its answer."""
    simulator, output = start(fails_after=AFTER), tmp_path / "out"
    came_back = threading.Event()

    def bring_back() -> None:
        while not simulator.stats()["dead"]:
            time.sleep(0.01)
        time.sleep(away_s)
        revive(simulator)
        came_back.set()

    threading.Thread(target=bring_back, daemon=True).start()
    books = run_job(job(simulator.base_url, output))
    assert came_back.is_set() and books["state"] == "done"
    assert simulator.stats()["repeated"] == 0
    assert_whole(output, start(), books)
