"""What a server says is left of its own limits, in `x-ratelimit-*` headers, and what may go on the strength of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

FIRST_LOOK_S, LONGEST_LOOK_S = 1.0, 30.0
"""Seconds without news after which one request has a look, at first and at most."""
WORTH_A_LOOK = 10
"""Requests that have to have come back meanwhile, if they come back evenly."""
ROUNDED_S = 1.0
"""By which the time of a reset may be wrong."""
EPOCH_S = 1e9
"""A number of seconds as great as this is a date: seconds, or thousandths of them, since 1970."""
UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_DIGITS = r"\d{1,15}(?:\.\d{1,15})?"
_NUMBER = re.compile(_DIGITS, re.ASCII)
_PART = re.compile(f"({_DIGITS})(ms|h|m|s)", re.ASCII)
_DURATION = re.compile(f"(?:{_DIGITS}(?:ms|h|m|s))+", re.ASCII)


class Left(NamedTuple):
    """What is left of one limit.

    remaining: requests or tokens. reset_s: seconds until all of it is there again. limit: all of it; None: not told.
    """

    remaining: float
    reset_s: float
    limit: float | None = None

    def part(self, share: float) -> Left:
        """So much of it."""
        return Left(self.remaining * share, self.reset_s, self.limit and self.limit * share)


class Allowance(NamedTuple):
    """What a response says about its server's limits; None where it says nothing."""

    requests: Left | None = None
    tokens: Left | None = None

    def part(self, share: float) -> Allowance:
        """So much of it, where others go by the same.

        >>> Allowance(requests=Left(60, 30.0, 100)).part(0.5).requests
        Left(remaining=30.0, reset_s=30.0, limit=50.0)
        """
        return Allowance(*(left and left.part(share) for left in self))


def allowance_of(headers: Mapping[str, str]) -> Allowance | None:
    """Reads `x-ratelimit-{remaining,reset,limit}-{requests,tokens}`; None where none of it makes sense.

    A reset is a duration ("6m0s", "120ms"), a number of seconds, or a date (RFC 3339, or seconds since 1970), which
    is compared with the server's own `Date` header. What remains is of use only together with its reset.

    >>> allowance_of({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1m0.5s"})
    Allowance(requests=Left(remaining=59.0, reset_s=60.5, limit=None), tokens=None)
    >>> allowance_of({"x-ratelimit-remaining-requests": "many"}) is None
    True
    """
    requests, tokens = _left(headers, "requests"), _left(headers, "tokens")
    return Allowance(requests, tokens) if requests or tokens else None


def _left(headers: Mapping[str, str], kind: str) -> Left | None:
    remaining = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
    if remaining is None:
        return None
    reset_s = _seconds(headers.get(f"x-ratelimit-reset-{kind}"), headers.get("Date"))
    return None if reset_s is None else Left(remaining, reset_s, _number(headers.get(f"x-ratelimit-limit-{kind}")))


def _number(text: str | None) -> float | None:
    match = _NUMBER.fullmatch(text.strip()) if text is not None else None
    return float(match[0]) if match else None


def _seconds(text: str | None, date: str | None) -> float | None:
    if text is None:
        return None
    number = _number(text)
    if number is not None and number < EPOCH_S:
        return number
    if _DURATION.fullmatch(text.strip()):
        return sum(float(count) * UNITS_S[unit] for count, unit in _PART.findall(text))
    then, now = _moment(text.strip(), number), _server_time(date)
    return None if then is None or now is None else max(0.0, (then - now).total_seconds())


def _moment(text: str, number: float | None) -> datetime | None:
    try:
        if number is not None:
            return datetime.fromtimestamp(number / 1000 if number >= 1000 * EPOCH_S else number, UTC)
        then = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)


def _server_time(date: str | None) -> datetime | None:
    try:
        now = parsedate_to_datetime(date) if date else None
    except (ValueError, OverflowError):
        return None
    return now and (now if now.tzinfo else now.replace(tzinfo=UTC))


class Mark(NamedTuple):
    """When a request went, and what had been spent by then, itself included."""

    at: float
    spent: float


