"""A job that broke goes on where it stopped; one that ended is not run again; another job's folder is left alone."""

import os
import signal

import pytest

from nemocc_dask.errors import OutputError
from nemocc_dask.job import run_job
from nemocc_dask.tasks import TASKS, task_to_toml

from .jobs import (
    arguments,
    assert_accounted_for,
    assert_same_results,
    books_of,
    clean_documents,
    parts_done,
    quiet,
    requests_of,
    start,
    wait_until,
)


class Interrupted:
    """A person who presses Ctrl-C when a number of partitions is done."""

    def __init__(self, parts):
        self.left = parts

    def started(self, parts, done):
        pass

    def counted(self, part, counts):
        pass

    def part_done(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


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


def test_an_interrupted_job_asks_only_for_what_is_missing(job, simulate, output, tmp_path):
    """After Ctrl-C the same call runs the partitions that are missing, and the results are those of an unbroken run."""
    whole = simulate()
    run_job(job(whole, output=str(tmp_path / "whole")))
    simulator = simulate(latency_s=0.02)
    with pytest.raises(KeyboardInterrupt):
        run_job(job(simulator, threads_per_worker=1), progress=Interrupted(2))
    assert books_of(output)["state"] == "interrupted"
    done, asked = parts_done(output), quiet(simulator)
    assert 2 <= len(done) < 4
    books = run_job(job(simulator))
    missing = [part for part in range(4) if part not in done]
    assert quiet(simulator) - asked == requests_of(tmp_path / "whole", missing) < whole.stats()["requests"]
    assert_accounted_for(output, books)
    assert_same_results(output, tmp_path / "whole", ("distill", "diverse_qa", "wikipedia_paraphrasing"))


def test_the_cut_of_the_first_run_is_kept(job, simulate, output, tmp_path):
    """Partitions of another size change nothing on resuming: the folder's own cut goes on, nothing is asked twice."""
    whole, simulator = simulate(), simulate(latency_s=0.02)
    run_job(job(whole, output=str(tmp_path / "whole"), task=("distill",)))
    with pytest.raises(KeyboardInterrupt):
        run_job(job(simulator, task=("distill",), threads_per_worker=1), progress=Interrupted(1))
    done, asked = parts_done(output), quiet(simulator)
    books = run_job(job(simulator, task=("distill",), rows_per_partition=3, max_concurrent_requests=2, max_retries=0))
    assert books["rows_per_partition"] == 10 and books["parts"] == {"all": 4, "done": 4}
    missing = [part for part in range(4) if part not in done]
    assert quiet(simulator) - asked == requests_of(tmp_path / "whole", missing)
    assert_same_results(output, tmp_path / "whole", ("distill",))


@pytest.mark.parametrize("stroke", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_a_process_that_is_stopped(job, simulate, output, tmp_path, stroke):
    """A process killed or interrupted half-way asks for nothing more; what is missing is all that is asked again."""
    whole, simulator = simulate(), simulate(latency_s=0.25)
    settings = {"task": ("distill", "knowledge_list"), "rows_per_partition": 4}
    run_job(job(whole, **settings, output=str(tmp_path / "whole")))
    with start(arguments(job(simulator, **settings, threads_per_worker=1, max_concurrent_requests=8))) as process:
        wait_until(lambda: len(parts_done(output)) >= 2)
        os.kill(process.pid, stroke)
        said = process.communicate(timeout=30)[1]
    at_the_end = quiet(simulator)
    assert process.returncode == (-signal.SIGKILL if stroke == signal.SIGKILL else 130)
    done = parts_done(output)
    assert 2 <= len(done) < 10
    if stroke == signal.SIGINT:
        assert said.splitlines()[-1].endswith("Interrupted. The same command goes on where it stopped.")
        assert "Traceback" not in said and books_of(output)["state"] == "interrupted"
    simulator_now = simulate()
    books = run_job(job(simulator_now, **settings))
    missing = [part for part in range(10) if part not in done]
    assert quiet(simulator_now) == requests_of(tmp_path / "whole", missing)
    assert simulator.stats()["requests"] == at_the_end <= requests_of(output, done) + 8 * 2
    assert_accounted_for(output, books)
    assert_same_results(output, tmp_path / "whole", settings["task"])


# --- another job's folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def finished(job, simulator, output):
    """A finished job, to make others from."""
    run_job(job(simulator, task=("distill",)))
    return simulator


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"task": ("knowledge_list",)}, "tasks.distill"),
        ({"temperature": 0.9}, "sampling.temperature (0.5 there, 0.9 here)"),
        ({"seed": 1}, "sampling.seed (0 there, 1 here)"),
        ({"n": 2}, "sampling.n"),
        ({"max_tokens": 100}, "sampling.max_tokens (null there, 100 here)"),
        ({"min_score": 3}, "min_score (null there, 3.0 here)"),
        ({"columns": ()}, "columns"),
        ({"output_format": "jsonl"}, "output_format"),
        ({"overlong": "drop"}, 'overlong ("split" there, "drop" here)'),
        ({"tokenizer": None}, "tokenizer"),
        ({"model": "another"}, 'model ("simulated" there, "another" here)'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_job_is_refused(job, finished, output, settings, difference):
    """A job that would give other results is told what differs, and neither file nor endpoint sees anything of it."""
    before, requests = books_of(output), quiet(finished)
    with pytest.raises(OutputError) as refused:
        run_job(job(finished, **{"task": ("distill",), **settings}))
    assert difference in str(refused.value) and "--output" in str(refused.value)
    assert books_of(output) == before and quiet(finished) == requests


def test_another_input_is_refused(job, finished, tmp_path, parquet):
    """A folder holds the results of the files it was made from, and of no others."""
    with pytest.raises(OutputError, match=r"input .*corpus.* there, .*other\.parquet.* here"):
        run_job(job(finished, task=("distill",), input=parquet(clean_documents(5), "other.parquet")))


def test_an_edited_task_file_is_refused(job, simulator, tmp_path):
    """A task of the user's own that was edited is another job, and the message names the field."""
    path = tmp_path / "own.toml"
    path.write_text(task_to_toml(TASKS["distill"]))
    run_job(job(simulator, task_file=str(path)))
    path.write_text(task_to_toml(TASKS["distill"]).replace("Condense", "Shorten"))
    with pytest.raises(OutputError, match=r"tasks\.distill\.prompt"):
        run_job(job(simulator, task_file=str(path)))


def test_how_fast_it_goes_makes_no_other_job(job, finished, output):
    """Address, concurrency, retries, time-outs and workers may change between two calls of one job."""
    faster = {
        "max_concurrent_requests": 3,
        "max_retries": 0,
        "timeout": 5.0,
        "threads_per_worker": 1,
        "base_delay": 9.0,
    }
    assert run_job(job(finished, task=("distill",), **faster))["state"] == "done"


def test_a_folder_with_other_files_is_refused(job, simulator, output):
    """A folder that holds files of somebody else's is named, and left as it is."""
    output.mkdir()
    (output / "thesis.txt").touch()
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        run_job(job(simulator))
    assert os.listdir(output) == ["thesis.txt"] and quiet(simulator) == 0
