"""The statistics are exact, also while hundreds of requests come and go."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.stats import Latencies, Load

from .asking import address, adds_up, ask, ask_all, chat, http

BODIES = [chat("Begin with 'Paraphrased Text:'.", seed=seed) for seed in range(120)]

Simulate = Callable[..., Simulator]


def test_a_full_endpoint_has_a_known_peak_and_mean(simulate: Simulate) -> None:
    """Six waves of 20 requests of 0.1 s: the peak is 20, and when the last comes, 100 have been in flight so long."""
    simulator = simulate(latency_s=0.1)
    assert ask_all(simulator, BODIES, at_once=20) == [200] * 120
    stats = simulator.stats()
    assert stats["peak_in_flight"] == 20
    assert 100 * 0.1 / stats["seconds_since_first"] <= stats["mean_in_flight"] <= 20
    assert stats["in_flight"] == 0
    assert stats["requests"] == stats["answered"] == 120
    assert stats["seconds_since_first"] >= 0.6


def test_the_mean_is_weighted_by_time_until_the_last_arrival() -> None:
    """One request for 3 s and two for 1 s are (3·1 + 1·2) / 4 in flight on average, whatever the tail."""
    moment = 100.0
    load = Load(lambda: moment)
    for at, step in [(100, load.came), (103, load.came), (104, load.came), (200, load.went)]:
        moment = float(at)
        step()
    assert load.mean() == pytest.approx(5 / 4)
    assert (load.now, load.peak) == (2, 3)
    assert load.seconds_since_first() == 100


def test_an_unused_endpoint_has_empty_statistics(simulator: Simulator) -> None:
    """Before the first request every count is 0, and every table empty."""
    assert not any(simulator.stats().values())


def test_every_request_is_accounted_for(simulate: Simulate) -> None:
    """With all faults at once: requests = statuses + cut + in flight, and the client saw the same."""
    faults = ("error", "cut", "cut_after_headers", "garbage", "no_choices", "empty", "null", "content_filter")
    rates = {f"{fault}_rate": 0.1 for fault in faults}
    simulator = simulate(**rates, latency_s=0.01)
    bodies = [*BODIES, b"no object", {"model": "other", "messages": BODIES[0]["messages"]}]
    got = ask_all(simulator, bodies[:-2]) + [ask(simulator, body).status for body in bodies[-2:]]
    stats = simulator.stats()
    assert adds_up(stats)
    assert stats["requests"] == len(bodies)
    assert stats["faults"].keys() == set(faults)
    assert stats["by_status"] == {str(s): got.count(s) for s in (200, 400, 404, 500)}
    assert stats["cut"] == got.count(None)
    assert sum(stats["by_task"].values()) == stats["answered"] == got.count(200)


def test_a_body_asked_again_is_repeated_only_if_it_was_answered(simulate: Simulate) -> None:
    """A retry after an error is not repeated; each request for a body that had been answered is."""
    simulator = simulate(error_rate=0.5)
    tries = [ask(simulator, BODIES[0]).status for _ in range(20)]
    assert 200 in tries
    assert simulator.stats()["repeated"] == 20 - tries.index(200) - 1


def test_the_same_body_twice_at_once_is_not_repeated(simulate: Simulate) -> None:
    """Two at once: neither had been answered when the other was asked. The third one is repeated."""
    simulator = simulate(latency_s=0.1)
    ask_all(simulator, [BODIES[0], BODIES[0]])
    assert simulator.stats()["repeated"] == 0
    ask(simulator, BODIES[0])
    assert simulator.stats()["repeated"] == 1


def test_latencies_are_those_of_answers(simulate: Simulate) -> None:
    """Half of the answers took latency_p50_ms, to 1 %; errors and refusals, which come at once, do not count."""
    simulator = simulate(latency_s=0.2)
    statuses = ask_all(simulator, [*BODIES[:20], *[{}] * 40])
    stats = simulator.stats()
    assert statuses.count(400) == 40
    assert 198 <= stats["latency_p50_ms"] <= stats["latency_p95_ms"]


@given(st.lists(st.integers(1, 10**6), min_size=1), st.sampled_from([0.05, 0.5, 0.95, 1.0]))
def test_a_quantile_is_right_to_one_percent(milliseconds: list[int], share: float) -> None:
    """So many of the latencies are within it, which sorting them shows."""
    latencies = Latencies()
    for each in milliseconds:
        latencies.add(each / 1000)
    exact = sorted(milliseconds)[max(0, math.ceil(round(share * len(milliseconds), 6)) - 1)]
    assert latencies.quantile_ms(share) == pytest.approx(exact, rel=0.0101)


def test_a_client_that_leaves_is_counted_as_abandoned(simulate: Simulate) -> None:
    """A request whose client hangs up is no longer in flight, costs no tokens and is not answered."""
    simulator = simulate(latency_s=5)

    async def leave() -> None:
        timeout = aiohttp.ClientTimeout(total=0.2)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with pytest.raises(TimeoutError):
                await session.post(f"{simulator.base_url}/chat/completions", json=BODIES[0])
            await asyncio.sleep(0.1)

    asyncio.run(leave())
    stats = simulator.stats()
    assert (stats["requests"], stats["abandoned"], stats["in_flight"], stats["answered"]) == (1, 1, 0, 0)
    assert stats["completion_tokens"] == 0


def test_a_reset_forgets_everything(simulator: Simulator) -> None:
    """After a reset, in Python or over HTTP, all counts are 0 and a body asked again is new."""
    for reset in (simulator.reset, lambda: http(address(simulator, "stats/reset"), b"")):
        ask_all(simulator, BODIES[:5])
        reset()
        assert not any(simulator.stats().values())
    ask_all(simulator, BODIES[:5])
    assert simulator.stats()["repeated"] == 0


def test_a_reset_under_way_leaves_nothing_behind(simulate: Simulate) -> None:
    """A request that is open at a reset is counted before it and never after, so no count goes below 0."""
    simulator = simulate(latency_s=0.3)

    async def reset_in_the_middle() -> None:
        async with aiohttp.ClientSession() as session:
            url = f"{simulator.base_url}/chat/completions"
            open_one = asyncio.create_task(session.post(url, json=BODIES[0]))
            await asyncio.sleep(0.1)
            before: dict[str, Any] = await (await session.post(address(simulator, "stats/reset"))).json()
            assert before["in_flight"] == 1
            assert (await open_one).status == 200

    asyncio.run(reset_in_the_middle())
    assert not any(simulator.stats().values())


def test_statistics_over_http_are_the_same(simulator: Simulator) -> None:
    """GET /stats sends what `Simulator.stats` returns, key for key."""
    ask_all(simulator, BODIES[:3])
    over_http, here = http(address(simulator, "stats")).body, json.loads(json.dumps(simulator.stats()))
    assert {**over_http, "seconds_since_first": 0} == {**here, "seconds_since_first": 0}
