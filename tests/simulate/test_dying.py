"""An endpoint that never answers, one that dies and comes back, and one that is started anew at its old port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import aiohttp
import pytest

from nemocc_dask.simulate import Knobs, Simulator

from .asking import address, adds_up, ask, ask_all, begin, chat, complete, http, port_of, wait_until

Simulate = Callable[..., Simulator]

BODIES = [chat("Hello", seed=seed) for seed in range(60)]


def test_an_attempt_may_hang_for_ever(simulate: Simulate) -> None:
    """Knob hang_rate: that attempt gets nothing however long its client waits, and is abandoned when it leaves."""
    simulator = simulate(hang_rate=1.0)
    with begin(simulator, BODIES[0]) as connection:
        wait_until(lambda: simulator.stats()["faults"] == {"hang": 1})
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        stats = simulator.stats()
        assert (stats["in_flight"], stats["abandoned"]) == (1, 0)
        assert adds_up(stats)
    wait_until(lambda: simulator.stats()["in_flight"] == 0)
    stats = simulator.stats()
    assert (stats["abandoned"], stats["faults"], stats["by_status"]) == (1, {"hang": 1}, {})
    assert adds_up(stats)


def test_hangs_come_at_their_rate_and_a_retry_may_succeed(simulate: Simulate) -> None:
    """About a fifth of the attempts hang, and those that are tried again are mostly answered."""
    simulator = simulate(hang_rate=0.2)
    got = asyncio.run(_with_patience(simulator, 0.5))
    assert 3 <= got.count(None) <= 24
    assert got.count(200) == len(BODIES) - got.count(None)
    wait_until(lambda: simulator.stats()["in_flight"] == 0)
    assert simulator.stats()["faults"] == {"hang": got.count(None)}
    again = asyncio.run(_with_patience(simulator, 0.5))
    assert any(one is None and other == 200 for one, other in zip(got, again, strict=True))


async def _with_patience(simulator: Simulator, patience_s: float) -> list[int | None]:
    """The statuses of all bodies, None where the client left after so long."""

    async def one(session: aiohttp.ClientSession, body: object) -> int | None:
        try:
            async with session.post(f"{simulator.base_url}/chat/completions", json=body) as response:
                return response.status
        except TimeoutError:
            return None

    timeout = aiohttp.ClientTimeout(total=patience_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return await asyncio.gather(*(one(session, body) for body in BODIES))


def test_an_endpoint_that_hangs_can_be_stopped() -> None:
    """Requests that hang keep nobody from stopping the endpoint."""
    with Simulator(Knobs(hang_rate=1.0)) as simulator:
        client = threading.Thread(target=ask_all, args=(simulator, BODIES[:3]))
        client.start()
        wait_until(lambda: simulator.stats()["in_flight"] == 3)
    client.join()
    assert (simulator.stats()["abandoned"], simulator.stats()["in_flight"]) == (3, 0)


def test_an_endpoint_dies(simulate: Simulate) -> None:
    """Knob fails_after: three requests are answered, then every connection is closed unanswered, on each path."""
    simulator = simulate(fails_after=3)
    assert [ask(simulator, body).status for body in BODIES[:3]] == [200] * 3
    assert not simulator.stats()["dead"]
    with pytest.raises(ConnectionError):
        ask(simulator, BODIES[3])
    with pytest.raises(ConnectionError):
        complete(simulator, "Hello")
    for path in ("v1/models", "health", "nowhere"):
        with pytest.raises(ConnectionError):
            http(address(simulator, path))
    stats = simulator.stats()
    assert stats["dead"] is http(address(simulator, "stats")).body["dead"] is True
    assert (stats["answered"], stats["cut"], stats["faults"]) == (3, 2, {"dead": 2})
    assert adds_up(stats)


@pytest.mark.parametrize("over_http", [False, True])
def test_it_can_be_revived(simulate: Simulate, over_http: bool) -> None:
    """POST /revive, or `revive`, brings it back for good, its counts kept; a reset makes it mortal again."""
    simulator = simulate(fails_after=1)
    assert ask_all(simulator, BODIES[:3], at_once=1) == [200, None, None]
    if over_http:
        assert http(address(simulator, "revive"), b"").body == {"dead": False}
    else:
        simulator.revive()
    assert ask_all(simulator, BODIES[:5]) == [200] * 5
    stats = simulator.stats()
    assert (stats["requests"], stats["cut"], stats["dead"]) == (8, 2, False)
    simulator.reset()
    assert ask_all(simulator, BODIES[:3], at_once=1) == [200, None, None]


def test_those_it_works_on_die_with_it(simulate: Simulate) -> None:
    """At its death the connections of requests in work are closed at once: they are abandoned, not waited for."""
    simulator = simulate(fails_after=4, latency_s=60)
    connections = [begin(simulator, body) for body in BODIES[:4]]
    wait_until(lambda: simulator.stats()["in_flight"] == 4)
    assert ask_all(simulator, BODIES[4:5]) == [None]
    assert [connection.recv(1) for connection in connections] == [b""] * 4
    for connection in connections:
        connection.close()
    wait_until(lambda: simulator.stats()["in_flight"] == 0)
    stats = simulator.stats()
    assert (stats["abandoned"], stats["cut"]) == (4, 1)
    assert adds_up(stats)


def test_a_port_can_be_used_again_at_once() -> None:
    """Stopped with connections open and requests in work, it is started at its old port, and so is another one."""
    with Simulator(Knobs(latency_s=30)) as first:
        port = port_of(first)
        connections = [begin(first, body) for body in BODIES[:3]]
        wait_until(lambda: first.stats()["in_flight"] == 3)
    again = Simulator(port=port)
    for simulator in (again, again, Simulator(port=port)):
        with simulator:
            assert port_of(simulator) == port
            assert ask(simulator, BODIES[0]).status == 200
            idle = begin(simulator, BODIES[1])
            assert idle.recv(1) == b"H"
            connections.append(idle)
    assert again.stats()["answered"] == 4
    for connection in connections:
        connection.close()


def test_only_what_left_counts_as_answered(simulate: Simulate) -> None:
    """What ripens in the moment of death is abandoned like the rest: clients got as many answers as are counted."""
    bodies = [chat("Begin with 'Paraphrased Text:'.", seed=seed) for seed in range(120)]
    for _ in range(10):
        simulator = simulate(fails_after=60, latency_s=0.005)
        assert ask_all(simulator, bodies, at_once=60).count(200) == simulator.stats()["answered"]
