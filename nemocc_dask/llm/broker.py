"""Shares a job's limits out among the processes that send its requests, by what each of them can use.

It knows no network and no clock: who tells what, and when, is handed in. On a Dask cluster it lives in the scheduler.

::

    a process tells its usage every `again_s`, and is granted places for `valid_s` from then on
    it may hold     h = max(places granted, under way) until it has told that there are fewer under way
    it is granted   min(its part, limit - sum of h of all others), so all together never hold more than the limit
    its part        max-min fair: first what each can use, in even parts where that is too much; the rest evenly
    silent          its h is kept until its grant has run out and what it had under way must be over

Requests and tokens by the minute are handed out as they come in, in even parts among those that want some; where there
is not one for each, who has waited longest is first. How many requests a server copes with is learned from the events
of all processes, by the same law as in one (`llm.adaptive`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nemocc_dask.llm.access import UNRECEIVED_S
from nemocc_dask.llm.adaptive import Adaptive
from nemocc_dask.llm.rates import Pace, Reservoir
from nemocc_dask.llm.rounds import Round
from nemocc_dask.llm.share import ANSWERED, BACK, LOST, REFUSED, SENT, Event, Grant, Usage
from nemocc_dask.settings import Endpoint

AGAIN_S, SOON_S = 0.25, 0.1
"""Between two usages of a process: as a rule, and where more will be free in a moment."""

EACH_S = 0.003
"""Longer where there are many processes: a third of a millisecond each is a tenth of the broker's time."""

VALID_S, VALID_TIMES = 2.0, 4
"""A grant holds so long, or for so many usages if that is longer."""

GONE_S = 1.5
"""Requests of a process that is gone are over by then: its connections are closed, and servers notice."""

SLOWER = 2.0
"""Requests of a process that is silent may take so many times the longest that was seen, if not their time-out, and a
link that is cut may hold them back before that."""

TENURE_S = 2.0
"""Where there are fewer places than processes, each keeps one for so long."""

WINDOW_S = 62.5
"""In which no more requests are handed out than a minute allows: what is granted goes up to 1.5 s later."""

RESTART_S = 5.0
"""All processes find that a server is back; it is one return."""


@dataclass(eq=False)
class _Process:
    """One of the processes, as it is known here.

    holds: requests it may have under way. heard: how many of its events are known. rounds: server and number of a
    request under way → its round there.
    """

    usage: Usage = field(default_factory=Usage)
    holds: int = 0
    heard: int = 0
    places: int = 0
    since: float = -math.inf
    silent_at: float = math.inf
    gone_at: float = math.inf
    served_at: float = -math.inf
    rounds: dict[tuple[int, int], Round | None] = field(default_factory=dict)

    @property
    def wants(self) -> int:
        return self.usage.in_flight + self.usage.waiting


