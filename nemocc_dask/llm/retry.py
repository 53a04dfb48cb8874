"""What may be tried again, and when: tables and pure functions, which read types and numbers, never words."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from nemocc_dask.settings import Endpoint

RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that pass with time. 529 is what some endpoints say when they are overloaded."""

RETRYABLE_REASONS = frozenset({"timeout", "connection", "bad_body"})
"""Attempts that came to no status, or to a body that was damaged on its way."""

NO_CHOICES_RETRIES = 1
"""A well-formed response without choices was most likely meant so, and has been paid for: one more try."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why one attempt brought no answer.

    reason, status, detail: as in `Failure`, the detail not yet cut and scrubbed.
    retry_after_s: seconds the endpoint asked to be left alone for; None where it did not ask.
    sent: whether the request went over the wire.
    amended: whether the request will be sent otherwise the next time, so that it need not meet this again.
    perhaps_too_many: whether it may be the number of answers alone that the endpoint refuses.
    """

    reason: str
    status: int | None
    detail: str
    retry_after_s: float | None = None
    sent: bool = True
    amended: bool = False
    perhaps_too_many: bool = False


EXCEPTIONS: tuple[tuple[type[Exception], str, bool], ...] = (
    (aiohttp.ConnectionTimeoutError, "connection", False),
    (aiohttp.ClientConnectorError, "connection", False),
    (aiohttp.ClientHttpProxyError, "connection", False),
    (TimeoutError, "timeout", True),
    (aiohttp.ClientResponseError, "bad_body", True),
    (aiohttp.ClientError, "connection", True),
    (OSError, "connection", True),
)
"""(exception, reason, whether it was sent), the first that fits: subclasses stand before their parents."""

FOREIGN_ERRORS = (aiohttp.ClientError, OSError)
"""What a request may raise; everything else is a defect of ours and is let through."""


def trouble_of(error: Exception) -> Trouble:
    """Translates an exception of aiohttp or of the system by its type.

    >>> trouble_of(TimeoutError()).reason, trouble_of(aiohttp.ServerDisconnectedError()).reason
    ('timeout', 'connection')
    """
    reason, sent = next((reason, sent) for kind, reason, sent in EXCEPTIONS if isinstance(error, kind))
    words = str(error)
    return Trouble(reason, None, f"{type(error).__name__}: {words}" if words else type(error).__name__, sent=sent)


def is_retryable(status: int | None) -> bool:
    """Whether a request answered with this status may be sent again as it is.

    >>> is_retryable(503), is_retryable(400), is_retryable(None)
    (True, False, False)
    """
    return status in RETRYABLE_STATUSES


def retries_allowed(trouble: Trouble, max_retries: int) -> int:
    """How many times a request that met this trouble may be sent again, counted from its first attempt.

    >>> retries_allowed(Trouble("http_503", 503, ""), 5), retries_allowed(Trouble("no_choices", 200, ""), 5)
    (5, 1)
    """
    if trouble.reason in RETRYABLE_REASONS or is_retryable(trouble.status):
        return max_retries
    return min(NO_CHOICES_RETRIES, max_retries) if trouble.reason == "no_choices" else 0


def backoff_s(attempt: int, endpoint: Endpoint, rng: random.Random) -> float:
    """Seconds to wait after attempt number `attempt` (from 0), with full jitter.

    ::

        uniform(0, min(max_delay, base_delay * 2 ** attempt))

    >>> endpoint = Endpoint(base_url="http://h/v1", model="m", base_delay=1, max_delay=60)
    >>> all(0 <= backoff_s(3, endpoint, random.Random(i)) <= 8 for i in range(100))
    True
    """
    # 2.0 ** 1024 does not exist; any max_delay is reached long before 2 ** 64 of any base_delay.
    return rng.uniform(0, min(endpoint.max_delay, endpoint.base_delay * 2.0 ** min(attempt, 64)))


def next_wait_s(
    trouble: Trouble, attempt: int, elapsed_s: float, endpoint: Endpoint, rng: random.Random
) -> float | None:
    """Seconds until the request is sent again after attempt number `attempt` (from 0); None gives it up.

    ::

        wait = retry_after_s (0 where none was asked for) + backoff_s(attempt)

    The back-off is added, not the larger of the two taken, so that requests turned away together do not
    return together. Given up: trouble that does not pass, `attempt` beyond the retries allowed, `elapsed_s +
    wait` beyond `retry_for` (elapsed_s: seconds since the first attempt began).
    """
    if attempt >= retries_allowed(trouble, endpoint.max_retries):
        return None
    wait = (trouble.retry_after_s or 0.0) + backoff_s(attempt, endpoint, rng)
    return wait if elapsed_s + wait <= endpoint.retry_for else None


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number of seconds or an HTTP date. None where it makes
    no sense.

    now: an aware date and time; a date that has passed asks for 0 seconds.

    >>> retry_after_s("2", datetime.now(UTC)), retry_after_s("soon", datetime.now(UTC))
    (2.0, None)
    >>> retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT", datetime(2026, 10, 21, 7, 27, 30, tzinfo=UTC))
    30.0
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _seconds_until(header, now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(http_date: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(http_date)
    except (ValueError, OverflowError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
