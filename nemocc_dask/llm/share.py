"""One process's share of limits that several keep together: what it tells, what it is granted, and how long that holds.

The limits are a job's, however many processes send its requests. A broker (`llm.broker`) shares them out; each process
tells it a few times a second what it uses and wants, and may go on with what it was granted until the grant runs out.
So one that is stopped, or cut off from the broker, sends nothing more by the time others get its share.
"""

from __future__ import annotations

from typing import NamedTuple

from nemocc_dask.llm.rates import Ratio
from nemocc_dask.settings import Endpoint

SENT, ANSWERED, REFUSED, LOST, BACK = range(5)
"""What a process tells of a server: a request went, and what became of it; a server that was gone answers again."""

Event = tuple[int, int, int, float]
"""(kind, index of the server, number of the request, value): seconds for ANSWERED, the grant's epoch for SENT."""


class Usage(NamedTuple):
    """What a process tells; of plain values, for it travels.

    places: as many requests it may have under way, by the grant it goes by. in_flight: as many it has. waiting: those
    whose turn has not come. requests: more that it may send within the minute's limit. tokens: what is left of those it
    was granted. tokens_wanted: what those that wait would take. tokens_needed: what the next one takes. unsure: tokens
    under way that a strict server would count. longest_s: the longest that an attempt has taken. events: what happened
    since the last time. events_before: how many there were by then.
    """

    places: int = 0
    in_flight: int = 0
    waiting: int = 0
    requests: int = 0
    tokens: float = 0.0
    tokens_wanted: float = 0.0
    tokens_needed: float = 0.0
    unsure: float = 0.0
    longest_s: float = 0.0
    events: tuple[Event, ...] = ()
    events_before: int = 0


class Grant(NamedTuple):
    """What a process may use; of plain values.

    places: most requests under way. valid_s: seconds for which it holds, from the moment at which the usage was told.
    again_s: seconds after which to tell again. requests: more of them, that may be sent within the minute's limit, or
    less where they were not used; tokens likewise. limits: most under way at each server. epochs: how often each limit
    was cut. part: of all places that are granted, the share that these are.
    """

    places: int
    valid_s: float
    again_s: float
    requests: int
    tokens: float
    limits: tuple[int, ...]
    epochs: tuple[int, ...]
    part: float = 1.0


class Permits:
    """Requests that may be sent within a limit a minute. Takes the place of `rates.Pace` where others share the limit.

    left: so many more; infinite where there is no limit.
    """

    def __init__(self, per_minute: int | None) -> None:
        self.is_limited = per_minute is not None
        self.left = 0

    def adopt(self, per_minute: int | None) -> None:
        """The limit is the broker's."""

    def wait_s(self, now: float) -> float:  # noqa: ARG002 - as of a `Pace`
        """0 where a request may go, else infinite: the next grant will tell."""
        return float("inf") if self.is_limited and self.left < 1 else 0.0

    def take(self, now: float) -> None:  # noqa: ARG002 - as of a `Pace`
        """A request goes."""
        if self.is_limited:
            self.left -= 1


class TokenPermits:
    """Tokens that may be taken within a limit a minute. Takes the place of `rates.TokenBudget`.

    A request goes where what it is expected to take is there; what it took in the end is corrected for.

    left: tokens. unsure: by how much the estimates of those under way are above what they are expected to take.
    """

    def __init__(self, per_minute: int | None) -> None:
        self.is_limited = per_minute is not None
        self.left = self.unsure = 0.0
        self._ratio = Ratio()

    def adopt(self, per_minute: int | None) -> None:
        """The limit is the broker's."""

    def expected(self, estimate: int) -> float:
        """What a request of such an estimate will take."""
        return self._ratio.of(estimate)

    def wait_s(self, now: float, estimate: int) -> float:  # noqa: ARG002 - as of a `TokenBudget`
        """0 where a request may go, else infinite: the next grant will tell."""
        return float("inf") if self.is_limited and self.left < self.expected(estimate) else 0.0

    def take(self, now: float, estimate: int) -> float:  # noqa: ARG002 - as of a `TokenBudget`
        """A request goes: what it is charged with."""
        charge = self.expected(estimate)
        self.unsure += estimate - charge
        self.left -= charge
        return charge

    def settle(
        self,
        now: float,  # noqa: ARG002 - as of a `TokenBudget`
        estimate: int,
        charge: float,
        billed: int | None,
        *,
        refused: bool = False,
    ) -> None:
        """What a request took; None: nobody knows. `refused`: nothing."""
        self._ratio.learn(estimate, billed)
        self.unsure -= estimate - charge
        self.left += charge if refused else charge - billed if billed is not None else 0.0


