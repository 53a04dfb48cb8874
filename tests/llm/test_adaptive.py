"""How many requests at once: against models of servers, seeded, in virtual time. `pytest -s` prints the figures."""

import math
import random

import pytest
from crowds import Server, quantile, simulate, unloaded

from nemocc_dask.llm.adaptive import START, Adaptive
from nemocc_dask.llm.rounds import median_and_spread

SPREADS = (0.0, 0.5, 1.0)


@pytest.mark.parametrize("sigma", SPREADS)
def test_a_server_that_refuses_is_kept_busy_and_seldom_refuses(sigma):
    """40 slots, 256 allowed: after 10 s 90 % of the slots are used, and fewer than 3 % are refused."""
    course = simulate(Server(slots=lambda t: 40, sigma=sigma), Adaptive(256), 30)
    used = course.mean(3, 10, 30) / 40
    refused = sum(at > 10 for at in course.refused)
    share = refused / (refused + len(course.latencies(10, 30)))
    settled = next(t for t, *_, work in course.steps if work >= 36)
    print(f"sigma {sigma}: {used:.1%} of the slots used, {share:.2%} refused, 36 slots in use after {settled:.1f} s")
    assert used > 0.9
    assert share < 0.03
    assert settled < 5


@pytest.mark.parametrize("capacity", [20, 40])
@pytest.mark.parametrize("sigma", [0.0, 0.25, 0.5])
def test_a_server_that_gets_slower_is_not_overrun(capacity, sigma):
    """Latency stays near that without load, and nothing of the server's speed is lost, with 256 allowed."""
    server = Server(capacity=lambda t: capacity, sigma=sigma)
    runs = [simulate(server, Adaptive(256), 25, seed) for seed in range(3)]
    latencies = sorted(latency for course in runs for latency in course.latencies(0, 25))
    p95, median = (quantile(latencies, share) / unloaded(server, share) for share in (0.95, 0.5))
    speed = sum(course.per_s(0, 25) for course in runs) / 3 / (capacity / server.mean_s)
    print(f"capacity {capacity}, sigma {sigma}: p95 x {p95:.2f}, median x {median:.2f}, {speed:.1%} of the speed")
    assert p95 < 3
    assert median < 1.8
    assert speed > 0.9


@pytest.mark.parametrize("sigma", SPREADS)
def test_a_server_without_trouble_gets_all_that_is_allowed(sigma):
    """Latencies that only vary raise no alarm: 64 are under way within a second or so, and stay so."""
    runs = [simulate(Server(sigma=sigma), Adaptive(64), 45, seed) for seed in range(6)]
    means = [course.mean(2, 0, 45) for course in runs]
    full = max(next(t for t, _, under_way, _ in course.steps if under_way == 64) for course in runs)
    print(f"sigma {sigma}: mean {min(means):.2f} to {max(means):.2f} under way, 64 after {full:.2f} s at most")
    assert sorted(means)[1] >= 63  # chance may strike once
    assert min(means) >= 62
    assert full < 1.5


@pytest.mark.parametrize("sigma", SPREADS)
def test_work_that_takes_longer_for_good_is_not_taken_for_load(sigma):
    """Answers three times as long: less is tried, which does not help, and all that is allowed is under way again."""
    server = Server(longer=lambda t: 3.0 if t > 10 else 1.0, sigma=sigma, changes_at=(10,))
    course = simulate(server, Adaptive(64), 60)
    least = min(limit for t, limit, *_ in course.steps if 10 < t < 25)
    print(f"sigma {sigma}: limit {least} at least, {course.mean(2, 10, 40):.1f} under way on average for 30 s")
    assert least < 64
    assert course.mean(2, 45, 60) > 63


@pytest.mark.parametrize("sigma", SPREADS)
def test_slots_that_go_are_followed_down_and_up(sigma):
    """40 slots become 4 and 40 again: requests under way follow within seconds."""
    server = Server(slots=lambda t: 4 if 10 < t <= 25 else 40, sigma=sigma, changes_at=(10, 25))
    course = simulate(server, Adaptive(256), 40)
    print(f"sigma {sigma}: " + ", ".join(f"{t} s: {course.mean(2, t - 1, t):.0f}" for t in (10, 12, 15, 25, 30, 35)))
    assert course.mean(2, 13, 25) < 5
    assert course.mean(3, 33, 40) > 36


