"""Ctrl-C and SIGTERM: nothing new is sent, what is in flight is kept, and the same command pays for nothing twice."""

import json
import signal
import subprocess
import time

import pytest

from .jobs import COMMAND

ROWS, AT_ONCE = 120, 16


def begin(simulator, output, tokenizer_file, *more):
    """The job as a command: samples of multilingual QA, a few partitions."""
    words = ["run", "--samples", ROWS, "--output", output, "--base-url", simulator.base_url, "--model", "simulated"]
    words += ["--max-concurrent-requests", AT_ONCE, "--rows-per-partition", 30]
    words += ["--tokenizer", tokenizer_file, *more]
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def when(simulator, answered):
    """Waits until so many requests have been answered, and more are in flight."""
    ends_at = time.monotonic() + 30
    while (stats := simulator.stats())["answered"] < answered or not stats["in_flight"]:
        assert time.monotonic() < ends_at, stats
        time.sleep(0.01)


def books(output):
    return json.loads((output / "_nemocc" / "run.json").read_text())


@pytest.mark.parametrize(("stroke", "workers"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_an_interrupted_job_keeps_all_that_was_under_way(simulate, output, tokenizer_file, stroke, workers):
    """Exit 130; every request that was sent is answered and stored; the same command asks for the others alone."""
    simulator = simulate(latency_s=0.3)
    process = begin(simulator, output, tokenizer_file, "--workers", workers)
    when(simulator, 20)
    process.send_signal(stroke)
    told, _ = process.communicate(timeout=30)
    sent = simulator.stats()["requests"]
    assert process.returncode == 130 and "The same command goes on" in told, told
    assert books(output)["state"] == "interrupted"
    assert sent < ROWS and simulator.stats()["abandoned"] == 0
    again = begin(simulator, output, tokenizer_file, "--workers", workers)
    told, _ = again.communicate(timeout=60)
    assert again.returncode == 0, told
    account = books(output)["tasks"]["multilingual_qa"]
    assert simulator.stats()["requests"] == ROWS and account["kept"] == ROWS
    assert account["http_requests"] == account["responses"] + account["reused"] == ROWS


def test_a_second_ctrl_c_waits_for_nothing(simulate, output, tokenizer_file):
    """It ends within moments though requests take long; what had been answered is still not asked again."""
    simulator = simulate(latency_s=0.2)
    process = begin(simulator, output, tokenizer_file)
    when(simulator, 30)
    slow = simulate(latency_s=60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    answered = simulator.stats()["answered"]
    process = begin(slow, output, tokenizer_file)
    when(slow, 0)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None  # it waits for what is in flight
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and time.monotonic() - began < 8
    simulator.reset()
    process = begin(simulator, output, tokenizer_file)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert simulator.stats()["requests"] == ROWS - answered
