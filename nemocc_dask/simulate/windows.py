"""What was counted in the last minute, and how OpenAI's headers say it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

WINDOW_S = 60.0


class Window:
    """What counts at a moment: each amount from when it was added until `WINDOW_S` later, so the window slides.

    limit: the most that may count at any moment; 0 is no limit. clock: seconds that go by. `peak` is the most that
    ever counted, as it was added.

    >>> window = Window(10, clock=lambda: 5.0)
    >>> window.wait_s(7), window.add(7), window.wait_s(4), window.counted(), window.peak
    (0.0, 0, 60.0, 7, 7)
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit, self._clock = limit, clock
        self.peak = self._total = self._forgotten = 0
        self._moments: deque[float] = deque()
        self._amounts: deque[int] = deque()

    def counted(self) -> int:
        """What counts now."""
        self._slide()
        return self._total

    def add(self, amount: int) -> int:
        """Counts an amount, whatever the limit; returns its place, for a correction."""
        self._moments.append(self._slide())
        self._amounts.append(amount)
        self._total += amount
        self.peak = max(self.peak, self._total)
        return self._forgotten + len(self._amounts) - 1

    def correct(self, place: int, amount: int) -> None:
        """Counts another amount at that place, if it still counts."""
        at = place - self._forgotten
        if at >= 0:
            self._total += amount - self._amounts[at]
            self._amounts[at] = amount

    def wait_s(self, amount: int) -> float:
        """Seconds until so much more may count, 0 for now; what is over the limit by itself waits a whole window."""
        if not self.limit:
            return 0.0
        now = self._slide()
        over = self._total + amount - self.limit
        if over <= 0:
            return 0.0
        for moment, counts in zip(self._moments, self._amounts, strict=True):
            over -= counts
            if over <= 0:
                return moment + WINDOW_S - now
        return WINDOW_S

    def headers(self, unit: str) -> dict[str, str]:
        """What OpenAI's servers say of a limit on each answer, by the unit they count; nothing without a limit.

        The reset is when nothing would count any more, if nothing came.

        >>> Window(10, clock=lambda: 5.0).headers("tokens")["x-ratelimit-reset-tokens"]
        '0s'
        """
        if not self.limit:
            return {}
        now = self._slide()
        reset_s = self._moments[-1] + WINDOW_S - now if self._moments else 0.0
        return {
            f"x-ratelimit-limit-{unit}": str(self.limit),
            f"x-ratelimit-remaining-{unit}": str(max(0, self.limit - self._total)),
            f"x-ratelimit-reset-{unit}": spelled(reset_s),
        }

    def _slide(self) -> float:
        """Forgets what counts no longer; returns the present moment."""
        now = self._clock()
        while self._moments and self._moments[0] + WINDOW_S <= now:
            self._moments.popleft()
            self._total -= self._amounts.popleft()
            self._forgotten += 1
        return now


def spelled(seconds: float) -> str:
    """A duration as OpenAI's headers have it, rounded up to milliseconds.

    >>> spelled(0.12), spelled(1), spelled(8.64), spelled(360), spelled(0)
    ('120ms', '1s', '8.64s', '6m0s', '0s')
    """
    milliseconds = math.ceil(round(1000 * seconds, 6))
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