class Quota:
    """What one server has left of one kind, requests or tokens, as far as it tells.

    ::

        left = remaining - sent since the request left whose response says so, until the reset
        afterwards, until a response says more: left = limit - sent since, for the longest reset that was told

    A request of k may go where left >= min(k, limit): all that remains may go at once, and nothing then until the
    reset. That is all in a window that ends; when it ends is at the latest `reset` seconds after each response came,
    so the earliest of these moments holds.

    Where capacity comes back bit by bit (a bucket that fills up, a window that slides), `reset` is the time until all
    of it is there, and moves on with each request. Where it was seen to move, one request has a look while nothing is
    left: after some time without news (1 s, or that in which ten come back), and after twice as long once refused.

    >>> quota = Quota()
    >>> quota.told(100.0, quota.sent(100.0, 1), Left(remaining=0, reset_s=30, limit=60), refused=False)
    >>> quota.wait_s(110.0, 1), quota.wait_s(130.0, 1)
    (20.0, 0.0)
    """

    def __init__(self) -> None:
        self._spent = self._base = self._limit = self._period_s = 0.0
        self._left = self._reset_at = self._ends_at = math.inf
        self._moves = False
        self._look_at, self._pause_s = 0.0, FIRST_LOOK_S

    def sent(self, now: float, amount: float) -> Mark:
        """So much goes: a mark to hand back with the response."""
        self._spent += amount
        self._look_at = now + self._pause_s
        return Mark(now, self._spent)

    def told(self, now: float, mark: Mark, left: Left, *, refused: bool) -> None:
        """What a response says of itself; `refused`: it was a refusal."""
        if now >= self._ends_at:
            self._ends_at = math.inf
        self._moves |= mark.at + left.reset_s > self._ends_at + ROUNDED_S
        self._ends_at = min(self._ends_at, now + left.reset_s)
        self._reset_at = now + left.reset_s if self._moves else self._ends_at
        self._limit = left.limit or max(self._limit, left.remaining)
        self._period_s = max(self._period_s, left.reset_s)
        self._left, self._base = left.remaining, mark.spent
        self._pause_s = min(2 * self._pause_s if refused else self._first_look_s(), LONGEST_LOOK_S)
        self._look_at = now + self._pause_s

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until a request of so much may go."""
        if now >= self._reset_at:
            self._left, self._base, self._reset_at = self._limit, self._spent, now + self._period_s
            self._ends_at = math.inf
        if self._left - (self._spent - self._base) >= min(amount, self._limit):
            return 0.0
        return max(0.0, min(self._reset_at, self._look_at if self._moves else math.inf) - now)

    def _first_look_s(self) -> float:
        return max(FIRST_LOOK_S, WORTH_A_LOOK * self._period_s / max(1.0, self._limit))


class Quotas:
    """What one server has left of requests and of tokens.

    >>> quotas = Quotas()
    >>> quotas.told(100.0, quotas.sent(99.0, 500), Allowance(tokens=Left(200, 30.0, 1000)), refused=False)
    >>> quotas.wait_s(101.0, tokens=150), quotas.wait_s(101.0, tokens=500)
    (0.0, 29.0)
    """

    def __init__(self) -> None:
        self._requests, self._tokens = Quota(), Quota()

    def wait_s(self, now: float, tokens: float) -> float:
        """Seconds until a request of so many tokens may go."""
        return max(self._requests.wait_s(now, 1), self._tokens.wait_s(now, tokens))

    def sent(self, now: float, tokens: float) -> tuple[Mark, Mark]:
        """A request goes: marks to hand back with its response."""
        return self._requests.sent(now, 1), self._tokens.sent(now, tokens)

    def told(self, now: float, marks: tuple[Mark, Mark], said: Allowance, *, refused: bool) -> None:
        """What a response says; `refused`: it was a refusal."""
        for quota, mark, left in zip((self._requests, self._tokens), marks, said, strict=True):
            if left is not None:
                quota.told(now, mark, left, refused=refused)
