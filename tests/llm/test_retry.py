"""The pure policy of retries."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.llm.retry import (
    EXCEPTIONS,
    Trouble,
    backoff_s,
    is_retryable,
    next_wait_s,
    retries_allowed,
    retry_after_s,
    trouble_of,
)
from nemocc_dask.settings import Endpoint

ENDPOINT = Endpoint(base_url="http://h/v1", model="m", base_delay=0.5, max_delay=20, max_retries=4, retry_for=100)
NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


def test_what_is_retried_is_a_table():
    """Exactly the statuses that pass with time are retried."""
    assert {status for status in range(100, 600) if is_retryable(status)} == {
        408, 409, 425, 429, 500, 502, 503, 504, 529,
    }  # fmt: skip


@given(st.integers(0, 5000), st.integers())
def test_back_off_is_full_jitter(attempt, seed):
    """The wait lies between 0 and base_delay doubled for each attempt, never above max_delay."""
    wait = backoff_s(attempt, ENDPOINT, random.Random(seed))
    assert 0 <= wait <= min(20, 0.5 * 2 ** min(attempt, 10))


def test_back_off_spreads_over_its_range():
    """The jitter is uniform: a thousand waits have half the bound as their mean."""
    rng = random.Random(0)
    waits = [backoff_s(3, ENDPOINT, rng) for _ in range(1000)]
    assert 1.9 < sum(waits) / 1000 < 2.1 and max(waits) > 3.9 and min(waits) < 0.1


@given(st.integers(0, 10), st.floats(0, 200), st.none() | st.floats(0, 200), st.integers())
def test_retries_end_by_count_and_by_time(attempt, elapsed_s, asked_s, seed):
    """No wait follows the last retry, ends after retry_for, or is shorter than the endpoint asked."""
    wait = next_wait_s(Trouble("http_429", 429, "", asked_s), attempt, elapsed_s, ENDPOINT, random.Random(seed))
    if wait is None:
        assert attempt >= 4 or elapsed_s + (asked_s or 0) + 0.5 * 2**attempt > 100
    else:
        assert attempt < 4 and elapsed_s + wait <= 100 and wait >= (asked_s or 0)


@pytest.mark.parametrize(
    ("reason", "status", "retries"),
    [
        ("http_503", 503, 4),
        ("timeout", None, 4),
        ("connection", None, 4),
        ("bad_body", 200, 4),
        ("no_choices", 200, 1),
        ("http_400", 400, 0),
        ("http_422", 422, 0),
        ("http_413", 413, 0),
        ("http_204", 204, 0),
    ],
)
def test_each_reason_has_its_retries(reason, status, retries):
    """What passes is tried again up to the limit, an empty list of choices once, the rest never."""
    assert retries_allowed(Trouble(reason, status, "failed to generate: rate limit 429 timeout"), 4) == retries


@pytest.mark.parametrize("header", ["", "soon", "-1", "nan", "inf", "1e999", "Wed, 99 Oct 2026", "0x10", "\x00"])
def test_a_retry_after_without_sense_is_ignored(header):
    """A header that is neither seconds nor a date asks for nothing."""
    assert retry_after_s(header, NOW) is None


def test_retry_after_knows_both_forms():
    """Seconds and dates are read; a date that has passed asks for no wait; a naive date is UTC."""
    later = NOW + timedelta(seconds=90)
    assert retry_after_s("120", NOW) == 120
    assert retry_after_s(format_datetime(later, usegmt=True), NOW) == 90
    assert retry_after_s("Wed, 21 Oct 2026 07:29:30 -0000", NOW) == 90
    assert retry_after_s(format_datetime(NOW - timedelta(hours=1), usegmt=True), NOW) == 0


def test_subclasses_stand_before_their_parents():
    """In the table of exceptions no row hides a later one."""
    kinds = [kind for kind, _, _ in EXCEPTIONS]
    assert not [(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :] if issubclass(b, a)]


def test_exceptions_are_told_apart_by_type():
    """The wording of an exception has no influence."""
    assert trouble_of(aiohttp.ServerDisconnectedError("timeout 429")).reason == "connection"
    assert trouble_of(aiohttp.ConnectionTimeoutError()).sent is False
    assert trouble_of(aiohttp.SocketTimeoutError()).reason == "timeout"
    assert trouble_of(aiohttp.ClientPayloadError("x")).sent is True
    assert trouble_of(ConnectionResetError()).reason == "connection"
