"""How long work takes: by itself, or on a server that refuses nobody and gets slower the more it has to do."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_SAME_MOMENT_S = 1e-9
"""What is due within this is done, as a timer may come a rounding error too early."""


class Sharing:
    """When requests are done that share a server in equal parts; it only calculates, by the seconds of `clock`.

    A request needs `service_s` of service. While c requests are in work each is served at the rate
    min(1, saturates_at / c), so that all together never get more than `saturates_at` seconds of service in a
    second. The rate changes whenever one comes, goes or is done (queueing theory calls it processor sharing).

    All are served at one rate, so one virtual time v with dv/dt = rate is enough: who comes at v is done at
    v + service_s.

    >>> moment = 0.0
    >>> sharing = Sharing(saturates_at=1, clock=lambda: moment)
    >>> one, other = sharing.enter(1.0), sharing.enter(3.0)
    >>> sharing.next_in_s()
    2.0
    >>> moment = 2.0
    >>> sharing.done() == [one], sharing.next_in_s()
    (True, 2.0)
    """

    def __init__(self, saturates_at: int, clock: Callable[[], float]) -> None:
        self._saturates_at, self._clock = saturates_at, clock
        self._virtual_s, self._looked_at = 0.0, clock()
        self._due: list[tuple[float, int]] = []
        self._in_work: set[int] = set()
        self._done: list[int] = []
        self._entered = 0

    def enter(self, service_s: float) -> int:
        """One more is in work; returns the number by which it is known."""
        self._pass_time()
        self._entered += 1
        self._in_work.add(self._entered)
        heapq.heappush(self._due, (self._virtual_s + service_s, self._entered))
        return self._entered

    def leave(self, number: int) -> None:
        """It is worked on no longer, done or not."""
        self._pass_time()
        self._in_work.discard(number)

    def done(self) -> list[int]:
        """Those that are done and were not told before, in the order in which they were done."""
        self._pass_time()
        told, self._done = self._done, []
        return told

    def next_in_s(self) -> float | None:
        """Seconds until the next one is done if none comes or goes before; None where none is in work."""
        self._pass_time()
        return self._next_in_s()

    def _pass_time(self) -> None:
        """Moves on to this moment, from one that is done to the next: each makes the others faster."""
        moment = self._clock()
        left_s, self._looked_at = moment - self._looked_at, moment
        while (step_s := self._next_in_s()) is not None and step_s <= left_s + _SAME_MOMENT_S:
            left_s -= step_s
            self._virtual_s, number = heapq.heappop(self._due)
            self._in_work.discard(number)
            self._done.append(number)
        self._virtual_s += max(0.0, left_s) * self._rate()

    def _next_in_s(self) -> float | None:
        while self._due and self._due[0][1] not in self._in_work:
            heapq.heappop(self._due)
        return (self._due[0][0] - self._virtual_s) / self._rate() if self._due else None

    def _rate(self) -> float:
        return min(1.0, self._saturates_at / max(1, len(self._in_work)))


class Alone:
    """A server with a part for each request, however many there are."""

    async def serve(self, service_s: float, work: Callable[[], T]) -> T:
        """What `work` returns, `service_s` after it began: the work is part of that and does not add to it."""
        due = time.monotonic() + service_s
        result = work()
        if (left_s := due - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        return result


class Shared:
    """A server whose requests share it, with one timer for all of them."""

    def __init__(self, saturates_at: int) -> None:
        self._sharing = Sharing(saturates_at, time.monotonic)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, service_s: float, work: Callable[[], T]) -> T:
        """What `work` returns, once `service_s` of service were given; who stops waiting gets no more of it."""
        number = self._sharing.enter(service_s)
        self._waiting[number] = done = asyncio.get_running_loop().create_future()
        try:
            result = work()
            self._go_on()
            await done
        finally:
            del self._waiting[number]
            self._sharing.leave(number)
            self._go_on()
        return result

    def _go_on(self) -> None:
        """Wakes those that are done and sets the timer to the next one: later where more have come since."""
        for number in self._sharing.done():
            if (done := self._waiting.get(number)) is not None and not done.done():
                done.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        next_in_s = self._sharing.next_in_s()
        self._timer = None if next_in_s is None else asyncio.get_running_loop().call_later(next_in_s, self._go_on)
