"""What is logged of a run: one JSON object a line where that is asked for, with the run's name, else as before."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dask
import pytest

from nemocc_dask.errors import SettingError
from nemocc_dask.job import run_job
from nemocc_dask.logs import LOGGER, JsonLines, about, event, with_context
from nemocc_dask.simulate import Simulator
from nemocc_dask.worker import log_as_configured

from .jobs import arguments, books_of, clean_documents, finish, quiet, rejects, start, text, wait_until

IN_JSON = {**os.environ, "DASK_NEMOCC__LOG": "json"}


def lines_of(stderr: str) -> list[dict[str, Any]]:
    """What was logged, of all that stands in a stderr."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def of(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == name]


@pytest.fixture
def as_it_was() -> Iterator[logging.Logger]:
    """The logger of this process, which is afterwards as it was before."""
    logger = logging.getLogger(LOGGER)
    handlers, level, propagates = list(logger.handlers), logger.level, logger.propagate
    yield logger
    logger.handlers[:], logger.propagate = handlers, propagates
    logger.setLevel(level)


def test_a_run_in_json(job, simulate, parquet, output):
    """A run on two processes tells of its beginning, its partitions, its failed rows and its end, by its name."""
    simulator = simulate(bad_request_rate=0.2)
    told = job(simulator, input=parquet(clean_documents(40)), task=("distill",), workers=2, max_failed_fraction=1.0)
    done = finish(arguments(told), env=IN_JSON)
    assert done.returncode == 0, done.stderr
    lines, books = lines_of(done.stderr), books_of(output)
    assert {line["run"] for line in lines} == {books["run"]}
    assert all(line["time"].endswith("Z") and line["level"] == "info" and line["message"] for line in lines)
    (begun,), (ended,) = of(lines, "run_started"), of(lines, "run_ended")
    assert (begun["partitions"], begun["done"]) == (books["parts"]["all"], 0)
    account = books["tasks"]["distill"]
    assert ended["state"] == "done" and ended["error"] is None
    assert ended["tasks"]["distill"] == {name: account[name] for name in ended["tasks"]["distill"]}
    assert ended["tasks"]["distill"]["http_requests"] == quiet(simulator)
    for name in ("partition_begun", "partition_done"):
        assert sorted(line["partition"] for line in of(lines, name)) == list(range(books["parts"]["all"]))
    assert len({line["worker"] for line in of(lines, "partition_done")}) == 2
    assert sum(line["rows"] for line in of(lines, "partition_done")) == account["kept"]
    assert sum(line["http_requests"] for line in of(lines, "partition_done")) == account["http_requests"]
    failed = of(lines, "row_failed")
    assert Counter(line["reason"] for line in failed) == account["failed"] and failed
    known = rejects(output, "distill")
    assert {line["request_id"] for line in failed} == set(known[known["stage"] == "generate"]["request_id"])
    assert {line["partition"] for line in failed} <= set(range(books["parts"]["all"]))
    again = finish(arguments(told.replace(retry_failed=True, workers=1)), env=IN_JSON)
    (resumed,) = of(lines_of(again.stderr), "run_resumed")
    assert resumed["run"] == books["run"] and resumed["partitions"] - resumed["done"] >= 1


def test_no_text_and_no_key(job, simulate, parquet):
    """Neither a document, nor what the endpoint says of one, nor a key stands in a line."""
    simulator = simulate(bad_request_rate=0.3, api_key="sk-of-this-test")
    told = job(simulator, input=parquet(clean_documents(20)), api_key_env="KEY_OF_TEST", max_failed_fraction=1.0)
    done = finish(arguments(told), env={**IN_JSON, "KEY_OF_TEST": "sk-of-this-test"})
    assert done.returncode == 0 and "row_failed" in done.stderr
    assert "sk-of-this-test" not in done.stderr
    assert not any(line in done.stderr for line in text(3).splitlines()[:3]) and "Sentence 0" not in done.stderr


def test_nothing_changes_unasked(job, simulate, parquet):
    """Where nobody asks for lines there are none, and stderr holds the words for a person alone."""
    told = job(simulate(), input=parquet(clean_documents(4)), task=("distill",))
    done = finish(arguments(told))
    assert done.returncode == 0 and lines_of(done.stderr) == []
    assert all(" rows, ETA " in line for line in done.stderr.splitlines()), done.stderr


