"""The endpoint turns away what is too much, says so as OpenAI does, and counts those it turned away."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from nemocc_dask.simulate import Simulator

from .asking import adds_up, ask, ask_all, begin, chat, wait_until

Simulate = Callable[..., Simulator]

BODIES = [chat("Begin with 'Paraphrased Text:'.", seed=seed) for seed in range(30)]


def test_slots_bound_what_is_in_work(simulate: Simulate) -> None:
    """Knob slots: of 30 at once 8 are worked on, the others get 429 at once, and later there is room again."""
    simulator = simulate(latency_s=0.5, slots=8)
    got = ask_all(simulator, BODIES)
    stats = simulator.stats()
    assert (got.count(200), got.count(429)) == (8, 22)
    assert (stats["peak_requests_per_minute"], stats["peak_refused_per_minute"]) == (8, 22)
    assert adds_up(stats)
    assert ask(simulator, BODIES[0]).status == 200


def test_a_client_that_leaves_frees_its_slot(simulate: Simulate) -> None:
    """A slot is free again when its request's client has left."""
    simulator = simulate(hang_rate=1.0, slots=1)
    for _ in range(2):
        with begin(simulator, BODIES[0]):
            wait_until(lambda: simulator.stats()["in_flight"] == 1)
        wait_until(lambda: simulator.stats()["in_flight"] == 0)
    assert simulator.stats()["faults"] == {"hang": 2}


def test_requests_by_the_minute_are_bounded(simulate: Simulate) -> None:
    """Knob requests_per_minute: so many are let in, further ones get 429, and all say what is left."""
    simulator = simulate(requests_per_minute=5)
    answers = [ask(simulator, body) for body in BODIES[:8]]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == [*"43210000"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"5"}
    assert all(_seconds(answer.headers["x-ratelimit-reset-requests"]) <= 60 for answer in answers)
    assert answers[0].headers["x-ratelimit-limit-tokens"] is None
    assert 50 < int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].error["code"] == "rate_limit_exceeded"
    stats = simulator.stats()
    assert (stats["peak_requests_per_minute"], stats["peak_refused_per_minute"]) == (5, 3)


def _seconds(spelled: str) -> float:
    return 60.0 if spelled == "1m0s" else float(spelled.removesuffix("s"))


def test_tokens_by_the_minute_are_bounded(simulate: Simulate) -> None:
    """Knob tokens_per_minute: a request counts with prompt and max_tokens for each answer, then as it is billed."""
    simulator = simulate(tokens_per_minute=2000)
    first = ask(simulator, {**BODIES[0], "max_tokens": 700, "n": 2})
    billed = first.body["usage"]["total_tokens"]
    sent = first.body["usage"]["prompt_tokens"]
    assert first.headers["x-ratelimit-limit-tokens"] == "2000"
    assert first.headers["x-ratelimit-remaining-tokens"] == str(2000 - billed)
    assert simulator.stats()["peak_tokens_per_minute"] == sent + 1400
    left = 2000 - billed
    assert ask(simulator, {**BODIES[1], "max_tokens": left - sent + 1}).status == 429
    refused = ask(simulator, {**BODIES[1], "max_tokens": 3000})
    assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
    assert ask(simulator, {**BODIES[1], "max_tokens": left - sent}).status == 200


def test_what_was_not_billed_is_given_back(simulate: Simulate) -> None:
    """After an error no tokens count."""
    simulator = simulate(tokens_per_minute=2000, error_rate=1.0)
    answer = ask(simulator, {**BODIES[0], "max_tokens": 1500})
    assert answer.status == 500
    assert answer.headers["x-ratelimit-remaining-tokens"] == "2000"


def test_limits_stand_on_answers_of_every_kind(simulate: Simulate) -> None:
    """A refusal of the body says what is left too; without such knobs no answer does."""
    assert ask(simulate(requests_per_minute=5), b"{").headers["x-ratelimit-remaining-requests"] == "5"
    free = ask(simulate(slots=5, rate_limit_per_s=5), BODIES[0])
    assert not [name for name in free.headers if name.startswith("x-ratelimit")]


def test_a_reset_forgets_the_minute(simulate: Simulate) -> None:
    """After a reset the windows are empty."""
    simulator = simulate(requests_per_minute=1)
    assert [ask(simulator, BODIES[0]).status for _ in range(2)] == [200, 429]
    simulator.reset()
    assert ask(simulator, BODIES[0]).status == 200


REFUSING: list[dict[str, Any]] = [
    {"requests_per_minute": 1},
    {"tokens_per_minute": 1},
    {"rate_limit_per_s": 0.1},
    {"error_rate": 1.0, "error_status": 503},
    {"error_rate": 1.0, "error_status": 429},
]


@pytest.mark.parametrize("knobs", REFUSING, ids=str)
def test_when_to_come_again_is_said_as_told(simulate: Simulate, knobs: dict[str, Any]) -> None:
    """Knob retry_after: 429 and 503 carry no Retry-After, seconds, or a date that is yet to come."""

    def said(form: str) -> str | None:
        simulator = simulate(retry_after=form, **knobs)
        for _ in range(2):
            answer = ask(simulator, BODIES[0])
        assert answer.status in (429, 503)
        return answer.headers["Retry-After"]

    before = time.time()
    seconds, date = said("seconds"), said("date")
    assert said("none") is None
    assert seconds is not None
    assert date is not None
    assert 1 <= int(seconds) <= 60
    assert parsedate_to_datetime(date).timestamp() >= int(before) + int(seconds) - 1
    assert (said("limits") is None) == ("error_rate" in knobs)


@pytest.mark.parametrize(("form", "said"), [("limits", None), ("seconds", "1")])
def test_a_full_endpoint_need_not_say_when(simulate: Simulate, form: str, said: str | None) -> None:
    """A request turned away for want of a slot is told when to come again only where retry_after says so."""
    simulator = simulate(hang_rate=1.0, slots=1, retry_after=form)
    with begin(simulator, BODIES[0]):
        wait_until(lambda: simulator.stats()["in_flight"] == 1)
        answer = ask(simulator, BODIES[1])
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert answer.headers["Retry-After"] == said