@pytest.mark.parametrize(("sigma", "seed"), [(0.0, 0), (0.1, 1), (0.1, 9), (0.25, 5), (0.5, 0)])
def test_capacity_that_goes_is_followed_down_and_up(sigma, seed):
    """A server that only gets slower falls from 40 at once to 4 and comes back, whatever was being tried just then."""
    server = Server(capacity=lambda t: 4 if 10 < t <= 45 else 40, sigma=sigma, changes_at=(10, 45))
    course = simulate(server, Adaptive(256), 65, seed)
    low, again = course.mean(2, 30, 45), course.per_s(55, 65)
    print(f"sigma {sigma}: {low:.1f} under way for 4 at once, then {again:.0f} answers a second of 200")
    assert low < 15
    assert again > 180


def test_a_server_that_is_slow_at_first_is_no_measure():
    """Its first second takes five times as long; once it is warm, 40 at once are its full speed, and not 200."""
    server = Server(capacity=lambda t: 40, longer=lambda t: 5.0 if t < 1 else 1.0)
    course = simulate(server, Adaptive(256), 25)
    print(f"{course.mean(2, 15, 25):.0f} under way for 40 at once")
    assert 40 <= course.mean(2, 15, 25) < 80


def test_a_limit_that_has_lost_its_reason_is_found_out():
    """A server at its limit loses it while answers get half as long again: slow, but not so slow as to be sure."""
    server = Server(
        capacity=lambda t: 40 if t < 10 else math.inf, longer=lambda t: 1.5 if t > 10 else 1.0, changes_at=(10,)
    )
    course = simulate(server, Adaptive(128), 60)
    print(f"limit {course.mean(1, 5, 10):.0f} for 40 at once, {course.mean(1, 50, 60):.0f} when all go at once")
    assert course.mean(1, 5, 10) < 70
    assert course.mean(1, 50, 60) > 120


@pytest.mark.parametrize("slowing", [0.002, 0.005])
def test_slowness_that_is_worth_it_is_put_up_with(slowing):
    """Where all together still answer more the more they are, as in batched decoding, many are under way."""
    course = simulate(Server(slowing=slowing), Adaptive(256), 60)
    most = 256 / 0.2 / (1 + 256 * slowing)
    print(f"slowing {slowing}: {course.per_s(30, 60) / most:.0%} of the most there is")
    assert course.per_s(30, 60) > 0.85 * most


def test_a_fixed_number_is_fixed():
    """Whatever is refused or slow, the limit stays; what was learned is of use once it may move."""
    adaptive = Adaptive(32, fixed=True)
    for _ in range(20):
        adaptive.refused(adaptive.sent(32), 32)
    assert adaptive.limit == 32
    adaptive.adopt(32, fixed=False)
    assert adaptive.limit < 10


def test_refusals_of_what_was_sent_before_count_once():
    """Of 30 refused together one lowers the limit, by a tenth; the next that was sent since lowers it again."""
    adaptive = Adaptive(256)
    rounds = [adaptive.sent(30) for _ in range(30)]
    for _ in range(50):
        adaptive.answered(adaptive.sent(100), 0.2, 100)
    before = adaptive.limit
    for each in rounds[:8]:
        adaptive.refused(each, 100)
    after = adaptive.limit
    assert after == int(0.9 * before)
    adaptive.refused(adaptive.sent(after), after)
    assert adaptive.limit == int(0.9 * 0.9 * before)


def test_what_is_not_used_does_not_grow():
    """Few requests under way prove nothing about many."""
    adaptive = Adaptive(256)
    for _ in range(200):
        adaptive.answered(adaptive.sent(3), 0.2, 3)
    assert adaptive.limit == START


def test_the_median_knows_about_those_that_are_not_back():
    """Median and spread of a sample are the same, about, where its slowest fifth is only counted."""
    rng = random.Random(3)
    logs = sorted(rng.gauss(0, 0.7) for _ in range(4000))
    for missing in (0, 800):
        median, spread = median_and_spread(logs[: len(logs) - missing], missing)
        assert math.isclose(median, 0, abs_tol=0.05)
        assert math.isclose(spread, 0.7, rel_tol=0.05)
