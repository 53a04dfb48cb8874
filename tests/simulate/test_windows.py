"""A window of a minute slides: an amount counts for 60 seconds from its own moment, and may be corrected."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.simulate.refusals import retry_after
from nemocc_dask.simulate.windows import WINDOW_S, Window, spelled


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(0, 9)), max_size=20)
"""Seconds that pass, an amount that is added then, and what it is corrected to at the end."""


MOMENT_S = 2.0**-10
"""A short time that adds up without rounding."""


@given(STEPS)
def test_a_window_counts_what_was_added_within_it(steps: list[tuple[int, int, int]]) -> None:
    """At every moment it counts the sum of the last 60 seconds, and its peak is the most it ever counted."""
    clock = Clock()
    window, added, sums = Window(0, clock), [], [0]
    for passed, amount, _ in steps:
        clock.now += passed
        window.add(amount)
        added.append((clock.now, amount))
        sums.append(sum(one for moment, one in added if moment > clock.now - WINDOW_S))
        assert window.counted() == sums[-1]
    assert window.peak == max(sums)


@given(STEPS)
def test_a_correction_counts_in_place_of_what_was_added(steps: list[tuple[int, int, int]]) -> None:
    """A corrected amount counts from its old moment on; one that counts no longer changes nothing."""
    clock = Clock()
    window, added = Window(0, clock), []
    for passed, amount, corrected in steps:
        clock.now += passed
        added.append((clock.now, window.add(amount), corrected))
    for _, place, corrected in added:
        window.correct(place, corrected)
    assert window.counted() == sum(one for moment, _, one in added if moment > clock.now - WINDOW_S)


@given(STEPS, st.integers(1, 30))
def test_who_waits_as_told_gets_in_and_not_before(steps: list[tuple[int, int, int]], amount: int) -> None:
    """The wait is the shortest after which an amount fits below the limit."""
    clock = Clock()
    window = Window(30, clock)
    for passed, one, _ in steps:
        clock.now += passed
        window.add(one)
    wait_s = window.wait_s(amount)
    assert (wait_s == 0) == (window.counted() + amount <= 30)
    clock.now += wait_s - MOMENT_S
    assert not wait_s or window.counted() + amount > 30
    clock.now += MOMENT_S
    assert window.counted() + amount <= 30


def test_what_is_over_the_limit_by_itself_waits_a_window() -> None:
    """More than the limit never fits; without a limit all fits."""
    assert Window(30, Clock()).wait_s(31) == WINDOW_S
    assert Window(0, Clock()).wait_s(10**9) == 0


def test_headers_say_what_is_left_and_when_all_is() -> None:
    """Limit, what is left of it, and the time until the last that counts has left, in OpenAI's spelling."""
    clock = Clock()
    window = Window(10, clock)
    for moment, amount in ((0.0, 3), (20.0, 4)):
        clock.now = moment
        window.add(amount)
    assert window.headers("tokens")["x-ratelimit-reset-tokens"] == "1m0s"
    clock.now = 78.5
    assert window.headers("tokens") == {
        "x-ratelimit-limit-tokens": "10",
        "x-ratelimit-remaining-tokens": "6",
        "x-ratelimit-reset-tokens": "1.5s",
    }
    clock.now = 79.88
    assert window.headers("requests")["x-ratelimit-reset-requests"] == "120ms"
    assert Window(0, clock).headers("tokens") == {}


@given(st.floats(0, 10_000))
def test_a_duration_can_be_read_back(seconds: float) -> None:
    """What is spelled adds up to the duration, rounded up to milliseconds."""
    units = {"m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"([\d.]+)(ms|m|s)", spelled(seconds))
    read = sum(float(number) * units[unit] for number, unit in parts)
    assert "".join(number + unit for number, unit in parts) == spelled(seconds)
    assert seconds - 1e-6 <= read <= seconds + 0.001 + 1e-6


@pytest.mark.parametrize(
    ("form", "known", "unknown"),
    [
        ("limits", {"Retry-After": "13"}, {}),
        ("none", {}, {}),
        ("seconds", {"Retry-After": "13"}, {"Retry-After": "1"}),
        ("date", {"Retry-After": "Thu, 01 Jan 1970 00:01:53 GMT"}, {"Retry-After": "Thu, 01 Jan 1970 00:01:42 GMT"}),
    ],
)
def test_when_to_come_again_is_said_in_each_form(form: str, known: dict[str, str], unknown: dict[str, str]) -> None:
    """Whole seconds or a date, rounded up; by default only by a limit that knows it."""
    assert retry_after(form, 12.3, 100.5) == known
    assert retry_after(form, None, 100.5) == unknown
