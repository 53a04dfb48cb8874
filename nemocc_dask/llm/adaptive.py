"""How many requests one server is given at once: as many as it copes with, learned from refusals and latencies.

The law, for one server. n is the limit, in requests; a round is a row of requests sent one after another, at least n
of them, looked at together once enough are back; m is the median of a round's ln(latency), b that of the first
rounds, s the spread of one ln(latency). All in plain ratios: nothing here is in seconds.

::

    an answer, quick start      n += 1                      doubles n each round trip
    an answer, afterwards       n += max(1, q) / n          while m - b < ln 1.35; q = n / 10 after 10 quiet round trips
    a refusal                   n *= 0.9                    once for all that was sent before the last decrease
    a slow round                n *= max(1/2, e^(b - m))    where m - b > ln 1.35, and > 4 standard errors: a trial
    end of the trial, m'        e = (m - m') / ln(n / n')   the share of the slowness that giving way took back
        e >= 0.7                n = 1.25 n e^(b - m)        the slowness is ours: stay a little above what is served at
                                                            once; give way again only where m - b > ln 1.7
        e < 0.7                 b = m', quick start         it is not, or more at once is worth it: start again from here

Where a server takes its requests in turns among C at once, latency grows as n / C and e is 1: n ends between 1 and 1.35
C. Where each further request slows the others a little, as in batched decoding, e is the share of its own gain that
a request takes from the others: above 0.7, twice as many at once would bring less than a quarter more answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

START = 8
"""Requests at once that a server is first given."""
REFUSED = 0.9
"""What is left of the limit after a refusal."""
SLOW = math.log(1.35)
"""Growth of latency above which no more is sent at once."""
VERY_SLOW = math.log(1.7)
"""Growth of latency beyond which a server known to slow down with load is given less again."""
ABOVE = 1.25
"""What such a server is given, as a multiple of what it serves at once: enough that it never runs dry."""
SURE = 3.0
"""Standard errors by which a round has to be slower: with 200 rounds a run, chance does that once in 150 runs."""
SURE_OF_BASE = 1.5
DEEPEST = 0.5
"""What is left of the limit in a trial, at least."""
OURS = 0.7
"""Share of the slowness that a trial has to take back."""
ROUND = 16
"""Fewest requests in a round."""
LONGEST_ROUND = 256
"""Most requests in a round, unless more are sent at once."""
PRECISION = 0.08
"""Standard error that the median of a round shall have; with a spread of 1, 244 requests give it."""
BACK = 0.8
"""Share of a round that has to be back before it is looked at; the rest counts as slower than its median."""
QUIET_ROUNDS = 10
"""Round trips without a refusal after which the limit grows by a tenth in each."""
USED = 0.8
"""Share of the limit that has to be in use before it grows."""
MEDIAN_ERROR = 1.2533
"""Standard error of a median, times the root of the count, for a spread of 1."""
LEAST_SPREAD = 0.02
"""Of ln(latency): no clock or network is steadier."""


class Round:
    """Requests sent one after another, and how long their answers took.

    epoch: decreases of the limit before it. open_for: how many are still to be sent. out: sent and not back.
    """

    __slots__ = ("at_once", "epoch", "logs", "open_for", "out", "size")

    def __init__(self, epoch: int, size: int) -> None:
        self.epoch = epoch
        self.size = self.open_for = size
        self.out = self.at_once = 0
        self.logs: list[float] = []

    def load(self) -> float:
        """Requests under way, on average, when one of the round went and when it came back."""
        return self.at_once / (self.size + len(self.logs))


def median_and_spread(logs: Sequence[float], missing: int) -> tuple[float, float]:
    """Median, and standard deviation from the quartiles, of values of which `missing` are greater than all known.

    At most half of them may be missing.

    >>> median_and_spread([1.0, 2.0, 3.0], missing=1)
    (2.5, 1.1...)
    """
    ordered, count = sorted(logs), len(logs) + missing
    last = len(ordered) - 1
    low, middle, high = (ordered[min(last, round(share * (count - 1)))] for share in (0.25, 0.5, 0.75))
    spread = (high - low) / 1.349 if missing < count / 4 else (middle - low) / 0.6745
    return middle, max(LEAST_SPREAD, spread)


class Adaptive:
    """How many requests one server is given at once.

    most: never more than this; `fixed` always gives so many. limit: how many now, 1 at least.

    >>> server = Adaptive(64)
    >>> server.answered(server.sent(in_flight=1), 0.2, in_flight=8)
    >>> server.limit
    9
    """

    def __init__(self, most: int, *, fixed: bool = False) -> None:
        self.limit = 0
        self._exact = float(START)
        self._quick = self._calm = True
        self._slows_down = self._suspect = False
        self._quiet = 0.0
        self._base: _Seen | None = None
        self._trial: _Seen | None = None
        self._epoch = 0
        self._round = Round(0, ROUND)
        self.adopt(most, fixed=fixed)

    def adopt(self, most: int, *, fixed: bool) -> None:
        """Takes other settings; what was learned stays."""
        self._most, self._fixed = most, fixed
        self._set(self._exact)

    def sent(self, in_flight: int) -> Round:
        """A request goes: the round it belongs to, to be handed back with what became of it."""
        if not self._round.open_for:
            self._round = self._next_round()
        self._round.open_for -= 1
        self._round.out += 1
        self._round.at_once += in_flight
        return self._round

    def answered(self, round_: Round, latency_s: float, in_flight: int) -> None:
        """An answer came; in_flight: requests under way when it did, itself included."""
        log = math.log(max(latency_s, 1e-6))
        self._quiet += 1 / self._exact
        if self._trial is None and not self._suspect and in_flight >= USED * self.limit:
            self._grow(log)
        if round_.epoch == self._epoch:
            round_.logs.append(log)
            round_.at_once += in_flight
            self._back(round_)

    def refused(self, round_: Round, in_flight: int) -> None:
        """The server has too much to do, it says; in_flight: as above."""
        if round_.epoch == self._epoch:
            self._quick, self._trial = False, None
            self._quiet = 0.0
            self._set(REFUSED * min(self._exact, in_flight))
            self._start_over()

    def restart(self) -> None:
        """The server has come back from nowhere: it is got to know from the start."""
        self._quick = self._calm = True
        self._slows_down, self._trial, self._base = False, None, None
        self._set(START)
        self._start_over()

    def lost(self, round_: Round) -> None:
        """Nothing can be learned from this one."""
        if round_.epoch == self._epoch:
            self._back(round_)

    def _set(self, limit: float) -> None:
        self._exact = min(max(1.0, limit), self._most)
        self.limit = self._most if self._fixed else int(self._exact)

    def _start_over(self) -> None:
        self._epoch += 1
        self._round = self._next_round()

    def _next_round(self) -> Round:
        needed = LONGEST_ROUND if self._base is None else self._base.needed()
        size = ROUND if self._base is None else max(ROUND, self.limit, min(LONGEST_ROUND, needed))
        return Round(self._epoch, size)

    def _grow(self, log: float) -> None:
        if self._quick:
            if self._base is None or log - self._base.median < SLOW:
                self._set(self._exact + 1)
        elif self._calm:
            step = max(1.0, self._exact / 10) if self._quiet > QUIET_ROUNDS else 1.0
            self._set(self._exact + step / self._exact)

    def _back(self, round_: Round) -> None:
        round_.out -= 1
        if not round_.open_for and len(round_.logs) >= BACK * (len(round_.logs) + round_.out):
            round_.epoch = -1
            if len(round_.logs) >= ROUND / 2:
                self._judge(_Seen.of(round_))

    def _judge(self, seen: _Seen) -> None:
        if self._trial is not None:
            self._end(self._trial, seen)
        elif self._base is None:
            self._base = seen
        else:
            self._compare(seen, self._base)

    def _compare(self, seen: _Seen, base: _Seen) -> None:
        slower = seen.median - base.median
        doubt = SURE * seen.error() + SURE_OF_BASE * base.error()
        self._calm = slower < SLOW
        suspect = slower > max(doubt, VERY_SLOW if self._slows_down else SLOW)
        if slower < -max(doubt, SLOW):
            self._base = seen
        elif suspect and (self._suspect or slower > 2 * doubt):
            self._try_less(seen, slower)
        elif slower < SLOW / 2 and base.count < base.needed():
            self._base = base.with_(seen)
        self._suspect = suspect

    def _try_less(self, seen: _Seen, slower: float) -> None:
        self._trial = seen
        self._set(seen.load * max(DEEPEST, math.exp(-slower)))
        self._start_over()

    def _end(self, before: _Seen, seen: _Seen) -> None:
        assert self._base is not None
        less = math.log(before.load / seen.load)
        self._slows_down = less > 0 and (before.median - seen.median) / less >= OURS
        self._trial, self._quick = None, not self._slows_down
        if self._slows_down:
            self._set(before.load * ABOVE * math.exp(self._base.median - before.median))
        else:
            self._base = seen
        self._calm, self._suspect = True, False
        self._start_over()


class _Seen(NamedTuple):
    median: float
    spread: float
    count: int
    load: float

    @classmethod
    def of(cls, round_: Round) -> _Seen:
        return cls(*median_and_spread(round_.logs, round_.out), len(round_.logs) + round_.out, round_.load())

    def error(self) -> float:
        return MEDIAN_ERROR * self.spread / math.sqrt(self.count)

    def needed(self) -> int:
        return math.ceil((MEDIAN_ERROR * self.spread / PRECISION) ** 2)

    def with_(self, other: _Seen) -> _Seen:
        count = self.count + other.count
        mean = lambda a, b: (a * self.count + b * other.count) / count
        return _Seen(mean(self.median, other.median), mean(self.spread, other.spread), count, mean(self.load, other.load))

