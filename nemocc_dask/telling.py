"""What the partitions of a chain tell while they are computed: rows there are, and what has come of them.

On a Dask worker it goes to whoever has subscribed to a topic, elsewhere to listeners in this process.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from nemocc_dask.llm import Results, counts_in

TOPIC = "nemocc-chain"
"""Topic of the worker events: {"part": number of a partition, "counts": {name: n since the last event}}."""

TELL_EVERY_S = 0.5

DONE = "partitions_done"

Listener = Callable[[int, Mapping[str, int]], None]

_listeners: tuple[Listener, ...] = ()
_lock = threading.Lock()


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Has a function hear what partitions of this process tell while the block runs, on threads of theirs."""
    global _listeners
    with _lock:
        _listeners = (*_listeners, listener)
    try:
        yield
    finally:
        with _lock:
            _listeners = tuple(each for each in _listeners if each is not listener)


class Teller:
    """Tells what comes in for one partition, now and then, and all of it by the end of a `with` block.

    worker: the Dask worker that works on it; None where there is none. A partition without rows tells nothing.

    >>> with heard_by(lambda part, counts: print(counts)), Teller(None) as teller:
    ...     teller.prepared(3)
    {'rows': 3, 'partitions_done': 1}
    """

    def __init__(self, worker: Any | None) -> None:
        self._worker = worker
        self._part = uuid.uuid4().int >> 80  # no number of Dask's: a chain may ask in several of its links
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._has_rows = False
        self._told_at = time.monotonic()

    def prepared(self, rows: int) -> None:
        """So many more answers are to come."""
        self._has_rows |= rows > 0
        self._add({"rows": rows})

    def came(self, results: Results) -> None:
        """What one request came to."""
        self._add(counts_in(results))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._counts[DONE] += 1
        self._tell()

    def _add(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            self._counts.update(counts)
            is_time = time.monotonic() - self._told_at > TELL_EVERY_S
        if is_time:
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
            self._told_at = time.monotonic()
        if not (self._has_rows and counts):
            return
        if self._worker is not None:
            self._worker.log_event(TOPIC, {"part": self._part, "counts": counts})
            return
        for listener in _listeners:
            listener(self._part, counts)
