"""Whether a server is there: a breaker for each, and the moment from which none of them is worth waiting for."""

from __future__ import annotations

import math
from enum import Enum

TRIPS_AT = 5
"""Attempts in a row that found nobody, after which a server gets no more requests."""
OTHER_FAILURES = 0.25
"""How much of such an attempt one counts for that was answered with an error or a refusal."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
"""Pauses between probes double from the first to the longest."""
PROBES_PER_OUTAGE = 6
"""The longest pause is no more than this part of the time after which a job stops."""
FEWEST_FAILURES = 10
"""Attempts that have to have failed before a job stops."""


class Verdict(Enum):
    """What one attempt says about the server.

    ANSWERED: it did its work, a refusal of what the request asks for included. CROWDED: it has too much to do. DOWN:
    nobody answered. BROKEN: somebody did, and not with an answer. ABANDONED: it was cancelled here, and says nothing.
    """

    ANSWERED = "answered"
    CROWDED = "crowded"
    DOWN = "down"
    BROKEN = "broken"
    ABANDONED = "abandoned"


FAILURES = frozenset({Verdict.DOWN, Verdict.BROKEN})


class Breaker:
    """Keeps requests from a server that is gone, and finds out when it is back.

    ::

        score = failures since the last answer, where DOWN counts 1, BROKEN and CROWDED 1/4
        it opens at a score of 5; then one probe at a time goes, after pauses of 0.5 s, 1 s, 2 s, ... `longest_pause_s`
        it closes with the first answer

    Where no other server is healthy (`alone`), BROKEN and CROWDED are signs of life: then a server that answers with
    errors is better than none, and the rows learn what it says.

    healthy: whether requests may go; all times are seconds of one clock.

    >>> breaker = Breaker()
    >>> for second in range(5):
    ...     _ = breaker.note(Verdict.DOWN, float(second), probe=False, alone=True)
    >>> breaker.healthy, breaker.wait_s(4.25)
    (False, 0.25)
    """

    def __init__(self, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        self.healthy = True
        self.longest_pause_s = longest_pause_s
        self._score = 0.0
        self._probing = False
        self._next_probe = 0.0
        self._pause_s = FIRST_PAUSE_S

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go; infinite while a probe is under way."""
        if self.healthy:
            return 0.0
        return math.inf if self._probing else max(0.0, self._next_probe - now)

    def sent(self) -> bool:
        """A request goes: whether it is a probe."""
        self._probing = not self.healthy
        return self._probing

    def note(self, verdict: Verdict, now: float, *, probe: bool, alone: bool) -> bool:
        """What became of a request. Returns whether the server has just come back."""
        if probe:
            self._probing = False
        if verdict is Verdict.ABANDONED:
            return False
        if verdict is Verdict.ANSWERED or (alone and verdict is not Verdict.DOWN):
            return self._close()
        if self.healthy:
            self._score += 1 if verdict is Verdict.DOWN else OTHER_FAILURES
            if self._score >= TRIPS_AT:
                self._open(now)
        elif probe:
            self._pause_s = min(2 * self._pause_s, self.longest_pause_s)
            self._next_probe = now + self._pause_s
        return False

    def hurry(self, now: float) -> None:
        """Lets the next probe go at once: somebody has come who may have mended the server."""
        if not self.healthy:
            self._open(now)
            self._next_probe = now

    def _open(self, now: float) -> None:
        self.healthy = False
        self._pause_s = min(FIRST_PAUSE_S, self.longest_pause_s)
        self._next_probe = now + self._pause_s

    def _close(self) -> bool:
        was_open, self.healthy = not self.healthy, True
        self._score = 0.0
        return was_open


class Outage:
    """Tells when nobody is worth waiting for any more, at any address.

    ::

        down = for `down_after_s` since the first failure after the last sign of life
               and failures since then >= 10, and >= requests under way
               and no request is under way that was sent after the last failure

    A failure is DOWN or BROKEN; ANSWERED and CROWDED are signs of life. Requests that may still be answered are waited
    for, however long they take: a server that came back may be at work on one.

    >>> outage = Outage(down_after_s=60)
    >>> for second in range(10):
    ...     outage.note(Verdict.DOWN, outage.sent(), float(second))
    >>> outage.due_in_s(59.0, in_flight=0), outage.failures
    (1.0, 10)
    """

    def __init__(self, down_after_s: float) -> None:
        self.down_after_s = down_after_s
        self._rounds = 0
        self.forget()

    def forget(self) -> None:
        """A clean slate."""
        self.failures = 0
        self._since = 0.0
        self._hopes = 0
        self._rounds += 1

    def sent(self) -> int:
        """A request goes: a number to hand back with what became of it."""
        self._hopes += 1
        return self._rounds

    def note(self, verdict: Verdict, number: int, now: float) -> None:
        """What became of a request."""
        if number == self._rounds:
            self._hopes -= 1
        if verdict in FAILURES:
            self._since = self._since if self.failures else now
            self.failures += 1
            self._hopes = 0
            self._rounds += 1
        elif verdict is not Verdict.ABANDONED:
            self.failures = 0

    def due_in_s(self, now: float, in_flight: int) -> float:
        """Seconds until the job is to stop, if nothing happens before; infinite where nothing speaks for it."""
        if self.failures < max(FEWEST_FAILURES, in_flight) or self._hopes:
            return math.inf
        return max(0.0, self._since + self.down_after_s - now)

    def lasted_s(self, now: float) -> float:
        """Seconds since the first failure after the last sign of life."""
        return now - self._since


def longest_pause_s(down_after_s: float) -> float:
    """Longest pause between probes, so that several are made before a job stops.

    >>> longest_pause_s(60), longest_pause_s(3)
    (10.0, 0.5)
    """
    return min(LONGEST_PAUSE_S, down_after_s / PROBES_PER_OUTAGE)
