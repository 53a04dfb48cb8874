"""An endpoint that dies: after so many requests it takes no more, until somebody brings it back."""

from __future__ import annotations


class Life:
    """Whether the endpoint is alive; `fails_after` requests are taken, 0 is no end.

    Brought back it lives for good.

    >>> life = Life(fails_after=1)
    >>> [life.takes_one_more() for _ in range(2)], life.dead
    ([True, False], True)
    """

    def __init__(self, fails_after: int) -> None:
        self._left = fails_after or None
        self.dead = False

    def takes_one_more(self) -> bool:
        """A request came: whether it is taken."""
        if self._left is not None:
            self.dead, self._left = self._left == 0, max(0, self._left - 1)
        return not self.dead

    def revive(self) -> None:
        """It lives, and dies no more."""
        self.dead, self._left = False, None
