"""Slots: the limit holds, priority and arrival decide, and a cancelled waiter takes nothing along."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.llm import Slots


def test_lower_numbers_go_first_and_equals_in_order_of_arrival():
    """Waiters are served by priority, then first come first served."""

    async def order():
        slots, served = Slots(1), []

        async def one(name, priority):
            async with slots.hold(priority):
                served.append(name)

        async with asyncio.TaskGroup() as group:
            await slots.acquire()
            for name, priority in [("a", 1), ("b", 0), ("c", 1), ("d", 0), ("e", -1)]:
                group.create_task(one(name, priority))
            await asyncio.sleep(0)
            slots.release()
        return "".join(served)

    assert asyncio.run(order()) == "ebdac"


@settings(deadline=None, max_examples=150)
@given(
    limit=st.integers(1, 4),
    waiters=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.none() | st.integers(0, 12)),
        min_size=1,
        max_size=25,
    ),
    seed=st.integers(),
)
def test_cancelled_waiters_never_cost_a_slot(limit, waiters, seed):
    """Whoever is cancelled whenever: the limit holds, all others are served, and all slots come back."""

    async def run():
        slots, holding, peak, served = Slots(limit), 0, 0, set()
        rng = random.Random(seed)

        async def wait(number, priority, steps):
            nonlocal holding, peak
            async with slots.hold(priority):
                holding += 1
                peak = max(peak, holding)
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    served.add(number)
                finally:
                    holding -= 1

        tasks = [asyncio.create_task(wait(i, p, steps)) for i, (p, steps, _) in enumerate(waiters)]
        for step in range(13):
            doomed = [task for task, (_, _, at) in zip(tasks, waiters, strict=True) if at == step]
            rng.shuffle(doomed)
            for task in doomed:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        unharmed = {i for i, (_, _, at) in enumerate(waiters) if at is None}
        assert unharmed <= served
        assert peak <= limit and slots.peak <= limit and slots.in_flight == 0
        for _ in range(limit):
            await asyncio.wait_for(slots.acquire(), 1)

    asyncio.run(run())


def test_a_slot_given_to_a_waiter_cancelled_in_the_same_moment_is_passed_on():
    """Release and cancellation may fall into one turn of the loop: the next waiter still gets its slot."""

    async def run():
        slots = Slots(1)
        await slots.acquire()
        first = asyncio.create_task(slots.acquire())
        second = asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        slots.release()
        first.cancel()
        await asyncio.wait_for(second, 1)
        return first.cancelled(), slots.in_flight

    assert asyncio.run(run()) == (True, 1)


def test_a_new_limit_holds_at_once():
    """A larger limit serves waiters, a smaller one lets holders leave before it serves."""

    async def run():
        slots = Slots(1)
        tasks = [asyncio.create_task(slots.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        slots.resize(3)
        await asyncio.sleep(0)
        assert slots.in_flight == 3
        slots.resize(1)
        slots.release()
        slots.release()
        assert slots.in_flight == 1
        slots.release()
        await asyncio.sleep(0)
        assert slots.in_flight == 1 and sum(task.done() for task in tasks) == 4
        slots.release()
        await asyncio.gather(*tasks)

    asyncio.run(run())
