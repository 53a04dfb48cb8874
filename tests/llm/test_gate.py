"""The gate: whose turn it is, where it goes, and when nobody is there. Servers are a few lines, time is virtual."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import now, run

from nemocc_dask.errors import EndpointRefusedError, EndpointUnreachableError
from nemocc_dask.llm.adaptive import START
from nemocc_dask.llm.allowance import Allowance, Left
from nemocc_dask.llm.gate import Gate, Report, Verdict
from nemocc_dask.settings import Endpoint

ANSWERED = Report(Verdict.ANSWERED, 0.2)


def endpoint(addresses=1, **more):
    urls = [f"http://h{i}/v1" for i in range(addresses)]
    return Endpoint(**{"base_url": urls, "model": "m", "max_concurrent_requests": 64} | more)


def gate_of(addresses=1, **more):
    return Gate(endpoint(addresses, **more), clock=now)


async def attempt(gate, behave, **how):
    """One attempt at a server that behaves like this: (verdict, seconds) of the address and the time."""
    lease = await gate.acquire(**how)
    verdict, latency_s = behave(lease.backend.index, now())
    await asyncio.sleep(latency_s)
    gate.release(lease, Report(verdict, latency_s))
    return lease.backend.index, verdict


async def work(gate, behave, rows, *, patience=6, abreast=200):
    """Rows with so many attempts each, half a second after one another; returns how many got no answer."""
    left, lost = iter(range(rows)), 0

    async def worker():
        nonlocal lost
        for _ in left:
            for _ in range(patience):
                _, verdict = await attempt(gate, behave)
                if verdict is Verdict.ANSWERED:
                    break
                await asyncio.sleep(0.5)
            else:
                lost += 1

    await asyncio.gather(*(worker() for _ in range(abreast)))
    return lost


def test_lower_numbers_go_first_and_equals_in_order_of_arrival():
    """Waiters are served by priority, then first come first served."""

    async def order():
        gate, served = gate_of(max_concurrent_requests=1), []

        async def one(name, priority):
            lease = await gate.acquire(priority)
            served.append(name)
            gate.release(lease, ANSWERED)

        async with asyncio.TaskGroup() as group:
            lease = await gate.acquire()
            for name, priority in [("a", 1), ("b", 0), ("c", 1), ("d", 0), ("e", -1)]:
                group.create_task(one(name, priority))
            await asyncio.sleep(0)
            gate.release(lease, ANSWERED)
        return "".join(served)

    assert run(order()) == "ebdac"


@settings(deadline=None, max_examples=150)
@given(
    limit=st.integers(1, 4),
    addresses=st.integers(1, 2),
    waiters=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.none() | st.integers(0, 12)),
        min_size=1,
        max_size=25,
    ),
    seed=st.integers(),
)
def test_cancelled_waiters_never_cost_a_place(limit, addresses, waiters, seed):
    """Whoever is cancelled whenever: the limit holds, all others are served, and all places come back."""

    async def main():
        gate, holding, peak, served = gate_of(addresses, max_concurrent_requests=limit), 0, 0, set()
        rng = random.Random(seed)

        async def wait(number, priority, steps):
            nonlocal holding, peak
            lease = await gate.acquire(priority)
            holding += 1
            peak = max(peak, holding)
            try:
                for _ in range(steps):
                    await asyncio.sleep(0)
                served.add(number)
            finally:
                holding -= 1
                gate.release(lease, Report(Verdict.ABANDONED, 0.0))

        tasks = [asyncio.create_task(wait(i, p, steps)) for i, (p, steps, _) in enumerate(waiters)]
        for step in range(13):
            doomed = [task for task, (_, _, at) in zip(tasks, waiters, strict=True) if at == step]
            rng.shuffle(doomed)
            for task in doomed:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert {i for i, (_, _, at) in enumerate(waiters) if at is None} <= served
        assert peak <= limit and gate.peak <= limit and gate.in_flight == 0
        assert all(backend.in_flight == 0 for backend in gate.backends)
        for _ in range(limit):
            await asyncio.wait_for(gate.acquire(), 1)

    run(main())


def test_a_place_given_to_a_waiter_cancelled_in_the_same_moment_is_passed_on():
    """Release and cancellation may fall into one turn of the loop: the next waiter still gets its place and tokens."""

    async def main():
        gate = gate_of(max_concurrent_requests=1, tokens_per_minute=60_000)
        lease = await gate.acquire(tokens=10)
        first = asyncio.create_task(gate.acquire(tokens=50_000))
        second = asyncio.create_task(gate.acquire(tokens=10))
        await asyncio.sleep(0)
        gate.release(lease, ANSWERED)
        first.cancel()
        await asyncio.wait_for(second, 1)
        return first.cancelled(), gate.in_flight

    assert run(main()) == (True, 1)


def test_other_settings_hold_at_once():
    """A larger limit serves waiters, a smaller one lets holders leave before it serves."""

    async def main():
        gate = gate_of(max_concurrent_requests=1)
        tasks = [asyncio.create_task(gate.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        gate.adopt(endpoint(max_concurrent_requests=3))
        await asyncio.sleep(0)
        assert gate.in_flight == 3 and gate.limit == 3
        gate.adopt(endpoint(max_concurrent_requests=1))
        for task in tasks[:2]:
            gate.release(task.result(), ANSWERED)
        assert gate.in_flight == 1 and gate.limit == 1
        gate.release(tasks[2].result(), ANSWERED)
        await asyncio.sleep(0)
        assert gate.in_flight == 1 and sum(task.done() for task in tasks) == 4
        gate.release(tasks[3].result(), ANSWERED)
        await asyncio.gather(*tasks)

    run(main())


def test_those_who_wait_or_come_at_once_are_turned_away_and_those_who_come_later_are_not():
    """Each gets an error of its own; a second later places are given out as before."""

    async def main():
        gate = gate_of(max_concurrent_requests=1)
        lease = await gate.acquire()
        tasks = [asyncio.create_task(gate.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        gate.turn_away(EndpointRefusedError("no such model"))
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["no such model"] * 3
        assert len({id(error) for error in errors}) == 3
        with pytest.raises(EndpointRefusedError):
            await gate.acquire()
        await asyncio.sleep(1.1)
        later = asyncio.create_task(gate.acquire())
        await asyncio.sleep(0)
        gate.release(lease, ANSWERED)
        assert (await later).backend is gate.backends[0]

    run(main())


@pytest.mark.parametrize(("weights", "shares"), [((), (20, 20, 20)), ((1, 1, 4), (10, 10, 40))])
def test_load_is_shared_by_weight(weights, shares):
    """What is under way at each address stands to the others as the weights do."""

    async def main():
        gate = gate_of(3, weights=weights, max_concurrent_requests=60, fixed_concurrency=True)
        for _ in range(60):
            await gate.acquire()
        return tuple(backend.in_flight for backend in gate.backends)

    assert run(main()) == shares


def test_idle_addresses_share_evenly_too():
    """One request at a time goes to each address in turn, not always to the first."""

    async def main():
        gate = gate_of(3, weights=(1, 2, 1))
        for _ in range(40):
            await attempt(gate, lambda *_: (Verdict.ANSWERED, 0.1))
        return [backend.requests for backend in gate.backends]

    assert run(main()) == [10, 20, 10]


def test_the_limit_holds_for_all_addresses_together():
    """Each could take all of it; together they never have more."""

    async def main():
        gate = gate_of(4, max_concurrent_requests=10)
        await work(gate, lambda *_: (Verdict.ANSWERED, 0.2), 400)
        return gate.peak

    assert run(main()) == 10


def test_a_dead_address_costs_no_row():
    """One of three is dead, another dies and comes back: every row is answered, and the dead get probes only."""

    def behave(address, time):
        dead = address == 0 or (address == 1 and 1005 < time < 1015)
        return (Verdict.DOWN, 0.001) if dead else (Verdict.ANSWERED, 0.2)

    async def main():
        gate = gate_of(3)
        lost = await work(gate, behave, 10_000)
        return lost, [backend.requests for backend in gate.backends], now() - 1000

    lost, requests, took_s = run(main())
    print(f"{requests} requests in {took_s:.1f} s, {lost} rows lost")
    assert lost == 0
    assert requests[0] < 40
    assert requests[1] > 2000
    assert took_s < 10_000 / 64 * 0.2 * 1.3


@pytest.mark.parametrize("verdict", [Verdict.CROWDED, Verdict.BROKEN])
def test_an_address_that_only_fails_quickly_does_not_swallow_the_rows(verdict):
    """It has always least to do, so it would get them all: it is left alone while others answer."""

    def behave(address, time):
        return (verdict, 0.001) if address == 0 else (Verdict.ANSWERED, 0.2)

    async def main():
        gate = gate_of(3)
        return await work(gate, behave, 2000), gate.backends[0].requests

    lost, swallowed = run(main())
    assert lost == 0
    assert swallowed < 100


def test_rows_wait_while_nobody_is_there_and_go_on_when_somebody_is():
    """All addresses are gone for 40 s: no row uses up its attempts, and all are answered afterwards."""

    def behave(address, time):
        return (Verdict.DOWN, 0.001) if 1002 < time < 1042 else (Verdict.ANSWERED, 0.2)

    async def main():
        gate = gate_of(2)
        lost = await work(gate, behave, 4000)
        return lost, now() - 1000

    lost, took_s = run(main())
    assert lost == 0
    assert 42 < took_s < 42 + 4000 / 64 * 0.2 + 15


def test_a_job_stops_when_nobody_has_answered_for_too_long():
    """Everybody who waits and who comes gets one sentence; whoever brings settings again has a clean slate."""

    async def main():
        gate, dead = gate_of(2, down_after=60), lambda *_: (Verdict.DOWN, 0.001)
        await work(gate, lambda *_: (Verdict.ANSWERED, 0.1), 500)
        began = now()
        with pytest.raises(EndpointUnreachableError) as caught:
            await work(gate, dead, 500)
        took_s, failed = now() - began, sum(backend.requests for backend in gate.backends) - 500
        assert 60 <= took_s < 61
        for words in ("http://h0/v1, http://h1/v1", "60 s", f"{failed} attempts failed", "same command"):
            assert words in str(caught.value)
        began = now()
        with pytest.raises(EndpointUnreachableError):
            await gate.acquire()
        assert now() == began
        gate.adopt(endpoint(2, down_after=60))
        assert await work(gate, lambda *_: (Verdict.ANSWERED, 0.1), 500) == 0
        assert now() - began < 5

    run(main())


def test_a_server_at_work_on_a_probe_is_waited_for():
    """It came back and takes two minutes to answer: that is longer than the patience, and no reason to stop."""

    def behave(address, time):
        return (Verdict.DOWN, 0.001) if time < 1020 else (Verdict.ANSWERED, 120.0)

    async def main():
        return await work(gate_of(down_after=30), behave, 20)

    assert run(main()) == 0


def test_a_server_that_only_refuses_or_errs_now_and_then_is_not_gone():
    """Refusals alone stop no job, however long; nor do errors, while some are answered."""

    async def main(behave):
        gate, began = gate_of(down_after=10), now()
        await work(gate, behave, 60, patience=300)
        return now() - began

    rng = random.Random(1)
    assert run(main(lambda _, time: (Verdict.CROWDED if time < 1100 else Verdict.ANSWERED, 0.01))) > 100
    run(main(lambda *_: (Verdict.ANSWERED if rng.random() < 0.3 else Verdict.BROKEN, 0.3)))


def test_a_server_that_only_errs_is_as_good_as_gone():
    """Nothing but errors for ten seconds: that is over, and stays over until other settings come."""

    async def main():
        gate = gate_of(down_after=10)
        with pytest.raises(EndpointUnreachableError):
            await work(gate, lambda *_: (Verdict.BROKEN, 0.3), 60, patience=300)
        sent = gate.backends[0].requests
        with pytest.raises(EndpointUnreachableError):
            await gate.acquire()
        assert gate.backends[0].requests == sent

    run(main())


def test_a_server_that_came_back_is_got_to_know_anew():
    """It had 64 under way before it died; it is given few again, and then more."""

    async def main():
        gate = gate_of()
        await work(gate, lambda *_: (Verdict.ANSWERED, 0.2), 1000)
        assert gate.limit == 64
        for verdict in [Verdict.DOWN] * 5 + [Verdict.ANSWERED]:
            await attempt(gate, lambda *_, verdict=verdict: (verdict, 0.2))
        assert gate.limit == START

    run(main())


def test_requests_are_paced_with_one_timer():
    """With 600 a minute and hundreds waiting, 60 s never see more, 95 % are used, and one timer is set at most."""

    async def main():
        gate, times, timers = gate_of(requests_per_minute=600, fixed_concurrency=True), [], 0
        loop = asyncio.get_running_loop()

        async def worker():
            nonlocal timers
            while now() < 1130:
                lease = await gate.acquire()
                times.append(now())
                gate.release(lease, ANSWERED)
                pending = [timer for timer in loop._scheduled if not timer.cancelled()]
                timers = max(timers, len(pending))

        await asyncio.gather(*(worker() for _ in range(300)))
        return times, timers

    times, timers = run(main())
    windows = [sum(start <= time < start + 60 for time in times) for start in range(1000, 1070)]
    assert max(windows) <= 600
    assert min(windows) >= 570
    assert timers <= 1


def test_tokens_are_charged_and_settled():
    """Rows of 2,000 tokens by estimate take 500: with 60,000 a minute about 120 go, not 30."""

    async def main():
        gate, answered = gate_of(tokens_per_minute=60_000), 0

        async def worker():
            nonlocal answered
            while now() < 1300:
                lease = await gate.acquire(tokens=2000)
                answered += now() <= 1300
                await asyncio.sleep(2)
                gate.release(lease, Report(Verdict.ANSWERED, 2.0, 500))

        await asyncio.gather(*(worker() for _ in range(50)))
        return answered / 5

    assert 0.9 * 120 < run(main()) <= 120


def test_a_server_s_own_limit_closes_the_way_to_it_alone():
    """Nothing is left at one of two addresses for 20 s: all goes to the other meanwhile, and to both afterwards."""

    async def main():
        gate = gate_of(2, fixed_concurrency=True)
        lease = await gate.acquire()
        gate.release(lease, Report(Verdict.ANSWERED, 0.2, allowance=Allowance(Left(0, 20.0, 1000))))
        seen = Counter()
        while now() < 1040:
            both = await asyncio.gather(*(attempt(gate, lambda *_: (Verdict.ANSWERED, 1.0)) for _ in range(2)))
            seen.update((index, now() <= 1020) for index, _ in both)
        return seen

    assert run(main()) == {(1, True): 40, (0, False): 20, (1, False): 20}


def test_the_limit_says_what_servers_cope_with():
    """It starts low and grows, is the setting where that is fixed, and one for a server that is gone."""

    async def main():
        gate = gate_of(2)
        assert gate.limit == 2 * START
        for _ in range(5):
            await attempt(gate, lambda *_: (Verdict.DOWN, 0.0))
            await attempt(gate, lambda address, _: (Verdict.DOWN if address == 0 else Verdict.ANSWERED, 0.0))
        assert [backend.breaker.healthy for backend in gate.backends].count(True) == 1
        assert gate.limit == START + 1
        assert gate_of(2, fixed_concurrency=True).limit == 64

    run(main())
