"""A server that is shared gives each request its part, and all together never more than it has."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.sharing import Sharing

from .asking import adds_up, ask_all, chat, wait_until

Simulate = Callable[..., Simulator]

COMING = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), min_size=1, max_size=12)
"""When each request comes, and how much service it needs, in seconds."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def by_definition(coming: list[tuple[int, int]], saturates_at: int) -> list[float]:
    """When each is done, as the definition says: from one event to the next, all that are there get their part."""
    left = {at: float(service) for at, (_, service) in enumerate(coming)}
    now, done = 0.0, {}
    while left:
        here = [at for at in left if coming[at][0] <= now]
        rate = min(1.0, saturates_at / len(here)) if here else 0.0
        events = [came - now for came, _ in coming if came > now] + [left[at] / rate for at in here]
        now += min(events)
        for at in here:
            left[at] -= min(events) * rate
            if left[at] < 1e-9:
                del left[at]
                done[at] = now
    return [done[at] for at in range(len(coming))]


def served(coming: list[tuple[int, int]], saturates_at: int) -> list[float]:
    """When each is done, as `Sharing` says to one who looks whenever something happens."""
    clock = Clock()
    sharing = Sharing(saturates_at, clock)
    to_come = sorted(range(len(coming)), key=lambda at: coming[at][0])
    known: dict[int, int] = {}
    done: dict[int, float] = {}
    while len(done) < len(coming):
        next_in_s = sharing.next_in_s()
        done_at = math.inf if next_in_s is None else clock.now + next_in_s
        clock.now = min([done_at, *(coming[at][0] for at in to_come[:1])])
        done |= {known[number]: clock.now for number in sharing.done()}
        while to_come and coming[to_come[0]][0] <= clock.now:
            known[sharing.enter(coming[to_come[0]][1])] = to_come[0]
            del to_come[0]
    return [done[at] for at in range(len(coming))]


@given(COMING, st.integers(1, 4))
def test_each_is_done_when_it_had_its_part_long_enough(coming: list[tuple[int, int]], saturates_at: int) -> None:
    """One virtual time for all gives what following each request from event to event gives."""
    assert served(coming, saturates_at) == pytest.approx(by_definition(coming, saturates_at))


@given(st.lists(st.integers(1, 8), min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 40))
def test_one_who_looks_late_sees_the_same(services: list[int], saturates_at: int, looks_at: int) -> None:
    """What is done while nobody looks makes the others faster from its own moment on, not from the look."""
    clock = Clock()
    sharing = Sharing(saturates_at, clock)
    numbers = [sharing.enter(service) for service in services]
    clock.now = looks_at + 1e-6
    ends = by_definition([(0, service) for service in services], saturates_at)
    assert set(sharing.done()) == {number for number, end in zip(numbers, ends, strict=True) if end <= clock.now}
    later = [end - clock.now for end in ends if end > clock.now]
    assert sharing.next_in_s() == (pytest.approx(min(later), abs=1e-5) if later else None)


def test_below_its_bound_nobody_is_slower() -> None:
    """As many as it can serve are served as if alone; one more slows all of them down alike."""
    clock = Clock()
    sharing = Sharing(3, clock)
    for _ in range(3):
        sharing.enter(6.0)
    assert sharing.next_in_s() == pytest.approx(6.0)
    sharing.enter(6.0)
    assert sharing.next_in_s() == pytest.approx(8.0)


def test_who_leaves_makes_room() -> None:
    """A request that leaves before it is done takes no part any more, and is never named as done."""
    clock = Clock()
    sharing = Sharing(1, clock)
    one, other = sharing.enter(2.0), sharing.enter(4.0)
    clock.now = 2.0
    sharing.leave(one)
    assert sharing.next_in_s() == pytest.approx(3.0)
    clock.now = 5.0
    assert sharing.done() == [other]
    assert sharing.next_in_s() is None
    sharing.leave(other)


BODIES = [chat("Hello", seed=seed) for seed in range(24)]


def test_an_endpoint_that_is_full_gets_slower(simulate: Simulate) -> None:
    """Knob saturates_at: 6 at once are served as ever, 24 at once are all served and take four times as long."""
    simulator = simulate(latency_s=0.3, saturates_at=6)
    assert ask_all(simulator, BODIES[:6]) == [200] * 6
    unloaded_ms = simulator.stats()["latency_p50_ms"]
    simulator.reset()
    assert ask_all(simulator, BODIES) == [200] * 24
    assert unloaded_ms > 0.98 * 300
    assert simulator.stats()["latency_p50_ms"] > 2 * 300  # not 4: the last ones come when some are half done


def test_its_rate_is_bounded_whatever_the_load(simulate: Simulate) -> None:
    """24 requests of 0.1 s on a server for 6 take 0.4 s at least, and as long for 12 at once as for 24."""
    for at_once in (12, 24):
        simulator = simulate(latency_s=0.1, saturates_at=6)
        ask_all(simulator, BODIES, at_once=at_once)
        assert simulator.stats()["seconds_since_first"] >= 0.39


def test_clients_that_leave_make_the_others_faster(simulate: Simulate) -> None:
    """Beside ten that stay, a request of half a second takes over five; it takes far less where they leave soon."""
    simulator = simulate(latency_s=0.5, saturates_at=1)

    async def leave_one_alone() -> int:
        url = f"{simulator.base_url}/chat/completions"
        async with aiohttp.ClientSession() as session:
            leavers = [asyncio.create_task(session.post(url, json=body)) for body in BODIES[:10]]
            stayer = asyncio.create_task(session.post(url, json=BODIES[10]))
            await asyncio.sleep(0.2)
            for leaver in leavers:
                leaver.cancel()
            return (await stayer).status

    assert asyncio.run(leave_one_alone()) == 200
    wait_until(lambda: simulator.stats()["in_flight"] == 0)
    stats = simulator.stats()
    assert 499 < stats["latency_p50_ms"] < 3000
    assert (stats["abandoned"], stats["answered"]) == (10, 1)
    assert adds_up(stats)
