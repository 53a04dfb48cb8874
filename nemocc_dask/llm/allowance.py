"""What a server says is left of its own limits, in `x-ratelimit-*` headers, and what may go on the strength of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

REFILL_SEEN = 3
"""Requests that went unnoticed in what is left, which tell a bucket that fills up from a window that ends."""
ROUNDED_S = 1.0
"""By which the time of a reset may be wrong."""
EPOCH_S = 1e9
"""A number of seconds as great as this is a date: seconds, or thousandths of them, since 1970."""
UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


class Left(NamedTuple):
    """What is left of one limit.

    remaining: requests or tokens. reset_s: seconds until all of it is there again. limit: all of it; None: not told.
    """

    remaining: float
    reset_s: float
    limit: float | None = None


class Allowance(NamedTuple):
    """What a response says about its server's limits; None where it says nothing."""

    requests: Left | None = None
    tokens: Left | None = None


def allowance_of(headers: Mapping[str, str]) -> Allowance | None:
    """Reads `x-ratelimit-{remaining,reset,limit}-{requests,tokens}`; None where none of it makes sense.

    A reset is a duration ("6m0s", "120ms"), a number of seconds, or a date (RFC 3339, or seconds since 1970), which
    is compared with the server's own `Date` header. What remains is of use only together with its reset.

    >>> allowance_of({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1m0.5s"})
    Allowance(requests=Left(remaining=59.0, reset_s=60.5, limit=None), tokens=None)
    >>> allowance_of({"x-ratelimit-remaining-requests": "many"}) is None
    True
    """
    said = Allowance(_left(headers, "requests"), _left(headers, "tokens"))
    return None if said == NOTHING else said


NOTHING = Allowance()


def _left(headers: Mapping[str, str], kind: str) -> Left | None:
    remaining = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
    if remaining is None:
        return None
    reset_s = _seconds(headers.get(f"x-ratelimit-reset-{kind}"), headers.get("Date"))
    return None if reset_s is None else Left(remaining, reset_s, _number(headers.get(f"x-ratelimit-limit-{kind}")))


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else None


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


class Quota:
    """What one server has left of one kind, requests or tokens, as far as it tells.

    ::

        left(t)  = remaining - sent since the request left whose response says so + refill * (t - its arrival)
        refill   = (limit - remaining) / reset   where what is left was seen to grow before the reset, else 0
        after the reset: left(t) = limit - sent since the reset, until a response says more

    A request of k may go where left >= min(k, limit). In a window that ends, all that remains may go at once, and
    nothing more until the end. In a bucket that fills up, `reset` is the time until it is full, and what drips in may
    go at once, so nothing waits for a full bucket. Where both are possible, it is taken for a window.

    >>> quota = Quota()
    >>> quota.told(100.0, quota.sent(1), Left(remaining=0, reset_s=30, limit=60), refills=False)
    >>> quota.wait_s(110.0, 1), quota.wait_s(130.0, 1)
    (20.0, 0.0)
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self._left: Left | None = None
        self._limit = self._mark = self._told_at = self._refill_per_s = self._period_s = 0.0

    def sent(self, amount: float) -> float:
        """So much goes: a mark to hand back with the response."""
        self.spent += amount
        return self.spent

    def told(self, now: float, mark: float, left: Left, *, refills: bool) -> None:
        """What a response says of itself."""
        self._limit = left.limit or max(self._limit, left.remaining)
        self._period_s = max(self._period_s, left.reset_s)
        self._know(now, mark, left)
        if refills and left.reset_s > 0:
            self._refill_per_s = max(0.0, self._limit - left.remaining) / left.reset_s

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until a request of so much may go."""
        if self._left is None:
            return 0.0
        if now >= self._told_at + self._left.reset_s:
            self._know(now, self.spent, Left(self._limit, self._period_s))
        left = self._left.remaining - (self.spent - self._mark) + self._refill_per_s * (now - self._told_at)
        missing = min(amount, self._limit) - left
        if missing <= 0:
            return 0.0
        until_reset_s = self._told_at + self._left.reset_s - now
        return min(until_reset_s, missing / self._refill_per_s) if self._refill_per_s else until_reset_s

    def _know(self, now: float, mark: float, left: Left) -> None:
        self._told_at, self._mark, self._left, self._refill_per_s = now, mark, left, 0.0


class Quotas:
    """What one server has left of requests and of tokens, and whether its limits fill up or end.

    They fill up where more is left, before the reset, than was left before less what was sent in between. A refusal
    at 0 disproves it for good.

    >>> quotas = Quotas()
    >>> quotas.told(100.0, quotas.sent(500), Allowance(tokens=Left(200, 30.0, 1000)), refused=False)
    >>> quotas.wait_s(101.0, tokens=150), quotas.wait_s(101.0, tokens=500)
    (0.0, 29.0)
    """

    def __init__(self) -> None:
        self._requests, self._tokens = Quota(), Quota()
        self._told = False
        self._refills: bool | None = None
        self._earlier: tuple[float, float, float] | None = None

    def wait_s(self, now: float, tokens: float) -> float:
        """Seconds until a request of so many tokens may go."""
        return max(self._requests.wait_s(now, 1), self._tokens.wait_s(now, tokens)) if self._told else 0.0

    def sent(self, tokens: float) -> tuple[float, float]:
        """A request goes: marks to hand back with its response."""
        return self._requests.sent(1), self._tokens.sent(tokens)

    def told(self, now: float, marks: tuple[float, float], said: Allowance, *, refused: bool) -> None:
        """What a response says; `refused`: it was a refusal."""
        self._told = True
        if said.requests is not None:
            self._watch(now, marks[0], said.requests, refused=refused)
            self._requests.told(now, marks[0], said.requests, refills=bool(self._refills))
        if said.tokens is not None:
            self._tokens.told(now, marks[1], said.tokens, refills=bool(self._refills))

    def _watch(self, now: float, mark: float, left: Left, *, refused: bool) -> None:
        if refused and left.remaining < 1 and self._refills:
            self._refills = False
        if self._earlier is None or now >= self._earlier[2]:
            self._earlier = left.remaining, self._requests.spent, now + left.reset_s - ROUNDED_S
            return
        # Whenever a server reads its counter, these were sent after the one reading and before the other.
        between = mark - self._earlier[1]
        if self._refills is None and left.remaining + between >= self._earlier[0] + REFILL_SEEN:
            self._refills = True
