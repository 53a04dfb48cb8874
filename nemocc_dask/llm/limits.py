"""How many requests are on the wire at once, and whose turn it is."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class Slots:
    """A limited number of places on the wire, given to waiters by priority (lower first), then in order of
    arrival.

    limit: most holders at once; `resize` changes it.
    in_flight: holders now.
    peak: most holders there ever were at once.

    For one event loop only. A waiter that is cancelled takes no place with it, not even when its turn came in
    the same moment.

    >>> async def two_at_once():
    ...     slots = Slots(2)
    ...     async with slots.hold(), slots.hold(priority=5):
    ...         return slots.in_flight
    >>> asyncio.run(two_at_once())
    2
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.peak = 0
        self._arrivals = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def hold(self, priority: int = 0) -> Hold:
        """A place on the wire for the length of an `async with`."""
        return Hold(self, priority)

    def resize(self, limit: int) -> None:
        """Changes the limit: more waiters go at once, or no new one until enough holders have left."""
        self.limit = limit
        self._serve()

    async def acquire(self, priority: int = 0) -> None:
        """Waits for a place. Whoever acquires must release."""
        if self.in_flight < self.limit:  # then nobody waits: every release and resize serves as far as it can
            self._take()
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():  # the place was ours already: pass it on
                self.release()
            raise

    def turn_away(self, error: Exception) -> None:
        """Everybody who waits now raises this error instead of getting a place; those who come later are let in."""
        waiting, self._waiting = self._waiting, []
        for _, _, turn in waiting:
            if not turn.done():
                turn.set_exception(type(error)(*error.args))  # one each: a traceback grows with every raise

    def release(self) -> None:
        """Gives a place back, to the waiter whose turn it is."""
        self.in_flight -= 1
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # done here means cancelled
                turn.set_result(None)
                self._take()

    def _take(self) -> None:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)


class Hold:
    """`async with` over `Slots.acquire` and `Slots.release`."""

    __slots__ = ("_priority", "_slots")

    def __init__(self, slots: Slots, priority: int) -> None:
        self._slots = slots
        self._priority = priority

    async def __aenter__(self) -> None:
        await self._slots.acquire(self._priority)

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()
