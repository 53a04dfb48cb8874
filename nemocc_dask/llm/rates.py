"""How many requests and tokens a minute may go: what the user allows, whatever the server says."""

from __future__ import annotations

import math

WINDOW_S = 61.0
"""A server's minute, and a second of leeway: what was sent evenly does not arrive evenly."""
ROUNDING_S = 1e-9
LARGEST_BURST = 10
"""Most requests sent in one moment."""
TOKENS_KEPT_BACK = 0.03
"""Share of the tokens a minute that is not used: they are known only when they have been billed."""
NEWEST_ANSWER = 0.05
"""Weight of the newest answer in what is expected of the next one."""
SHORT_FOR_S = 1.0
"""A refusal so soon after tokens were short is taken to be for the want of tokens."""


class Ratio:
    """What requests take in proportion to what was estimated: a moving average of billed / estimate, 1 at first.

    >>> ratio = Ratio()
    >>> ratio.learn(100, 50)
    >>> round(ratio.of(200))
    195
    """

    def __init__(self) -> None:
        self._ratio = 1.0

    def of(self, estimate: int) -> float:
        """What a request of such an estimate is expected to take."""
        return estimate * self._ratio

    def learn(self, estimate: int, billed: int | None) -> None:
        """What one took; None: nobody knows."""
        if billed is not None and estimate > 0:
            self._ratio += NEWEST_ANSWER * (billed / estimate - self._ratio)


