"""What the simulated endpoint saw: counted as requests come and go, so that a look at it costs nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How one request ends.

    status: HTTP status; None where no whole answer goes out (a cut connection, a client that left).
    body, headers: what is sent.
    fault: name of the simulated fault that happened, if any.
    task: the format that was answered in.
    digest: stands for the request's body, where a proper answer to it is given.
    """

    status: int | None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    task: str | None = None
    digest: bytes | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


ABANDONED = Reply(status=None, fault="abandoned")
"""The client closed the connection before its answer was ready, or the endpoint was stopped or died."""
STEP = 1.02
"""Latencies are told apart by this factor."""


class Load:
    """How many requests are in flight: now, at most, and on average.

    The average is weighted by time and taken from the first arrival to the last, so the tail in which nothing
    more was asked does not count: mean = ∫ in_flight dt / (last arrival - first arrival).
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.now = self.peak = 0
        self.first_arrival: float | None = None
        self._last_arrival = self._changed_at = 0.0
        self._area = self._area_at_last_arrival = 0.0

    def came(self) -> float:
        """One more is in flight; returns the moment."""
        moment = self._pass_time()
        if self.first_arrival is None:
            self.first_arrival = moment
        self._last_arrival, self._area_at_last_arrival = moment, self._area
        self.now += 1
        self.peak = max(self.peak, self.now)
        return moment

    def went(self) -> float:
        """One fewer is in flight; returns the moment."""
        moment = self._pass_time()
        self.now -= 1
        return moment

    def mean(self) -> float:
        """The average; the peak where all arrived in one moment."""
        duration = self._last_arrival - (self.first_arrival or 0.0)
        return self._area_at_last_arrival / duration if duration > 0 else float(self.peak)

    def seconds_since_first(self) -> float:
        """Seconds since the first arrival; 0 before it."""
        return 0.0 if self.first_arrival is None else self._clock() - self.first_arrival

    def _pass_time(self) -> float:
        moment = self._clock()
        self._area += self.now * (moment - self._changed_at)
        self._changed_at = moment
        return moment


class Latencies:
    """How long answers took, in steps of 2 %, so that a million take no more room than a hundred.

    >>> latencies = Latencies()
    >>> for milliseconds in range(1, 101):
    ...     latencies.add(milliseconds / 1000)
    >>> round(latencies.quantile_ms(0.5)), round(latencies.quantile_ms(0.95))
    (50, 95)
    """

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """One more answer took so long."""
        self._steps[round(math.log(max(seconds, 1e-6)) * _STEPS)] += 1

    def quantile_ms(self, share: float) -> float:
        """Milliseconds within which this share of the answers came, to 1 %; 0 before the first one."""
        needed = share * self._steps.total()
        for step, count in sorted(self._steps.items()):
            needed -= count
            if needed <= 0:
                return 1000 * STEP**step
        return 0.0


_STEPS = 1 / math.log(STEP)


class Stats:
    """Counts of chat completions since the start or the last reset; used from the server's event loop only.

    Always: requests = sum of by_status + cut + abandoned + in_flight. A request that is open at a reset
    belongs to the counts before it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.load = Load(clock)
        self._counts: Counter[str] = Counter()
        self._by_status: Counter[int] = Counter()
        self._by_task: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._attempts: Counter[bytes] = Counter()
        self._answered: set[bytes] = set()
        self._latencies = Latencies()

    def arrived(self) -> float:
        """A request reached the handler; returns the moment, for `left`."""
        self._counts["requests"] += 1
        return self.load.came()

    def asked(self, digest: bytes) -> int:
        """A valid body is being worked on: returns how often it was before."""
        attempt = self._attempts[digest]
        self._attempts[digest] = attempt + 1
        self._counts["repeated"] += digest in self._answered
        return attempt

    def struck(self, fault: str) -> None:
        """A fault begins that has no reply to be counted with."""
        self._faults[fault] += 1

    def left(self, reply: Reply, came: float) -> None:
        """A request is done, one way or another."""
        took_s = self.load.went() - came
        self._counts["prompt_tokens"] += reply.prompt_tokens
        self._counts["completion_tokens"] += reply.completion_tokens
        if reply.status is not None:
            self._by_status[reply.status] += 1
            if reply.status == 200:
                self._latencies.add(took_s)
        elif reply is ABANDONED:
            self._counts["abandoned"] += 1
        else:
            self._counts["cut"] += 1
        if reply.fault is not None and reply is not ABANDONED:
            self._faults[reply.fault] += 1
        if reply.task is not None:
            self._by_task[reply.task] += 1
        if reply.digest is not None:
            self._answered.add(reply.digest)

    def snapshot(self) -> dict[str, Any]:
        """All counts, as GET /stats sends them; latencies are those of answers with status 200, in work to done."""
        return {
            "requests": self._counts["requests"],
            "answered": self._by_status[200],
            "by_status": {str(status): count for status, count in sorted(self._by_status.items()) if count},
            "cut": self._counts["cut"],
            "abandoned": self._counts["abandoned"],
            "in_flight": self.load.now,
            "peak_in_flight": self.load.peak,
            "mean_in_flight": self.load.mean(),
            "repeated": self._counts["repeated"],
            "prompt_tokens": self._counts["prompt_tokens"],
            "completion_tokens": self._counts["completion_tokens"],
            "seconds_since_first": self.load.seconds_since_first(),
            "latency_p50_ms": self._latencies.quantile_ms(0.5),
            "latency_p95_ms": self._latencies.quantile_ms(0.95),
            "by_task": dict(sorted(self._by_task.items())),
            "faults": dict(sorted(self._faults.items())),
        }
