"""Requests through `answer_all` against real servers: how many a minute, how many tokens, and how many at once."""

import threading
import time

import pytest

from nemocc_dask.llm import answer_all
from nemocc_dask.settings import Endpoint
from nemocc_dask.simulate import Knobs, Simulator


def reach(simulator, **more):
    settings = {"max_concurrent_requests": 64, "base_delay": 0.2, "max_delay": 0.5, "max_retries": 9} | more
    return Endpoint(base_url=simulator.base_url, model="simulated", **settings)


def ask_for(seconds, requests, endpoint):
    """Answers of as many of the requests as there is time for."""
    answers, until = [], time.monotonic() + seconds

    def keep(results):
        answers.append((time.monotonic(), *results))

    stopped = threading.Event()
    timer = threading.Timer(seconds, stopped.set)
    timer.start()
    with pytest.raises(BaseException, match="stopped"):
        answer_all(requests, endpoint, on_result=keep, should_stop=stopped.is_set)
    timer.join()
    return [answer for at, answer in answers if at < until]


def test_requests_a_minute_arrive_evenly(server, endpoint, ask):
    """600 a minute: after the first second's worth, ten a second, retries among them."""
    server.script = lambda call: server.error(503) if call.number % 8 == 7 else server.chat("a")
    answers = answer_all([ask(str(i)) for i in range(40)], endpoint.replace(requests_per_minute=600))
    arrivals = [call.at for call in server.calls]
    assert answers.http_requests == len(arrivals) >= 45
    assert all(later - earlier > 1.7 for earlier, later in zip(arrivals, arrivals[30:], strict=False))
    assert arrivals[-1] - arrivals[0] < (len(arrivals) - 10) / 10 * 1.1 + 1


def test_tokens_a_minute_hold_though_answers_are_shorter_than_they_might_be(server, endpoint, ask):
    """6,000 a minute, 18 a request by the bill, thirty by the estimate: four to six a second."""
    requests = [ask(str(i), max_tokens=20) for i in range(25)]
    began = time.monotonic()
    answer_all(requests, endpoint.replace(tokens_per_minute=6_000))
    took_s = time.monotonic() - began
    assert 25 * 18 / 100 * 0.7 < took_s < 25 * 18 / 100 * 1.7


def test_a_server_s_own_limit_is_not_run_into(server, endpoint, ask):
    """Windows of 1.2 s that hold ten requests, told with each answer: of fifty hardly one is refused."""
    began, window = time.monotonic(), [0, 0]

    def script(call):
        number = int((call.at - began) / 1.2)
        window[:] = [number, window[1] + 1 if window[0] == number else 1]
        said = {
            "x-ratelimit-limit-requests": "10",
            "x-ratelimit-remaining-requests": str(max(0, 10 - window[1])),
            "x-ratelimit-reset-requests": f"{1000 * (began + 1.2 * (number + 1) - call.at):.0f}ms",
        }
        if window[1] > 10:
            return server.error(429, headers=said)
        return server.chat("a", headers=said, delay_s=0.02)

    server.script = script
    answers = answer_all([ask(str(i)) for i in range(50)], endpoint.replace(max_retries=9, fixed_concurrency=True))
    assert answers.http_requests <= 58
    assert time.monotonic() - began < 9


def test_slots_are_found_and_kept_busy(ask):
    """A server with eight slots, 64 allowed: few are refused, and most slots are in use."""
    with Simulator(Knobs(slots=8, latency_s=0.1)) as simulator:
        ask_for(1.0, [ask(str(i)) for i in range(4000)], reach(simulator))
        simulator.reset()
        ask_for(4.0, [ask(str(i)) for i in range(4000)], reach(simulator))
        stats = simulator.stats()
    refused = stats["by_status"].get("429", 0)
    print(f"{stats['mean_in_flight']:.1f} of 8 slots, {refused} of {stats['requests']} refused")
    assert stats["mean_in_flight"] > 5.5
    assert refused < 0.08 * stats["requests"]


def test_a_server_that_gets_slower_is_given_less(ask):
    """Eight at once at full speed, 128 allowed: most answers come in less than three times what one takes."""
    with Simulator(Knobs(saturates_at=8, latency_s=0.1)) as simulator:
        answers = ask_for(5.0, [ask(str(i)) for i in range(4000)], reach(simulator, max_concurrent_requests=128))
    latencies = sorted(answer.latency_s for answer in answers)
    print(f"{len(latencies)} answers, median {latencies[len(latencies) // 2]:.2f} s")
    assert len(latencies) > 5 * 80 * 0.6
    assert latencies[len(latencies) // 2] < 0.8  # 1.6 s where nobody gives way, and some for a busy machine


def test_a_fixed_number_is_kept_whatever_the_server_does(ask):
    """The same server with as many as are allowed: what the last test measures is the work of the gate."""
    with Simulator(Knobs(saturates_at=8, latency_s=0.1)) as simulator:
        fixed = reach(simulator, max_concurrent_requests=64, fixed_concurrency=True)
        answers = ask_for(3.0, [ask(str(i)) for i in range(4000)], fixed)
        assert simulator.stats()["peak_in_flight"] == 64
    assert sorted(answer.latency_s for answer in answers)[len(answers) // 2] > 0.5


def test_latencies_that_vary_cost_no_speed(ask):
    """Nothing but chance in the latencies: 32 allowed are 32 under way, but for the first second."""
    with Simulator(Knobs(latency_s=0.2, latency_sigma=0.7)) as simulator:
        ask_for(4.0, [ask(str(i)) for i in range(4000)], reach(simulator, max_concurrent_requests=32))
        mean = simulator.stats()["mean_in_flight"]
    print(f"{mean:.1f} of 32 under way")
    assert mean > 26