class Pace:
    """Requests a minute, sent evenly.

    ::

        burst     b = between 1 and 10 requests, a second's worth
        interval  T = 61 s / (limit - b + 1)
        a request may go where tat <= now + (b - 1) T; then tat = max(now, tat) + T

    At most floor(60.5 s / T) + b <= limit go in any 60.5 s, so no 60 s of arrivals, half a second early or late, hold
    more; and 60 s / T >= 95 % of the limit are used.

    largest_burst, window_s: other numbers than 10 requests and 61 s, where what is allowed goes a little later. late_s:
    seconds by which a request may be late without those after it being later, too.

    >>> pace = Pace(60)
    >>> pace.take(100.0)
    >>> round(pace.wait_s(100.0), 3)
    1.017
    """

    def __init__(
        self,
        per_minute: int | None,
        *,
        largest_burst: float = LARGEST_BURST,
        window_s: float = WINDOW_S,
        late_s: float = 0.0,
    ) -> None:
        self._late_s = late_s
        self._largest_burst, self._window_s = largest_burst, window_s
        self._free_at = -math.inf
        self.adopt(per_minute)

    def adopt(self, per_minute: int | None) -> None:
        """Takes another limit; what went before counts."""
        if per_minute is None:
            self._interval_s = self._ahead_s = 0.0
            return
        burst = max(1, min(self._largest_burst, per_minute // 60))
        self._interval_s = self._window_s / (per_minute - burst + 1)
        self._ahead_s = (burst - 1) * self._interval_s

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go."""
        wait_s = self._free_at - self._ahead_s - now
        return wait_s if self._interval_s and wait_s > ROUNDING_S else 0.0

    def take(self, now: float, requests: int = 1) -> None:
        """A request goes, or several."""
        if self._interval_s:
            self._free_at = max(now - self._late_s, self._free_at) + requests * self._interval_s

    def room(self, now: float) -> int:
        """How many requests may go at once; only where there is a limit."""
        return max(0, 1 + math.floor((now + self._ahead_s - max(now, self._free_at)) / self._interval_s + ROUNDING_S))


class TokenBudget:
    """Tokens a minute, of prompts and answers together.

    ::

        a request may go where level > 0; then level -= charge, so one may overdraw it, and the next one waits
        charge   = estimate * ratio, ratio = moving average of billed / estimate, 1 at first
        settled  : level += charge - billed, once that is known; all of the charge where the server was too busy
        refill   : 97 % of the limit a minute, up to a second's worth

    Some servers count what an answer may take until they know what it took. So where one refuses a request soon after
    tokens were short here, what is under way counts with its whole estimate from then on:

    ::

        refill  *= 1 - (sum of estimate - charge under way) / limit, 1/5 at least

    >>> budget = TokenBudget(60_000)
    >>> budget.take(0.0, 2_000), round(budget.wait_s(0.0), 2)
    (2000.0, 1.06)
    """

    def __init__(self, per_minute: int | None) -> None:
        self._ratio = Ratio()
        self._filled_at = -math.inf
        self._level = 0.0
        self._unsure = 0.0
        self._short_at = -math.inf
        self._strict = False
        self.adopt(per_minute)

    def adopt(self, per_minute: int | None) -> None:
        """Takes another limit; debts stay."""
        self._per_minute = per_minute
        self._per_s = (per_minute or 0) * (1 - TOKENS_KEPT_BACK) / 60

    def wait_s(self, now: float, estimate: int = 0) -> float:  # noqa: ARG002 - any may go, where one may
        """Seconds until a request may go."""
        if self._per_minute is None:
            return 0.0
        per_s = self._fill(now)
        if self._level > 0:
            return 0.0
        self._short_at = now
        return (1 - self._level) / per_s

    def take(self, now: float, estimate: int) -> float:
        """A request goes, of so many tokens at most: what it is charged with."""
        charge = self._ratio.of(estimate)
        self._unsure += estimate - charge
        if self._per_minute is not None:
            self._fill(now)
            self._level -= charge
        return charge

    def settle(self, now: float, estimate: int, charge: float, billed: int | None, *, refused: bool = False) -> None:
        """What a request took; None: nobody knows. `refused`: nothing, the server was too busy."""
        self._ratio.learn(estimate, billed)
        self._unsure -= estimate - charge
        if self._per_minute is not None:
            self._level += charge if refused else charge - billed if billed is not None else 0.0
            self._strict |= refused and now - self._short_at < SHORT_FOR_S

    def _fill(self, now: float) -> float:
        """Fills up to now; returns tokens a second."""
        assert self._per_minute is not None
        kept_back = self._unsure / self._per_minute if self._strict else 0.0
        per_s = self._per_s * max(0.2, min(1.0, 1 - kept_back))
        if now > self._filled_at:
            self._level = min(self._per_s, self._level + (now - self._filled_at) * per_s)
            self._filled_at = now
        return per_s


class Reservoir:
    """Tokens a minute that are handed out to several processes, each of which settles what it was given.

    ::

        refill : 97 % of the limit a minute, up to a second's worth
        strict : refill *= 1 - unsure / limit, 1/5 at least; see `TokenBudget`

    >>> reservoir = Reservoir(60_000)
    >>> reservoir.fill(0.0), reservoir.take(970), round(reservoir.fill(0.5))
    (970.0, None, 485)
    """

    def __init__(self, per_minute: int | None) -> None:
        self.is_limited = per_minute is not None
        self._per_minute = per_minute or 1
        self._per_s = self._per_minute * (1 - TOKENS_KEPT_BACK) / 60
        self._level, self._filled_at, self._short_at = 0.0, -math.inf, -math.inf
        self._strict = False

    def fill(self, now: float, unsure: float = 0.0) -> float:
        """Fills up to now, and returns what is there; below zero where it was overdrawn.

        unsure: tokens under way that a strict server would count.
        """
        kept_back = unsure / self._per_minute if self._strict else 0.0
        per_s = self._per_s * max(0.2, min(1.0, 1 - kept_back))
        if now > self._filled_at:
            self._level = min(self._per_s, self._level + (now - self._filled_at) * per_s)
            self._filled_at = now
        if self._level <= 0:
            self._short_at = now
        return self._level

    def take(self, tokens: float) -> None:
        """So many go; a number below zero brings some back."""
        self._level -= tokens

    def refused(self, now: float) -> None:
        """A server has turned a request away."""
        self._strict |= now - self._short_at < SHORT_FOR_S
