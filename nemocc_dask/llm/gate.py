"""Which request goes on the wire, to which address, and when: the one place that decides it."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Callable
from itertools import count

from nemocc_dask.errors import EndpointUnreachableError
from nemocc_dask.llm.allowance import Allowance, allowance_of
from nemocc_dask.llm.backend import UNSENT, Backend, Lease, Report
from nemocc_dask.llm.health import FAILURES, Outage, Verdict
from nemocc_dask.llm.rates import Pace, TokenBudget
from nemocc_dask.llm.share import Grant, Permits, Share, TokenPermits, Usage
from nemocc_dask.logs import event
from nemocc_dask.settings import Endpoint

__all__ = ["Allowance", "Backend", "Gate", "Lease", "Report", "Verdict", "allowance_of"]


log = logging.getLogger("nemocc_dask")

LOOK_AHEAD = 64
"""So many requests that wait are looked at, for what they take."""

TURNED_AWAY_FOR_S = 1.0
"""Whoever comes so soon after all were turned away is turned away too, unless nothing is under way by then: other
batches have not heard of it yet."""


class Gate:
    """Gives out places on the wire, by priority (lower first), then in order of arrival.

    A request goes where fewer than `max_concurrent_requests` are under way, the rates allow it, and a server is
    healthy, has less under way than it copes with, and has something left of its own limits. Among several such
    servers the one with the least under way for its weight gets it, and of those the one that had the fewest.

    backends: the servers, one per address. in_flight: requests under way. peak: the most there ever were.
    share: what of these limits is this process's, where others keep them too; None: all of it.

    For one event loop only. A waiter that is cancelled takes no place with it, not even when its turn came in the
    same moment. `clock` counts seconds.

    >>> async def two_at_once():
    ...     gate = Gate(Endpoint(base_url="http://localhost/v1", model="m"))
    ...     first, second = await gate.acquire(), await gate.acquire(priority=5)
    ...     gate.release(first, Report(Verdict.ANSWERED, latency_s=0.2, tokens=100))
    ...     return gate.in_flight, gate.peak, second.backend.base_url
    >>> asyncio.run(two_at_once())
    (1, 2, 'http://localhost/v1')
    """

    def __init__(
        self, endpoint: Endpoint, *, share: Share | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.backends = tuple(Backend(index, endpoint) for index in range(len(endpoint.base_urls)))
        self.share = share
        self.in_flight = self.peak = 0
        self._clock = clock
        self._arrivals = count()
        self._waiting: list[tuple[int, int, int, asyncio.Future[Lease]]] = []
        self._pace: Pace | Permits = Pace(None)
        self._budget: TokenBudget | TokenPermits = TokenBudget(None)
        if share is not None:
            self._pace, self._budget = share.permits, share.tokens
            for backend, server in zip(self.backends, share.servers, strict=True):
                backend.adaptive = server
        self._outage = Outage(endpoint.down_after)
        self._down: EndpointUnreachableError | None = None
        self._refusal: Exception | None = None
        self._turned_away_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.adopt(endpoint)

    @property
    def limit(self) -> int:
        """Most requests under way that are allowed now: what the servers cope with, never more than the settings say.

        A server that is gone counts for the one probe that may be there.
        """
        return min(
            self._places(self._clock()), sum(b.adaptive.limit if b.breaker.healthy else 1 for b in self.backends)
        )

    def adopt(self, endpoint: Endpoint) -> None:
        """Takes other settings for the same addresses; what was learned of the servers stays.

        Somebody who comes while nobody is there, or after the job was stopped, may have mended the servers: those
        that were gone are tried again at once, and are given their time from the start.
        """
        self._most = endpoint.max_concurrent_requests
        self._pace.adopt(endpoint.requests_per_minute)
        self._budget.adopt(endpoint.tokens_per_minute)
        self._outage.down_after_s = endpoint.down_after
        for backend in self.backends:
            backend.adopt(endpoint)
        if self._down is not None or not (self.in_flight or self._waiting):
            self._down = self._refusal = None
            self._outage.forget()
            for backend in self.backends:
                backend.breaker.hurry(self._clock())
        self._serve()

    async def acquire(self, priority: int = 0, tokens: int = 0) -> Lease:
        """Waits for a place. Whoever acquires must release.

        tokens: estimate of the prompt's and the most that the answer may take.

        Raises `EndpointUnreachableError` where no server has answered for too long, and what `turn_away` says.
        """
        if self._down is not None:
            raise _another(self._down)
        if self._refusal is not None and self._clock() < self._turned_away_until:
            raise _another(self._refusal)
        while True:
            lease = await self._turn(priority, tokens)
            if self._places(self._clock()):
                return lease
            # Between its turn and now, this process may have been stopped for so long that others have its share.
            self.release(lease, UNSENT)

    async def _turn(self, priority: int, tokens: int) -> Lease:
        turn: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._arrivals), tokens, turn))
        self._serve()
        if turn.done():
            return turn.result()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():  # the place was ours: pass it on
                self.release(turn.result(), UNSENT)
            raise

    def usage(self) -> Usage:
        """What to tell whoever shares the limits out. Only where there is a share."""
        assert self.share is not None
        ahead = heapq.nsmallest(LOOK_AHEAD, self._waiting) if self.share.tokens.is_limited else []
        return self.share.usage(self.in_flight, len(self._waiting), [tokens for _, _, tokens, _ in ahead])

    def go_by(self, grant: Grant, asked_at: float) -> None:
        """Takes a new share. asked_at: when the usage was told that it answers, in seconds of the clock."""
        assert self.share is not None
        self.share.take(grant, asked_at)
        self._serve()

    def told_in_vain(self, usage: Usage) -> None:
        """Perhaps nobody heard of it."""
        assert self.share is not None
        self.share.told_in_vain(usage)

    def _places(self, now: float) -> int:
        """Most requests under way, as far as the limits say."""
        return self._most if self.share is None else min(self._most, self.share.places(now))

    def release(self, lease: Lease, report: Report) -> None:
        """Gives a place back, and tells what became of the request."""
        backend, verdict, now = lease.backend, report.verdict, self._clock()
        self._learn(backend, lease, report, now)
        if self.share is not None:
            self.share.longest_s = max(self.share.longest_s, report.latency_s)
        backend.in_flight -= 1
        self.in_flight -= 1
        crowded = verdict is Verdict.CROWDED
        self._budget.settle(now, lease.tokens, lease.charge, report.tokens, refused=crowded or report is UNSENT)
        self._outage.note(verdict, lease.number, now)
        if verdict in FAILURES and self._outage.due_in_s(now, self.in_flight) <= 0:
            self._give_up(now)
        self._serve()

    def turn_away(self, error: Exception) -> None:
        """Everybody who waits now, or comes within a second while others are under way, raises this error."""
        self._refusal, self._turned_away_until = error, self._clock() + TURNED_AWAY_FOR_S
        self._send_away(error)

    def _send_away(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for *_, turn in waiting:
            if not turn.done():
                turn.set_exception(_another(error))

    def _serve(self) -> None:
        """Gives places to waiters as far as possible; where time will help, a timer brings it back here."""
        waiting = self._waiting
        while waiting:
            _, _, tokens, turn = waiting[0]
            if turn.done():  # cancelled
                heapq.heappop(waiting)
                continue
            now = self._clock()
            if self.in_flight >= self._places(now):
                return
            wait_s = max(self._pace.wait_s(now), self._budget.wait_s(now, tokens))
            backend = None
            if not wait_s:
                backend, wait_s = self._choose(now, tokens)
            if backend is None:
                self._wait(now, wait_s)
                return
            heapq.heappop(waiting)
            turn.set_result(self._lease(backend, tokens, now))

    def _choose(self, now: float, tokens: int) -> tuple[Backend | None, float]:
        """Where the next request goes; else the seconds until one of the servers takes one, if time alone does it."""
        best, least, soonest = None, (math.inf, math.inf), math.inf
        for backend in self.backends:
            healthy = backend.breaker.healthy
            if healthy and backend.in_flight >= backend.adaptive.limit:
                continue
            wait_s = 0.0 if healthy else backend.breaker.wait_s(now)
            wait_s = wait_s or backend.quotas.wait_s(now, tokens)
            if wait_s:
                soonest = min(soonest, wait_s)
            elif not healthy:
                return backend, 0.0
            else:
                load = backend.in_flight / backend.weight, backend.requests / backend.weight
                if load < least:
                    best, least = backend, load
        return best, soonest

    def _lease(self, backend: Backend, tokens: int, now: float) -> Lease:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        backend.in_flight += 1
        backend.requests += 1
        self._pace.take(now)
        return Lease(
            backend,
            tokens,
            now,
            self._budget.take(now, tokens),
            backend.quotas.sent(now, tokens),
            backend.adaptive.sent(backend.in_flight),
            self._outage.sent(),
            backend.breaker.sent(),
        )

    def _learn(self, backend: Backend, lease: Lease, report: Report, now: float) -> None:
        """What the report says about the server; before the place is given back, since it is what was under way."""
        verdict, adaptive = report.verdict, backend.adaptive
        if verdict is Verdict.ANSWERED:
            adaptive.answered(lease.round, report.latency_s, backend.in_flight)
        elif verdict is Verdict.CROWDED:
            adaptive.refused(lease.round, backend.in_flight)
        else:
            adaptive.lost(lease.round)
        backend.tell_of_limit()
        alone = not any(other.breaker.healthy for other in self.backends if other is not backend)
        was_healthy = backend.breaker.healthy
        if backend.breaker.note(verdict, now, probe=lease.probe, alone=alone):
            adaptive.restart()
            if backend.tells_of_return():
                told = event("endpoint_back", endpoint=backend.base_url)
                log.warning("%s answers again.", backend.base_url, extra=told)
        elif was_healthy and not backend.breaker.healthy and backend.tells_of_outage(now):
            how = (
                "It is tried now and then"
                if alone
                else "The other addresses go on without it; it is tried now and then"
            )
            told = event("endpoint_down", endpoint=backend.base_url)
            log.warning("%s does not answer. %s.", backend.base_url, how, extra=told)
        if report.allowance is not None:
            ours = report.allowance if self.share is None else report.allowance.part(self.share.part)
            backend.quotas.told(now, lease.marks, ours, refused=verdict is Verdict.CROWDED)

    def _wait(self, now: float, wait_s: float) -> None:
        """Looks again after so many seconds, or when nobody is worth waiting for any more."""
        wait_s = min(wait_s, self._outage.due_in_s(now, self.in_flight))
        if wait_s == math.inf:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + wait_s
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._clock()
        if self._outage.due_in_s(now, self.in_flight) <= 0:
            self._give_up(now)
        self._serve()

    def _give_up(self, now: float) -> None:
        """Everybody who waits, and who comes before other settings do, is told that nobody answers."""
        addresses = ", ".join(backend.base_url for backend in self.backends)
        self._down = EndpointUnreachableError(
            f"Nobody has answered at {addresses} for {self._outage.lasted_s(now):.0f} s: {self._outage.failures} "
            "attempts failed. Start the endpoint, or mend its address; the same command goes on where this one stopped."
        )
        self._send_away(self._down)


def _another(error: Exception) -> Exception:
    """The same error once more: a traceback grows with every raise."""
    return type(error)(*error.args)
