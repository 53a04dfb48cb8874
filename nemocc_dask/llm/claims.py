"""Which answers a process is about to get, so that rows which ask the same wait for one request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from nemocc_dask.llm.results import Answer, Failure

Waiter = Callable[[Answer | Failure | None], None]
"""Called with what a claimed request came to; None where whoever had claimed it gave up."""


class Claims:
    """Keys that somebody has undertaken to ask for. May be used from any thread.

    Claim first, then look into the store, and settle only after the answer is stored: then no order of events lets two
    ask for the same.

    >>> claims, told = Claims(), []
    >>> claims.take("k", told.append), claims.take("k", told.append)
    (True, False)
    >>> claims.settle("k", None)
    >>> told
    [None]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[str, list[Waiter] | None] = {}

    def take(self, key: str, waiter: Waiter) -> bool:
        """True where the key is the caller's to ask for now; otherwise `waiter` is called when it is settled."""
        with self._lock:
            if key not in self._waiters:
                self._waiters[key] = None
                return True
            others = self._waiters[key]
            self._waiters[key] = [*(others or ()), waiter]
            return False

    def settle(self, key: str, result: Answer | Failure | None) -> None:
        """Frees a key, and tells whoever waits for it; does nothing for a key that nobody has claimed."""
        with self._lock:
            waiters = self._waiters.pop(key, None)
        for waiter in waiters or ():
            waiter(result)

    def give_up(self, keys: Iterable[str]) -> None:
        """Frees keys whose requests will not be sent."""
        for key in keys:
            self.settle(key, None)
