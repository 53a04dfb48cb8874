"""Rounds of requests: how long their answers took, as statistics that a few slow ones do not upset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

PRECISION = 0.1
"""Standard error that the median of a round shall have; with a spread of 1, 158 requests give it."""
BACK = 0.8
"""Share of a round that has to be back before it is looked at; the rest counts as slower than its median."""
FEWEST = 6
"""Answers without which a round says nothing."""
LEAST_SPREAD = 0.02
"""Of ln(latency): no clock or network is steadier."""
MEDIAN_ERROR = 1.2533
"""Standard error of a median, times the root of the count, for a spread of 1."""


class Round:
    """Requests sent one after another, and how long their answers took.

    epoch: how often the limit was cut before it; -1 once it has been looked at.
    """

    __slots__ = ("at_once", "epoch", "logs", "open_for", "out", "size")

    def __init__(self, epoch: int, size: int) -> None:
        self.epoch = epoch
        self.size = self.open_for = size
        self.out = self.at_once = 0
        self.logs: list[float] = []

    def take(self, in_flight: int) -> None:
        """One of it goes."""
        self.open_for -= 1
        self.out += 1
        self.at_once += in_flight

    def is_telling(self) -> bool:
        """Whether there were enough answers among it."""
        return len(self.logs) >= FEWEST

    def is_back(self) -> bool:
        """Whether there is enough of it to look at."""
        return not self.open_for and len(self.logs) >= BACK * (len(self.logs) + self.out)


class Seen(NamedTuple):
    """What a round came to: median and spread of ln(latency), of `number` requests, with `load` under way on average.

    The load is the mean of the numbers under way when its requests went and when they came back.
    """

    median: float
    spread: float
    number: int
    load: float

    @classmethod
    def of(cls, round_: Round) -> Self:
        """Those not yet back, a fifth at most, are slower than the median."""
        load = round_.at_once / (round_.size + len(round_.logs))
        return cls(*median_and_spread(round_.logs, round_.out), len(round_.logs) + round_.out, load)

    def needed(self) -> int:
        """How many requests of such a spread have a median of the wanted precision."""
        return math.ceil((MEDIAN_ERROR * self.spread / PRECISION) ** 2)

    def with_(self, other: Seen) -> Seen:
        """Both together."""
        number = self.number + other.number
        share = other.number / number
        median, spread, load = (
            ours + share * (theirs - ours)
            for ours, theirs in ((self.median, other.median), (self.spread, other.spread), (self.load, other.load))
        )
        return Seen(median, spread, number, load)


def median_and_spread(logs: Sequence[float], missing: int) -> tuple[float, float]:
    """Median, and standard deviation by the quartiles, of values of which `missing` are greater than those known.

    Less than half of them may be missing.

    >>> median_and_spread([1.0, 2.0, 3.0, 4.0], missing=1)
    (3.0, 1.48...)
    """
    ordered, last = sorted(logs), len(logs) + missing - 1
    low, middle, high = (ordered[min(len(logs) - 1, round(share * last))] for share in (0.25, 0.5, 0.75))
    spread = (high - low) / 1.349 if missing < last / 4 else (middle - low) / 0.6745
    return middle, max(LEAST_SPREAD, spread)


def median_error(spread: float, number: int) -> float:
    """Standard error of the median of so many values.

    >>> round(median_error(1.0, 157), 2)
    0.1
    """
    return MEDIAN_ERROR * spread / math.sqrt(number)
