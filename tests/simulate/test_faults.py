"""Each fault comes about as often as its knob says, to the same requests each time; a retry may succeed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from statistics import fmean, median, pstdev
from typing import Any

import pytest

from nemocc_dask.simulate import Knobs, Simulator
from nemocc_dask.simulate.dice import digest
from nemocc_dask.simulate.faults import GARBAGE_KINDS, Faults

from .asking import ask, ask_all, chat

BODIES = [chat("Begin with 'Paraphrased Text:'.", seed=seed) for seed in range(300)]
RATE, FEWEST, MOST = 0.2, 35, 85

Simulate = Callable[..., Simulator]


def statuses(simulate: Simulate, **knobs: Any) -> list[int | None]:
    """What a new endpoint with these knobs answers to all bodies."""
    return ask_all(simulate(**knobs), BODIES)


@pytest.mark.parametrize("status", [500, 503, 408])
def test_errors_come_at_their_rate_with_their_status(simulate: Simulate, status: int) -> None:
    """Knob error_rate: that share of attempts gets error_status, all others 200."""
    got = statuses(simulate, error_rate=RATE, error_status=status)
    assert FEWEST < got.count(status) < MOST
    assert got.count(status) + got.count(200) == len(BODIES)


@pytest.mark.parametrize("fault", ["error", "cut", "cut_after_headers"])
def test_faults_repeat_with_the_seed(simulate: Simulate, fault: str) -> None:
    """A seed strikes the same requests again, elsewhere and after a reset; another seed strikes others."""
    knobs = {f"{fault}_rate": RATE}
    simulator = simulate(**knobs)
    first = ask_all(simulator, BODIES)
    simulator.reset()
    assert ask_all(simulator, BODIES) == first == statuses(simulate, **knobs)
    assert statuses(simulate, **knobs, seed=1) != first


def test_a_retry_may_succeed(simulate: Simulate) -> None:
    """A body whose first attempt failed is drawn again for each further attempt, until it is answered."""
    simulator = simulate(error_rate=0.5)
    tries = [ask(simulator, BODIES[0]).status for _ in range(12)]
    others = [ask(simulator, BODIES[1]).status for _ in range(12)]
    assert {200, 500} == set(tries) == set(others)
    assert tries != others


@pytest.mark.parametrize(("fault", "headers_first"), [("cut", False), ("cut_after_headers", True)])
def test_connections_are_cut(simulate: Simulate, fault: str, headers_first: bool) -> None:
    """Cut requests get no whole answer and are counted as cut, not as answered; the endpoint lives on."""
    simulator = simulate(**{f"{fault}_rate": RATE})
    got = ask_all(simulator, BODIES)
    stats = simulator.stats()
    assert FEWEST < got.count(None) < MOST
    assert stats["cut"] == stats["faults"][fault] == got.count(None)
    assert stats["answered"] == got.count(200) == len(BODIES) - stats["cut"]


def test_a_refused_prompt_is_refused_for_good(simulate: Simulate) -> None:
    """Knob bad_request_rate looks at the prompt alone: another try, seed or max_tokens does not help."""
    simulator = simulate(bad_request_rate=RATE)
    prompts = [f"Prompt number {number}" for number in range(len(BODIES))]
    first = ask_all(simulator, [chat(prompt) for prompt in prompts])
    assert FEWEST < first.count(400) < MOST
    assert ask_all(simulator, [chat(prompt, seed=5, max_tokens=9) for prompt in prompts]) == first
    refused = ask(simulator, chat(prompts[first.index(400)])).error
    assert (refused["type"], refused["code"]) == ("invalid_request_error", "invalid_prompt")


def test_garbage_is_answered_200_and_is_no_completion(simulate: Simulate) -> None:
    """Knob garbage_rate: answers with status 200 that hold no text where a completion has it."""
    simulator = simulate(garbage_rate=1.0)
    raws = [ask(simulator, body).raw for body in BODIES[:120]]
    assert not any(map(_has_text, raws))
    assert len({_shape(raw) for raw in raws}) == len(GARBAGE_KINDS)
    assert simulator.stats()["by_status"] == {"200": 120}


def _has_text(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw)["choices"][0]["message"]["content"], str)
    except (ValueError, LookupError, TypeError):
        return False


def _shape(raw: bytes) -> str:
    """What kind of garbage it is: the answer's end, in which the kinds differ."""
    try:
        body = json.loads(raw)
    except ValueError:
        return repr(raw[:6])
    return repr(body["choices"])[:70] if "choices" in body else repr(type(body)) + str(len(body))


def test_garbage_is_no_answer_to_ask_again_for(simulate: Simulate) -> None:
    """Asking again after garbage is not counted as repeated: there was nothing to keep."""
    simulator = simulate(garbage_rate=1.0)
    assert [ask(simulator, BODIES[0]).status for _ in range(3)] == [200, 200, 200]
    assert simulator.stats()["repeated"] == 0


