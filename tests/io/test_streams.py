"""Streams that are kept open between parts: one pass for parts in order, right answers in any order, none left open."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.io.streams import Streams

LETTERS = "".join(chr(0x4E00 + number) for number in range(200))


class Shelf:
    """Opens streams over the letters, and keeps count of them."""

    def __init__(self, breaks_at: int = len(LETTERS)) -> None:
        self.opened: list[Letters] = []
        self.breaks_at = breaks_at

    def open(self) -> Letters:
        self.opened.append(Letters(self.breaks_at))
        return self.opened[-1]

    @property
    def read(self) -> int:
        """Letters that were read or passed over, by all streams."""
        return sum(letters.at for letters in self.opened)

    @property
    def left_open(self) -> int:
        return sum(not letters.is_closed for letters in self.opened)


class Letters:
    def __init__(self, breaks_at: int) -> None:
        self.at, self.is_closed, self._breaks_at = 0, False, breaks_at
        self.is_asked, self.goes_on = threading.Event(), threading.Event()
        self.goes_on.set()

    @property
    def is_over(self) -> bool:
        return self.at >= len(LETTERS)

    def take(self, start: int, stop: int) -> str:
        assert self.at <= start and not self.is_closed
        if stop > self._breaks_at:
            raise OSError("torn")
        if not self.goes_on.is_set():
            self.is_asked.set()
            assert self.goes_on.wait(5)
        self.at = stop
        return LETTERS[start:stop]

    def close(self) -> None:
        self.is_closed = True


def spans(size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, len(LETTERS))) for start in range(0, len(LETTERS), size)]


def test_parts_in_order_take_one_pass():
    """Parts in rising order are read by one stream, each letter once, which is closed at the end of its content."""
    shelf, streams = Shelf(), Streams()
    taken = [streams.take("letters", shelf.open, *span) for span in spans(7)]
    assert "".join(taken) == LETTERS
    assert (len(shelf.opened), shelf.read, shelf.left_open, len(streams)) == (1, len(LETTERS), 0, 0)


def test_what_others_have_taken_is_passed_over():
    """Where other processes take parts between, the stream passes over theirs and goes on: it is not begun anew."""
    shelf, streams = Shelf(), Streams()
    taken = [streams.take("letters", shelf.open, *span) for span in spans(7)[::3]]
    assert taken == [LETTERS[slice(*span)] for span in spans(7)[::3]]
    assert len(shelf.opened) == 1 and shelf.read <= len(LETTERS)


def test_threads_share_a_stream():
    """Who asks for the next part while another thread still reads waits for its stream, and opens none of his own."""
    shelf, streams = Shelf(), Streams()
    streams.take("letters", shelf.open, 0, 5)
    [letters] = shelf.opened
    letters.goes_on.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(streams.take, "letters", shelf.open, 5, 10)
        assert letters.is_asked.wait(5)
        second = threads.submit(streams.take, "letters", shelf.open, 10, 15)
        with pytest.raises(TimeoutError):
            second.result(0.1)
        letters.goes_on.set()
        assert first.result() + second.result() == LETTERS[5:15]
    assert len(shelf.opened) == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 50), st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_order_from_any_thread(size: int, shuffled: random.Random, threads: int) -> None:
    """Whatever the order of parts and the number of threads, each part is right, and after `close` nothing is open."""
    shelf, streams = Shelf(), Streams(most_idle=2)
    wanted = spans(size)
    shuffled.shuffle(wanted)
    with ThreadPoolExecutor(threads) as pool:
        taken = list(pool.map(lambda span: streams.take("letters", shelf.open, *span), wanted))
    assert taken == [LETTERS[slice(*span)] for span in wanted]
    assert len(streams) <= 2 and shelf.left_open == len(streams)
    streams.close()
    assert shelf.left_open == 0


def test_contents_are_not_mixed_up():
    """A stream serves only those who ask for its content: another file, or another version of it, is opened itself."""
    one, other, streams = Shelf(), Shelf(), Streams()
    streams.take(("a", "yesterday"), one.open, 0, 5)
    streams.take(("a", "today"), other.open, 5, 10)
    assert (one.read, other.read) == (5, 10)


def test_no_more_are_kept_open_than_told():
    """Of more streams than may be idle, the one that was left first is closed."""
    shelves, streams = [Shelf() for _ in range(3)], Streams(most_idle=2)
    for shelf in shelves:
        streams.take(shelf, shelf.open, 0, 5)
    assert [shelf.left_open for shelf in shelves] == [0, 1, 1]


def test_a_stream_that_breaks_is_closed():
    """What reading raises is raised, its stream is closed, and the next part gets a new one."""
    shelf, streams = Shelf(breaks_at=10), Streams()
    streams.take("letters", shelf.open, 0, 5)
    with pytest.raises(OSError, match="torn"):
        streams.take("letters", shelf.open, 5, 15)
    assert shelf.left_open == 0
    assert streams.take("letters", shelf.open, 5, 10) == LETTERS[5:10]
