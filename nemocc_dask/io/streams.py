"""What can only be read from the front is kept open from one part to the next: it need not be begun anew for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Taken = TypeVar("Taken", covariant=True)

MOST_IDLE = 4
"""Streams that a process keeps open while nobody reads from them; each holds a few megabytes."""

_LOCKS = 64


class Stream(Protocol[Taken]):
    """Something read from the front, by ranges of rows or of bytes."""

    @property
    def at(self) -> int:
        """What lies before this cannot be had any more."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left."""

    def take(self, start: int, stop: int) -> Taken:
        """What is in a range that does not begin before `at`; what lies between is passed over."""

    def close(self) -> None:
        """Let go of the file."""


class Streams:
    """The streams of a process that wait for somebody to go on where the last one stopped.

    Of the same content, one thread at a time reads, and the next goes on with the same stream. Parts that are asked for
    in rising order are therefore read once in all; who asks for something that has gone by opens a stream of his own.

    most_idle: so many are kept open; of more, those that were left first are closed.
    """

    def __init__(self, most_idle: int = MOST_IDLE) -> None:
        self._most_idle = most_idle
        self._idle: list[tuple[Hashable, Stream[Any]]] = []  # the one that was left last is the last
        self._lock = threading.Lock()
        self._one_at_a_time = [threading.Lock() for _ in range(_LOCKS)]

    def take(self, key: Hashable, opened: Callable[[], Stream[Taken]], start: int, stop: int) -> Taken:
        """What the content of that name has in a range; raises what opening and reading raise.

        key: says what is read, down to the version of the file. opened: a new stream of it, at its front.

        >>> class Letters:
        ...     at, is_over = 0, False
        ...     def take(self, start, stop):
        ...         self.at = stop
        ...         return "abcdef"[start:stop]
        ...     def close(self):
        ...         print("closed")
        >>> streams = Streams()
        >>> streams.take("letters", Letters, 1, 3), streams.take("letters", Letters, 3, 5)
        ('bc', 'de')
        >>> streams.close()
        closed
        """
        with self._one_at_a_time[hash(key) % _LOCKS]:
            stream = self._borrowed(key, start) or opened()
            try:
                taken = stream.take(start, stop)
                is_over = stream.is_over
            except BaseException:
                stream.close()
                raise
            self._give_back(key, stream, is_over=is_over)
            return taken

    def close(self) -> None:
        """Close what nobody reads from; whoever comes later opens anew."""
        with self._lock:
            left, self._idle = self._idle, []
        _close(left)

    def __len__(self) -> int:
        """How many are open and idle."""
        return len(self._idle)

    def _borrowed(self, key: Hashable, start: int) -> Stream[Any] | None:
        """The stream that has the least to pass over."""
        with self._lock:
            fitting = [entry for entry in self._idle if entry[0] == key and entry[1].at <= start]
            nearest = max(fitting, key=lambda entry: entry[1].at, default=None)
            if nearest is None:
                return None
            self._idle.remove(nearest)
        return nearest[1]

    def _give_back(self, key: Hashable, stream: Stream[Any], *, is_over: bool) -> None:
        if is_over:
            stream.close()
            return
        with self._lock:
            self._idle.append((key, stream))
            too_many, self._idle = self._idle[: -self._most_idle], self._idle[-self._most_idle :]
        _close(too_many)


def _close(entries: list[tuple[Hashable, Stream[Any]]]) -> None:
    for _, stream in entries:
        stream.close()


STREAMS = Streams()
"""Those of this process."""


def close_streams() -> None:
    """Close the files that this process has kept open between parts, when no more parts are to come."""
    STREAMS.close()


@contextmanager
def closing_streams() -> Iterator[None]:
    """Close them when the block is left."""
    try:
        yield
    finally:
        close_streams()
