"""A rate limit: a bucket that holds a second's worth of requests and fills up again evenly."""

from __future__ import annotations

import math
from collections.abc import Callable


class Throttle:
    """Lets `rate_per_s` requests a second pass, and as many at once after a quiet second; 0 lets all pass."""

    def __init__(self, rate_per_s: float, clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate_per_s, clock
        self._holds = max(1.0, rate_per_s)
        self._level, self._filled_at = self._holds, clock()

    def wait_s(self) -> int:
        """0 where the request may pass; otherwise whole seconds until another one could (Retry-After)."""
        if not self._rate:
            return 0
        now = self._clock()
        self._level = min(self._holds, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._level >= 1:
            self._level -= 1
            return 0
        return math.ceil((1 - self._level) / self._rate)