class Broker:
    """Shares out the limits of one endpoint; times are seconds of one clock.

    >>> broker = Broker(Endpoint(base_url="http://h/v1", model="m", max_concurrent_requests=10, fixed_concurrency=True))
    >>> broker.renew("a", Usage(waiting=100), now=0.0).places
    10
    >>> broker.renew("b", Usage(waiting=100), now=0.1).places  # the first has to give some back before
    0
    >>> broker.renew("a", Usage(places=10, in_flight=10, waiting=90), now=0.2).places
    5
    >>> broker.renew("a", Usage(places=5, in_flight=5, waiting=80), now=0.4).places
    5
    >>> broker.renew("b", Usage(waiting=100), now=0.5).places
    5
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._most = endpoint.max_concurrent_requests
        self._pace = Pace(endpoint.requests_per_minute, largest_burst=math.inf, window_s=WINDOW_S, late_s=AGAIN_S)
        self._tokens = Reservoir(endpoint.tokens_per_minute)
        self._limited = endpoint.requests_per_minute is not None
        self._servers = [Adaptive(self._most, fixed=endpoint.fixed_concurrency) for _ in endpoint.base_urls]
        self._under_way = [0] * len(self._servers)
        self._restarted_at = [-math.inf] * len(self._servers)
        self._processes: dict[str, _Process] = {}
        self._longest_s, self._timeout_s = 0.0, endpoint.timeout

    @property
    def limit(self) -> int:
        """Most requests under way that are allowed now, all processes together."""
        return min(self._most, sum(server.limit for server in self._servers))

    @property
    def processes(self) -> int:
        """Those that are not known to be gone."""
        return sum(process.gone_at == math.inf for process in self._processes.values())

    def renew(self, name: str, usage: Usage, now: float) -> Grant:
        """What a process may use from now on. name: nobody else's, ever."""
        process = self._processes.setdefault(name, _Process())
        process.usage = usage
        process.gone_at, process.silent_at = math.inf, math.inf
        self._learn(process, usage.events[max(0, process.heard - usage.events_before) :], now)
        process.heard = usage.events_before + len(usage.events)
        self._longest_s = max(self._longest_s, usage.longest_s)
        self._forget_the_silent(now)
        process.holds = max(usage.places, usage.in_flight)
        again_s = max(AGAIN_S, EACH_S * len(self._processes))
        valid_s = max(VALID_S, VALID_TIMES * again_s)
        process.silent_at = now + valid_s
        part = self._parts(now)[name]
        places = max(0, min(part, self._most - self._held_by_others(process)))
        if (places > 0) != (process.places > 0):
            process.since = now
        process.places = places
        process.holds = max(process.holds, places)
        return Grant(
            places, valid_s, SOON_S if places < part else again_s,
            self._requests_for(process, now), self._tokens_for(process, now),
            self._limits_for(name), tuple(server.epoch for server in self._servers), self._part_of(process),
        )  # fmt: skip

    def gone(self, name: str, now: float) -> None:
        """A process is not there any more, or cannot be heard again."""
        if name in self._processes:
            self._processes[name].gone_at = now

    # --- requests under way -------------------------------------------------------------------------------------------

    def _held_by_others(self, process: _Process) -> int:
        return sum(other.holds for other in self._processes.values() if other is not process)

    def _forget_the_silent(self, now: float) -> None:
        """What it was granted has run out, and what it had under way is over."""
        over = [name for name, process in self._processes.items() if now >= self._over_at(process)]
        for name in over:
            for (server, _), round_ in self._processes.pop(name).rounds.items():
                self._end(server, round_, None, now)

    def _over_at(self, process: _Process) -> float:
        rest_s = UNRECEIVED_S + min(self._timeout_s, SLOWER * self._longest_s or self._timeout_s)
        return min(process.silent_at + rest_s, max(process.silent_at, process.gone_at) + GONE_S)

    def _parts(self, now: float) -> dict[str, int]:
        """Each process's part of the places. Those that are silent can use none.

        What nobody wants now is shared out as well: who is answered at once never seems to want more than a few.
        """
        heard = [name for name, process in self._processes.items() if now < min(process.silent_at, process.gone_at)]
        heard.sort(key=lambda name: self._rank(self._processes[name], now))
        parts = fair_parts(self.limit, [self._processes[name].wants for name in heard])
        spare = fair_parts(self.limit - sum(parts), [self._most] * len(heard))
        return {name: part + more for name, part, more in zip(heard, parts, spare, strict=True)}

    def _rank(self, process: _Process, now: float) -> tuple[bool, float]:
        """Who comes first where there are not enough places: who has just got one, then who has waited longest."""
        has_some = process.places > 0
        return not (has_some and now - process.since < TENURE_S), math.inf if has_some else process.since

    def _part_of(self, process: _Process) -> float:
        granted = sum(each.places for each in self._processes.values())
        return process.places / granted if granted else 1 / len(self._processes)

    def _limits_for(self, name: str) -> tuple[int, ...]:
        """Its part of what each server copes with, in proportion to its places."""
        granted = {each: process.places for each, process in self._processes.items()}
        return tuple(proportional_part(server.limit, granted, name) for server in self._servers)

    # --- requests and tokens by the minute ----------------------------------------------------------------------------

    def _requests_for(self, process: _Process, now: float) -> int:
        if not self._limited:
            return 0
        usage = process.usage
        wanted = min(usage.waiting, max(process.places, usage.requests)) - usage.requests
        if wanted <= 0:
            return 0  # those it has left it will soon use: they were handed out, and cannot be taken back
        room = self._pace.room(now)
        granted = math.floor(self._turn(process, room, wanted, least=1, now=now))
        self._pace.take(now, granted)
        return granted

    def _tokens_for(self, process: _Process, now: float) -> float:
        if not self._tokens.is_limited:
            return 0.0
        usage = process.usage
        room = self._tokens.fill(now, sum(each.usage.unsure for each in self._processes.values()))
        if not usage.waiting:
            back = min(0.0, -usage.tokens)  # what it has no use for; its debts it keeps
            self._tokens.take(back)
            return back
        wanted, least = usage.tokens_wanted - usage.tokens, usage.tokens_needed - usage.tokens
        if wanted <= 0 or room <= 0:
            return 0.0
        # What the next request takes may be more than is there: then it is drawn ahead.
        granted = self._turn(process, room, wanted, least=min(max(least, 0.0), max(room, 1.0)), now=now)
        granted = max(granted, least) if granted else 0.0
        self._tokens.take(granted)
        return granted

    def _turn(self, process: _Process, room: float, wanted: float, *, least: float, now: float) -> float:
        """How much of what is there a process gets: an even part, or, where that is too little, when its turn comes."""
        hungry = [each for each in self._processes.values() if each.usage.waiting and now < each.silent_at]
        part = room / max(1, len(hungry))
        if part < least:
            ahead = sum(each.served_at < process.served_at for each in hungry)
            part = least if room >= (ahead + 1) * least else 0.0
        granted = min(wanted, part)
        if granted:
            process.served_at = now
        return granted

    # --- what servers cope with ---------------------------------------------------------------------------------------

    def _learn(self, process: _Process, events: Sequence[Event], now: float) -> None:
        for kind, index, number, value in events:
            if kind == SENT:
                self._under_way[index] += 1
                server = self._servers[index]
                known = int(value) == server.epoch  # else it went by a limit that has been cut since
                process.rounds[index, number] = server.sent(self._under_way[index]) if known else None
            elif kind == BACK:
                self._restart(index, now)
            elif (index, number) in process.rounds:
                self._end(index, process.rounds.pop((index, number)), (kind, value), now)

    def _end(self, index: int, round_: Round | None, how: tuple[int, float] | None, now: float) -> None:
        """A request is over. how: what became of it, where that is known."""
        server, under_way = self._servers[index], self._under_way[index]
        kind, value = how or (LOST, 0.0)
        if kind == REFUSED:
            self._tokens.refused(now)
        if round_ is not None:
            if kind == ANSWERED:
                server.answered(round_, value, under_way)
            elif kind == REFUSED:
                server.refused(round_, under_way)
            else:
                server.lost(round_)
        self._under_way[index] -= 1

    def _restart(self, index: int, now: float) -> None:
        if now - self._restarted_at[index] > RESTART_S:
            self._restarted_at[index] = now
            self._servers[index].restart()


def fair_parts(total: int, wanted: Sequence[int]) -> list[int]:
    """Whole parts of `total`, none larger than wanted, and otherwise as even as possible; earlier ones come first.

    >>> fair_parts(100, [80, 90]), fair_parts(100, [20, 90]), fair_parts(100, [50, 50, 50]), fair_parts(1, [9, 9])
    ([50, 50], [20, 80], [34, 33, 33], [1, 0])
    """
    parts = [0] * len(wanted)
    left = total
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], -i))
    for place, i in enumerate(order):
        parts[i] = min(wanted[i], left // (len(order) - place))
        left -= parts[i]
    return parts


def proportional_part(total: int, weights: Mapping[str, int], name: str) -> int:
    """One's part of `total` in proportion to the weights, rounded so that all parts add up to it.

    >>> [proportional_part(10, {"a": 1, "b": 1, "c": 1}, name) for name in "abc"]
    [3, 3, 4]
    """
    before = 0
    for each, weight in weights.items():
        if each == name:
            everything = sum(weights.values())
            if not everything:
                return 0
            return total * (before + weight) // everything - total * before // everything
        before += weight
    return 0