@pytest.mark.parametrize(("fault", "reason"), [("truncate", "length"), ("empty", "stop")])
def test_answers_are_truncated_or_empty(simulate: Simulate, fault: str, reason: str) -> None:
    """Knobs truncate_rate and empty_rate: half an answer with reason length, or an empty one with stop."""
    whole, spoilt = ask(simulate(), BODIES[0]), ask(simulate(**{f"{fault}_rate": 1.0}), BODIES[0])
    kept = len(whole.contents[0]) // 2 if fault == "truncate" else 0
    assert spoilt.contents == [whole.contents[0][:kept]]
    assert spoilt.body["choices"][0]["finish_reason"] == reason
    simulator = simulate(**{f"{fault}_rate": RATE})
    ask_all(simulator, BODIES)
    assert FEWEST < simulator.stats()["faults"][fault] < MOST


def test_a_rate_limit_says_when_to_come_again(simulate: Simulate) -> None:
    """Beyond rate_limit_per_s requests come 429 and Retry-After, whole seconds until there is room again."""
    simulator = simulate(rate_limit_per_s=20)
    begun = time.monotonic()
    got = ask_all(simulator, BODIES[:60])
    assert 20 <= got.count(200) <= 21 + 20 * (time.monotonic() - begun)
    assert got.count(429) == 60 - got.count(200)
    answers = (ask(simulator, BODIES[0]) for _ in range(60))
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["Retry-After"] == "1"
    assert refused.error["code"] == "rate_limit_exceeded"
    time.sleep(1)
    assert ask(simulator, BODIES[0]).status == 200


def test_a_rate_limit_changes_no_other_fault(simulate: Simulate) -> None:
    """A 429 is no attempt: the fault that a request meets does not depend on how often it was turned away."""
    limited, free = simulate(error_rate=0.5, rate_limit_per_s=100), simulate(error_rate=0.5)
    tries = [status for _ in range(150) if (status := ask(limited, BODIES[0]).status) != 429]
    assert tries == [ask(free, BODIES[0]).status for _ in tries]


def test_a_slow_rate_limit_is_waited_for_in_seconds(simulate: Simulate) -> None:
    """Retry-After is the time until the next request may pass: five seconds at one request in five."""
    simulator = simulate(rate_limit_per_s=0.2)
    assert [ask(simulator, BODIES[0]).headers["Retry-After"] for _ in range(2)] == [None, "5"]


def test_an_answer_takes_its_latency(simulate: Simulate) -> None:
    """Knob latency_s: an answer takes that long, and a refusal comes at once."""
    simulator = simulate(latency_s=0.4)
    assert 0.4 <= _seconds(simulator, BODIES[0]) < 0.8
    assert _seconds(simulator, b"{") < 0.3


def _seconds(simulator: Simulator, body: Any) -> float:
    begun = time.monotonic()
    ask(simulator, body)
    return time.monotonic() - begun


def test_latencies_are_spread_evenly_and_repeat() -> None:
    """Knob latency_jitter_s spreads latencies evenly, either way, never below 0, and repeatably."""
    drawn = [Faults(Knobs(latency_s=0.2, latency_jitter_s=0.1)).latency_s(b"%d" % at, 0) for at in range(1000)]
    again = [Faults(Knobs(latency_s=0.2, latency_jitter_s=0.1)).latency_s(b"%d" % at, 0) for at in range(1000)]
    assert drawn == again
    assert 0.1 <= min(drawn) < 0.11
    assert 0.29 < max(drawn) < 0.3
    assert abs(sum(drawn) / 1000 - 0.2) < 0.005
    assert Faults(Knobs(latency_jitter_s=5)).latency_s(b"1", 0) >= 0


def test_latencies_can_be_log_normal() -> None:
    """Knob latency_sigma: the mean stays latency_s, logarithms spread by sigma, drawn anew for each attempt."""
    faults = Faults(Knobs(latency_s=0.2, latency_sigma=0.5))
    drawn = [faults.latency_s(b"%d" % at, 0) for at in range(4000)]
    logarithms = [math.log(each) for each in drawn]
    assert drawn == [Faults(Knobs(latency_s=0.2, latency_sigma=0.5)).latency_s(b"%d" % at, 0) for at in range(4000)]
    assert fmean(drawn) == pytest.approx(0.2, rel=0.03)
    assert pstdev(logarithms) == pytest.approx(0.5, rel=0.03)
    assert median(drawn) == pytest.approx(0.2 * math.exp(-(0.5**2) / 2), rel=0.03)
    assert len({faults.latency_s(b"0", attempt) for attempt in range(3)}) == 3
    assert Faults(Knobs(latency_s=0.2, latency_sigma=0.5, seed=1)).latency_s(b"0", 0) != drawn[0]


def test_log_normal_latencies_are_waited_for(simulate: Simulate) -> None:
    """Over HTTP each answer takes what was drawn for it: none less, and not all the same."""
    simulator = simulate(latency_s=0.1, latency_sigma=1.0)
    ask_all(simulator, BODIES[:60])
    faults = Faults(simulator.knobs)
    drawn = sorted(faults.latency_s(digest(json.dumps(body).encode()), 0) for body in BODIES[:60])
    stats = simulator.stats()
    assert 2.5 * drawn[29] < drawn[56]
    assert stats["latency_p50_ms"] > 0.98 * 1000 * drawn[29]
    assert stats["latency_p95_ms"] > 0.98 * 1000 * drawn[56]
