"""A job that broke goes on where it stopped, whatever broke it; one that ended is not run again."""

import os
import signal
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from nemocc_dask.errors import OutputError
from nemocc_dask.job import run_job

from .jobs import (
    arguments,
    assert_accounted_for,
    assert_same_results,
    books_of,
    clean_documents,
    parts_done,
    quiet,
    start,
    wait_until,
)

DOCUMENT_TASKS = ("distill", "diverse_qa", "wikipedia_paraphrasing")


class Interrupted:
    """A person who presses Ctrl-C when a number of partitions is done."""

    def __init__(self, parts):
        self.left = parts

    def told(self, line):
        pass

    def started(self, parts, done):
        pass

    def counted(self, part, counts):
        pass

    def part_done(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def whole(job, simulate, tmp_path):
    """Runs a job unbroken, elsewhere and at an endpoint of its own; returns its folder and its requests."""

    def run(**settings):
        simulator = simulate()
        run_job(job(simulator, **{**settings, "output": str(tmp_path / "whole")}))
        return tmp_path / "whole", quiet(simulator)

    return run


def test_a_run_that_ended_is_not_run_again(job, simulate, output):
    """The same job again returns the books it had, sends nothing, needs no endpoint, and touches no file."""
    simulator = simulate()
    books = run_job(job(simulator))
    requests = quiet(simulator)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = job(simulator)
    simulator.stop()
    assert run_job(again) == books_of(output)
    assert books_of(output)["tasks"] == books["tasks"] and simulator.stats()["requests"] == requests
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_an_interrupted_job_asks_only_for_what_is_missing(job, simulate, output, whole):
    """After Ctrl-C the same call runs the partitions that are missing, and the results are those of an unbroken run."""
    folder, rows = whole()
    simulator = simulate(latency_s=0.02)
    with pytest.raises(KeyboardInterrupt):
        run_job(job(simulator, threads_per_worker=1), progress=Interrupted(2))
    assert books_of(output)["state"] == "interrupted" and books_of(output)["spent"]["responses"] > 0
    assert 2 <= len(parts_done(output)) < 4
    quiet(simulator)
    books = run_job(job(simulator))
    assert rows <= quiet(simulator) <= rows + 64  # what was in flight at the Ctrl-C may be asked twice
    assert_accounted_for(output, books)
    assert_same_results(output, folder, DOCUMENT_TASKS)


@pytest.mark.parametrize("stroke", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_a_process_that_is_stopped(job, simulate, output, whole, stroke):
    """A process killed or interrupted half-way loses no answer that came: only what was in flight is asked again."""
    settings, in_flight = {"task": ("distill", "knowledge_list"), "rows_per_partition": 4}, 8
    folder, rows = whole(**settings)
    simulator = simulate(latency_s=0.25)
    slow = {"threads_per_worker": 1, "max_concurrent_requests": in_flight}
    with start(arguments(job(simulator, **settings, **slow))) as process:
        wait_until(lambda: len(parts_done(output)) >= 2 and simulator.stats()["answered"] % 8 > 0)
        os.kill(process.pid, stroke)
        said = process.communicate(timeout=30)[1]
    at_the_end = quiet(simulator)
    assert process.returncode == (-signal.SIGKILL if stroke == signal.SIGKILL else 130)
    assert 2 <= len(parts_done(output)) < 10
    if stroke == signal.SIGINT:
        assert said.splitlines()[-1].endswith("Interrupted. The same command goes on where it stopped.")
        assert "Traceback" not in said and books_of(output)["state"] == "interrupted"
    simulator_now = simulate()
    books = run_job(job(simulator_now, **settings))
    assert rows <= at_the_end + quiet(simulator_now) <= rows + in_flight
    assert simulator.stats()["requests"] == at_the_end
    assert_accounted_for(output, books)
    assert_same_results(output, folder, settings["task"])


def test_a_worker_that_is_killed(job, simulate, output, whole):
    """The death of a worker process costs what it had in flight; the job goes on and asks nothing else again."""
    settings, in_flight = {"task": ("distill",), "rows_per_partition": 20, "workers": 2}, 4
    folder, rows = whole(task=("distill",), rows_per_partition=20)
    simulator = simulate(latency_s=0.2)
    slow = {"threads_per_worker": 1, "max_concurrent_requests": in_flight}
    with start(arguments(job(simulator, **settings, **slow))) as process:
        wait_until(lambda: simulator.stats()["answered"] >= 10)
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        workers[0].kill()
        said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert rows <= quiet(simulator) <= rows + in_flight
    books = books_of(output)
    assert_accounted_for(output, books)
    assert books["spent"]["responses"] == rows
    assert_same_results(output, folder, settings["task"])


def test_how_fast_it_goes_makes_no_other_job(job, simulator):
    """Address, concurrency, retries, time-outs, prices, caps and workers may change between two calls of one job."""
    run_job(job(simulator, task=("distill",)))
    requests = quiet(simulator)
    faster = {
        "max_concurrent_requests": 3,
        "max_retries": 0,
        "timeout": 5.0,
        "threads_per_worker": 1,
        "base_delay": 9.0,
        "price_input": 1.0,
        "price_output": 2.0,
        "max_tokens_total": 10,
    }
    assert run_job(job(simulator, task=("distill",), **faster))["state"] == "done"
    assert quiet(simulator) == requests


def test_a_folder_with_other_files_is_refused(job, simulator, output):
    """A folder that holds files of somebody else's is named, and left as it is."""
    output.mkdir()
    (output / "thesis.txt").touch()
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        run_job(job(simulator))
    assert os.listdir(output) == ["thesis.txt"] and quiet(simulator) == 0


def test_a_folder_that_cannot_be_written(job, simulator, tmp_path):
    """Where no folder can be made the call is refused in one line, before anything is sent."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out.*cannot be written.*--output"):
        run_job(job(simulator, output=str(tmp_path / "file" / "out")))
    assert quiet(simulator) == 0


def test_damage_found_on_the_way(job, simulator, output, parquet, cli):
    """Text that turns out to be damaged when others have asked stops the job, names the file, and loses nothing."""
    sound, damaged = parquet(clean_documents(30), "a.parquet"), parquet(clean_documents(60)[30:], "b.parquet")
    whole = Path(damaged).read_bytes()
    group = pq.ParquetFile(damaged).metadata.row_group(0)
    [column] = [group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema == "text"]
    start = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2
    Path(damaged).write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
    settings = job(simulator, input=(sound, damaged), task=("distill",), rows_per_partition=30, threads_per_worker=1)
    done = cli(*arguments(settings))
    assert done.exit_code == 1 and "b.parquet' cannot be used" in done.stderr and "Traceback" not in done.stderr
    paid = quiet(simulator)
    Path(damaged).write_bytes(whole)
    books = run_job(settings)
    assert paid > 0 and quiet(simulator) == 60
    assert_accounted_for(output, books)
