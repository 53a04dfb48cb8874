"""What a place on the wire is made of: the server it leads to, the lease of it, and the report that gives it back."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

from nemocc_dask.llm.adaptive import Adaptive
from nemocc_dask.llm.allowance import Allowance, Mark, Quotas
from nemocc_dask.llm.health import Breaker, Verdict, longest_pause_s
from nemocc_dask.llm.share import Distant
from nemocc_dask.logs import event
from nemocc_dask.settings import Endpoint

log = logging.getLogger("nemocc_dask")

TELL_EVERY_S = 60.0
"""A server that comes and goes is told of no more often than this."""

LIMIT_MOVED = 1.25
"""A limit is told of when it has moved by this factor since the last time: it moves a little with each answer."""


class Backend:
    """One address of an endpoint, and what was learned of the server there.

    index: its place among the addresses. weight: its share of the load. in_flight: requests under way there.
    requests: sent there so far. max_tokens_field, single_choice: for the client to keep, what the server wants; None
    and False until it has said so. has_answered, invalid_at_first: likewise, whether it has answered anything, and how
    many requests it had called invalid by then.
    """

    def __init__(self, index: int, endpoint: Endpoint) -> None:
        self.index = index
        self.base_url = endpoint.base_urls[index]
        self.weight = 1.0
        self.in_flight = 0
        self.requests = 0
        self.max_tokens_field: str | None = None
        self.single_choice = False
        self.has_answered = False
        self.invalid_at_first = 0
        self.breaker = Breaker()
        self.quotas = Quotas()
        self.adaptive: Adaptive | Distant = Adaptive(endpoint.max_concurrent_requests, fixed=endpoint.fixed_concurrency)
        self._told_at = -math.inf
        self._told_limit = self.adaptive.limit
        self._outage_is_known = False

    def tells_of_outage(self, now: float) -> bool:
        """Whether a person is to be told that it does not answer; they need not be told of it each second."""
        tells = now >= self._told_at + TELL_EVERY_S
        if tells:
            self._told_at, self._outage_is_known = now, True
        return tells

    def tells_of_return(self) -> bool:
        """Whether a person is to be told that it answers again: where they know that it did not."""
        known, self._outage_is_known = self._outage_is_known, False
        return known

    def tell_of_limit(self) -> None:
        """Tells the log how many requests at once the server is given, where that has changed much."""
        before, now = self._told_limit, self.adaptive.limit
        if not before / LIMIT_MOVED < now < before * LIMIT_MOVED:
            self._told_limit = now
            told = event("limit_changed", endpoint=self.base_url, before=before, limit=now)
            log.info("%s is given %d requests at once.", self.base_url, now, extra=told)

    def adopt(self, endpoint: Endpoint) -> None:
        """Takes other settings."""
        self.weight = endpoint.weights[self.index] if endpoint.weights else 1.0
        self.breaker.longest_pause_s = longest_pause_s(endpoint.down_after)
        self.adaptive.adopt(endpoint.max_concurrent_requests, fixed=endpoint.fixed_concurrency)


@dataclass(slots=True)
class Lease:
    """A place on the wire, until it is given back with a report.

    backend: where to send the request. tokens: estimate of what it takes. since: when the place was given. round: what
    its server's `adaptive` calls it by.
    """

    backend: Backend
    tokens: int
    since: float
    charge: float
    marks: tuple[Mark, Mark]
    round: Any
    number: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an attempt.

    latency_s: seconds it was on the wire. tokens: as billed, prompts and answers; None: not told. allowance: what the
    response says of the server's limits.
    """

    verdict: Verdict
    latency_s: float
    tokens: int | None = None
    allowance: Allowance | None = None


UNSENT = Report(Verdict.ABANDONED, 0.0)
"""Of a request that was cancelled in the moment in which its turn came."""