def test_a_run_that_stops(job, simulate, parquet):
    """A run that cannot go on says why in its last line, and an endpoint that goes away is told of once."""
    simulator = simulate(fails_after=5, latency_s=0.05)
    told = job(
        simulator, input=parquet(clean_documents(40)), task=("distill",), down_after=0.5, max_retries=50,
        max_concurrent_requests=8,
    )  # fmt: skip
    done = finish(arguments(told), env=IN_JSON)
    assert done.returncode == 1
    lines = lines_of(done.stderr)
    (down,) = of(lines, "endpoint_down")
    assert down["endpoint"] == simulator.base_url and down["level"] == "warning" and down["run"]
    assert {line["error"] for line in of(lines, "partition_stopped")} <= {"EndpointUnreachableError", "CancelledError"}
    ended = lines[-1]
    assert ended["event"] == "run_ended" and ended["state"] == "stopped" and "Nobody has answered" in ended["error"]


def test_a_run_that_is_interrupted(job, simulate, parquet):
    """A run that is interrupted says so at its end, with what it has paid for by then."""
    simulator = simulate(latency_s=0.2)
    told = job(simulator, input=parquet(clean_documents(40)), task=("distill",), max_concurrent_requests=4)
    with start(arguments(told), env=IN_JSON) as process:
        wait_until(lambda: simulator.stats()["answered"] > 4)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    (ended,) = of(lines_of(stderr), "run_ended")
    assert ended["state"] == "interrupted" and ended["spent"]["responses"] == simulator.stats()["answered"]
    assert {line["error"] for line in of(lines_of(stderr), "partition_stopped")} == {"CancelledError"}


def test_a_limit_that_moves(job, simulate, parquet):
    """The number of requests at once is told of where it has moved much, and not at each answer."""
    told = job(simulate(latency_s=0.005), input=parquet(clean_documents(60)), max_concurrent_requests=64)
    done = finish(arguments(told), env=IN_JSON)
    moves = [(line["before"], line["limit"]) for line in of(lines_of(done.stderr), "limit_changed")]
    assert 1 <= len(moves) <= 12 and moves[0][0] == 16
    assert all(after >= 1.25 * before or after <= before / 1.25 for before, after in moves)


def test_lines_through_a_handler_of_ones_own(job, simulate, tmp_path, as_it_was):
    """Python's logging takes the records where it is told to, by the run's name in any format."""
    lines, words = tmp_path / "lines", tmp_path / "words"
    handlers: list[logging.Handler] = []
    for path, form in ((lines, JsonLines()), (words, logging.Formatter("%(run)s %(message)s"))):
        handler = logging.FileHandler(path, encoding="utf-8")
        handler.setFormatter(form)
        as_it_was.addHandler(handler)
        handlers.append(handler)
    as_it_was.setLevel(logging.INFO)
    books = run_job(job(simulate(), task=("distill",)))
    for handler in handlers:
        handler.close()
    events = [json.loads(line)["event"] for line in lines.read_text().splitlines()]
    assert events[0] == "run_started" and events[-1] == "run_ended" and "partition_done" in events
    assert all(line.startswith(f"{books['run']} ") for line in words.read_text().splitlines())


def test_what_a_setting_may_be(job, simulate, as_it_was):
    """An unknown form is refused before anything is sent, and the known one is switched on once."""
    simulator = simulate()
    with dask.config.set({"nemocc.log": "xml"}), pytest.raises(SettingError, match=r"nemocc\.log .* 'xml'"):
        run_job(job(simulator))
    assert simulator.stats()["requests"] == 0
    with dask.config.set({"nemocc.log": "json"}):
        log_as_configured()
        log_as_configured()
    assert [type(handler).__name__ for handler in as_it_was.handlers].count("_JsonToStderr") == 1


def test_threads_log_about_what_they_work_for(caplog):
    """A thread that was handed a function with its context logs about the same run; others about none."""
    caplog.set_level(logging.INFO, logger=LOGGER)

    def log() -> None:
        logging.getLogger(LOGGER).info("here", extra=event("here"))

    with about(run="7f", partition=3):
        functions = (with_context(log), log)
        threads = [threading.Thread(target=function) for function in functions]
        for thread in threads:
            thread.start()
            thread.join()
    assert [record.run for record in caplog.records] == ["7f", ""]  # type: ignore[attr-defined]


def test_an_error_with_its_traceback():
    """A record of an exception keeps its traceback within its one line."""
    try:
        int("broken")
    except ValueError:
        told = logging.getLogger(LOGGER).makeRecord(LOGGER, 40, "", 0, "no", (), sys.exc_info())
    line = JsonLines().format(told)
    assert "\n" not in line and "ValueError: invalid literal" in json.loads(line)["traceback"]


def test_a_simulator_of_ones_own_is_not_told_of():
    """Outside a run a record is about no run."""
    with Simulator():
        record = logging.getLogger(LOGGER).makeRecord(LOGGER, 20, "", 0, "words", (), None)
    assert "run" not in json.loads(JsonLines().format(record))
