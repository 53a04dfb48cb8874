"""Requests and tokens a minute, against windows that slide over what arrives."""

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.llm.rates import Pace, TokenBudget


def sent_greedily(pace, seconds, rng, late_s):
    """Times at which requests go that go as soon as they may, the timer being up to so late."""
    now, times = 0.0, []
    while now < seconds:
        wait_s = pace.wait_s(now)
        if wait_s > 0:
            now += wait_s + rng.uniform(0, late_s)
        else:
            pace.take(now)
            times.append(now)
    return times


def most_in_a_minute(times):
    window, most = deque(), 0
    for time in sorted(times):
        window.append(time)
        while window[0] <= time - 60:
            window.popleft()
        most = max(most, len(window))
    return most


@settings(deadline=None, max_examples=60)
@given(limit=st.integers(1, 3000), seed=st.integers(), late_s=st.sampled_from([0.0, 0.002, 0.05]))
def test_no_minute_at_the_server_sees_more_and_most_of_it_is_used(limit, seed, late_s):
    """Whatever the limit, half a second of jitter on the way and late timers: never more, and 95 % at least."""
    rng = random.Random(seed)
    times = sent_greedily(Pace(limit), 180, rng, min(late_s, 3 / limit))
    assert most_in_a_minute([time + rng.uniform(0, 0.5) for time in times]) <= limit
    assert most_in_a_minute(times) >= 0.95 * limit - 1
    assert len(times) >= 0.95 * limit * 3 - 1


def test_a_quiet_minute_allows_a_second_s_worth_at_once():
    """What was not used before is not made up for."""
    pace = Pace(600)
    pace.take(0.0)
    burst = 0
    while not pace.wait_s(500.0):
        pace.take(500.0)
        burst += 1
    assert burst == 10


def test_another_limit_is_no_new_start():
    """Settings that come again, or others, hold from now on, and give nothing for nothing."""
    pace = Pace(60)
    pace.take(0.0)
    wait_s = pace.wait_s(0.0)
    pace.adopt(60)
    assert pace.wait_s(0.0) == wait_s > 1
    pace.adopt(None)
    assert pace.wait_s(0.0) == 0


def spend(budget, seconds, estimate, billed, latency_s, *, told=True):
    """Sends as soon as it may, each answered after a latency: (sent, billed) by time, estimates among them."""
    now, due, sent = 0.0, deque(), []
    while now < seconds:
        while due and due[0][0] <= now:
            _, charge = due.popleft()
            budget.settle(now, estimate, charge, billed if told else None)
        wait_s = budget.wait_s(now)
        if not wait_s:
            due.append((now + latency_s, budget.take(now, estimate)))
            sent.append(now)
        now = min(now + wait_s, due[0][0]) if due and wait_s else now + wait_s
    return sent


@pytest.mark.parametrize(("estimate", "billed"), [(1500, 900), (1500, 1500), (700, 900), (5000, 300)])
@pytest.mark.parametrize("latency_s", [0.2, 5.0, 30.0])
def test_as_many_tokens_as_are_billed_go(estimate, billed, latency_s):
    """However wrong the estimate: after some minutes never more than the limit, and 93 % of it at least."""
    limit = 90_000
    sent = spend(TokenBudget(limit), 600, estimate, billed, latency_s)
    late = [time for time in sent if time > 240]
    assert 0.93 * limit <= len(late) * billed / 6 <= limit


def test_without_a_bill_the_estimate_holds():
    """A server that tells nothing is spared."""
    sent = spend(TokenBudget(60_000), 300, 1000, 0, 1.0, told=False)
    assert 0.95 * 60 <= len(sent) / 5 <= 60


def test_a_request_larger_than_the_budget_passes():
    """It overdraws the budget, and what comes next waits until that is paid."""
    budget = TokenBudget(6_000)
    assert budget.wait_s(0.0) == 0
    budget.take(0.0, 6_000)
    assert 55 < budget.wait_s(0.0) < 65


def test_a_refused_request_costs_nothing():
    """Its tokens come back, and it teaches nothing about answers."""
    budget = TokenBudget(60_000)
    charge = budget.take(0.0, 5_000)
    assert budget.wait_s(0.0) > 0
    budget.settle(0.0, 5_000, charge, None, refused=True)
    assert budget.wait_s(0.0) == 0
    assert budget.take(0.0, 5_000) == charge


def test_what_answers_take_is_learned():
    """After a hundred answers that took a third of the estimate, the next is charged with a third, about."""
    budget = TokenBudget(None)
    for _ in range(100):
        budget.settle(0.0, 3000, budget.take(0.0, 3000), 1000)
    assert budget.take(0.0, 3000) == pytest.approx(1000, rel=0.02)


def test_refusals_for_want_of_tokens_make_it_count_what_is_under_way_in_full():
    """Twenty requests are under way whose bill may be thrice the charge: once refused, less goes at a time."""
    budget = TokenBudget(60_000)
    for _ in range(200):
        budget.settle(0.0, 3000, budget.take(0.0, 3000), 1000)
    for _ in range(18):
        charge = budget.take(60.0, 3000)
    before = budget.wait_s(60.0)
    budget.settle(60.0, 3000, charge, None, refused=True)
    budget.take(60.0, 3000)
    assert budget.wait_s(60.0) > 1.5 * before