class Distant:
    """How many requests one server is given, as the broker has found. Takes the place of `adaptive.Adaptive`.

    What happens here is told to the broker, which learns from all processes together: each alone would find that its
    own part makes no difference.

    limit: most under way there, from this process.
    """

    def __init__(self, index: int, events: list[Event]) -> None:
        self.limit = self.epoch = 0
        self._index, self._events = index, events
        self._number = 0

    def adopt(self, most: int, *, fixed: bool) -> None:
        """The limit is the broker's."""

    def restart(self) -> None:
        """The server is back."""
        self._events.append((BACK, self._index, 0, 0.0))

    def sent(self, in_flight: int) -> int:  # noqa: ARG002 - as of an `Adaptive`
        """A request goes: its number, to be handed back with what became of it."""
        self._number += 1
        self._events.append((SENT, self._index, self._number, float(self.epoch)))
        return self._number

    def answered(self, number: int, latency_s: float, in_flight: int) -> None:  # noqa: ARG002 - as of an `Adaptive`
        """An answer came."""
        self._events.append((ANSWERED, self._index, number, latency_s))

    def refused(self, number: int, in_flight: int) -> None:  # noqa: ARG002 - as of an `Adaptive`
        """The server has too much to do, it says."""
        self._events.append((REFUSED, self._index, number, 0.0))

    def lost(self, number: int) -> None:
        """Nothing can be learned from this one."""
        self._events.append((LOST, self._index, number, 0.0))


class Share:
    """What one process may use. For one event loop.

    permits, tokens, servers: the parts of it that take the place of a process's own limits.

    >>> share = Share.of(Endpoint(base_url="http://h/v1", model="m"))
    >>> share.take(Grant(8, 2.0, 0.25, 0, 0.0, (8,), (0,)), asked_at=100.0)
    >>> share.places(101.0), share.places(102.0), share.servers[0].limit
    (8, 0, 8)
    """

    def __init__(self, servers: int, permits: Permits, tokens: TokenPermits) -> None:
        self._events: list[Event] = []
        self.permits, self.tokens = permits, tokens
        self.servers = tuple(Distant(index, self._events) for index in range(servers))
        self.longest_s = 0.0
        self.part = 1.0
        self._told = 0
        self._places = 0
        self._valid_until = float("-inf")

    @classmethod
    def of(cls, endpoint: Endpoint) -> Share:
        """Nothing yet of an endpoint's limits."""
        permits, tokens = Permits(endpoint.requests_per_minute), TokenPermits(endpoint.tokens_per_minute)
        return cls(len(endpoint.base_urls), permits, tokens)

    def places(self, now: float) -> int:
        """Most requests under way."""
        return self._places if now < self._valid_until else 0

    def take(self, grant: Grant, asked_at: float) -> None:
        """Goes by a grant. asked_at: when the usage was told that it answers."""
        self._places, self._valid_until = grant.places, asked_at + grant.valid_s
        self.part = grant.part
        self.permits.left += grant.requests
        self.tokens.left += grant.tokens
        for server, limit, epoch in zip(self.servers, grant.limits, grant.epochs, strict=True):
            server.limit, server.epoch = limit, epoch

    def usage(self, in_flight: int, waiting: int, estimates: list[int]) -> Usage:
        """What to tell now; what happened is told once. estimates: tokens of the requests that are next."""
        events, before = tuple(self._events), self._told
        self._events.clear()
        self._told += len(events)
        wanted = [self.tokens.expected(estimate) for estimate in estimates]
        return Usage(
            self._places, in_flight, waiting, self.permits.left, self.tokens.left, sum(wanted), (*wanted, 0.0)[0],
            max(0.0, self.tokens.unsure), self.longest_s, events, before,
        )  # fmt: skip

    def told_in_vain(self, usage: Usage) -> None:
        """Perhaps nobody heard: what happened is told again."""
        self._events[:0] = usage.events
        self._told = usage.events_before
