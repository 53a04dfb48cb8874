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


class Pace:
    """Requests a minute, sent evenly.

    ::

        burst     b = between 1 and 10 requests, a second's worth
        interval  T = 61 s / (limit - b + 1)
        a request may go where tat <= now + (b - 1) T; then tat = max(now, tat) + T

    At most floor(60.5 s / T) + b <= limit go in any 60.5 s, so no 60 s of arrivals, half a second early or late, hold
    more; and 60 s / T >= 95 % of the limit are used.

    >>> pace = Pace(60)
    >>> pace.take(100.0)
    >>> round(pace.wait_s(100.0), 3)
    1.017
    """

    def __init__(self, per_minute: int | None) -> None:
        self._free_at = -math.inf
        self.adopt(per_minute)

    def adopt(self, per_minute: int | None) -> None:
        """Takes another limit; what went before counts."""
        if per_minute is None:
            self._interval_s = self._ahead_s = 0.0
            return
        burst = max(1, min(LARGEST_BURST, per_minute // 60))
        self._interval_s = WINDOW_S / (per_minute - burst + 1)
        self._ahead_s = (burst - 1) * self._interval_s

    def wait_s(self, now: float) -> float:
        """Seconds until a request may go."""
        wait_s = self._free_at - self._ahead_s - now
        return wait_s if self._interval_s and wait_s > ROUNDING_S else 0.0

    def take(self, now: float) -> None:
        """A request goes."""
        if self._interval_s:
            self._free_at = max(now, self._free_at) + self._interval_s


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
        self._ratio = 1.0
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

    def wait_s(self, now: float) -> float:
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
        charge = estimate * self._ratio
        self._unsure += estimate - charge
        if self._per_minute is not None:
            self._fill(now)
            self._level -= charge
        return charge

    def settle(self, now: float, estimate: int, charge: float, billed: int | None, *, refused: bool = False) -> None:
        """What a request took; None: nobody knows. `refused`: nothing, the server was too busy."""
        if billed is not None and estimate > 0:
            self._ratio += NEWEST_ANSWER * (billed / estimate - self._ratio)
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
