"""What `x-ratelimit-*` headers mean, and three kinds of servers that send them."""

import heapq
from collections import deque
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemocc_dask.llm.allowance import Allowance, Left, Quota, Quotas, allowance_of
from nemocc_dask.simulate.windows import spelled

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


def headers(reset, remaining="5", **more):
    return {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset, **more}


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("59.7", 59.7), ("0", 0), (" 2s ", 2),
        ("2026-10-21T07:28:30Z", 30), ("2026-10-21T09:28:30+02:00", 30), ("2026-10-21T07:27:00Z", 0),
        (str(int(NOW.timestamp()) + 7), 7), (str(int(NOW.timestamp() * 1000) + 1500), 1.5),
    ],
)  # fmt: skip
def test_resets_come_in_many_spellings(reset, seconds):
    """Durations, seconds, and dates by the server's own clock."""
    said = allowance_of(headers(reset, Date=format_datetime(NOW, usegmt=True)))
    assert said == Allowance(Left(5, pytest.approx(seconds)), None)


@pytest.mark.parametrize(
    "reset", ["soon", "", "-1", "1", "5 s later", "2026-10-21T07:28:30Z", "s", "1e3", "NaN", "٣s", "2s?"]
)
def test_nonsense_is_none(reset):
    """A reset that cannot be read, or a date without a clock to hold it against, says nothing; nor do odd counts."""
    if reset != "1":
        assert allowance_of(headers(reset)) is None
    assert allowance_of(headers("1s", remaining="a few")) is None
    assert allowance_of({"x-ratelimit-reset-requests": reset, "x-ratelimit-limit-requests": "7"}) is None


@given(st.dictionaries(st.sampled_from([*headers("", Date=""), "x-ratelimit-limit-requests"]), st.text()))
@example(headers("5\x1f", "0\x1f"))
@example(headers("9" * 400, "9" * 400))
@example(headers("1s", "5", Date="0"))
def test_no_header_can_make_it_raise(texts):
    """Whatever a server sends."""
    assert allowance_of(texts) is None or allowance_of(texts).requests.remaining >= 0


@given(st.floats(0, 1e5))
def test_the_simulated_endpoint_s_spelling_is_read(seconds):
    """To the millisecond."""
    assert allowance_of(headers(spelled(seconds))).requests.reset_s == pytest.approx(seconds, abs=0.0011)


def test_tokens_are_read_beside_requests():
    """Both kinds, each with its limit where it is told."""
    both = headers("1s") | {
        "x-ratelimit-remaining-tokens": "800", "x-ratelimit-reset-tokens": "2s", "x-ratelimit-limit-tokens": "1000",
    }  # fmt: skip
    assert allowance_of(both) == Allowance(Left(5, 1), Left(800, 2, 1000))


class Ends:
    """A window that ends every minute."""

    def __init__(self, limit, offset_s=20.0):
        self.limit, self.end, self.used = limit, offset_s, 0

    def left(self, now):
        while now >= self.end:
            self.end, self.used = self.end + 60, 0
        return self.limit - self.used, self.end - now

    def take(self):
        self.used += 1


class Fills:
    """A bucket that is full at first and fills up in a minute."""

    def __init__(self, limit):
        self.limit = self.level = limit
        self.at = 0.0

    def left(self, now):
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / 60)
        self.at = now
        return int(self.level), (self.limit - self.level) * 60 / self.limit

    def take(self):
        self.level -= 1


class Slides:
    """What came in the last minute."""

    def __init__(self, limit):
        self.limit, self.came, self.now = limit, deque(), 0.0

    def left(self, now):
        self.now = now
        while self.came and self.came[0] <= now - 60:
            self.came.popleft()
        return self.limit - len(self.came), self.came[-1] + 60 - now if self.came else 0.0

    def take(self):
        self.came.append(self.now)


def ask(server, limit, *, at_once, latency_s, seconds):
    """Requests answered and refused; what is said is as of the arrival, and comes with the answer."""
    quotas, now, due, answered, refused, number = Quotas(), 0.0, [], 0, 0, 0
    while now < seconds:
        wait_s = quotas.wait_s(now, 0)
        if len(due) < at_once and not wait_s:
            marks, (left, _) = quotas.sent(now, 0), server.left(now)
            if left >= 1:
                server.take()
            left_after, reset_s = server.left(now)
            said = allowance_of(headers(spelled(reset_s), str(left_after)) | {"x-ratelimit-limit-requests": str(limit)})
            number += 1
            heapq.heappush(due, (now + (latency_s if left >= 1 else 0.01), number, marks, said, left < 1))
            continue
        soonest = due[0][0] if due else float("inf")
        now = min(soonest, now + wait_s) if len(due) < at_once else soonest
        if now == soonest:
            _, _, marks, said, is_refusal = heapq.heappop(due)
            quotas.told(now, marks, said, refused=is_refusal)
            answered, refused = answered + (not is_refusal), refused + is_refusal
    return answered, refused


@pytest.mark.parametrize("kind", [Ends, Fills, Slides])
@pytest.mark.parametrize(("at_once", "latency_s"), [(64, 0.2), (64, 5.0), (12, 1.0)])
@pytest.mark.parametrize("limit", [60, 600])
def test_no_kind_of_server_is_starved_or_overrun(kind, limit, at_once, latency_s):
    """At least 85 % of what it allows in ten minutes, or of what so many at once could ask; under 4 % refused."""
    answered, refused = ask(kind(limit), limit, at_once=at_once, latency_s=latency_s, seconds=600)
    possible = min(10 * limit, 600 * at_once / latency_s)
    print(f"{kind.__name__} {limit} a minute, {at_once} at once: {answered / possible:.0%}, {refused} refused")
    assert answered > 0.85 * possible
    assert refused < 0.04 * answered


def test_what_was_sent_since_counts():
    """Ten were left when it answered, four went meanwhile: six may go, and then nothing until the reset."""
    quota = Quota()
    mark = quota.sent(0.0, 1)
    for _ in range(4):
        quota.sent(0.1, 1)
    quota.told(0.2, mark, Left(10, 30.0, 100), refused=False)
    for _ in range(6):
        assert quota.wait_s(0.3, 1) == 0
        quota.sent(0.3, 1)
    assert quota.wait_s(0.3, 1) == pytest.approx(29.9)


def test_nothing_left_means_nothing_goes_until_the_reset():
    """A window that ends is waited for to the end, and then its limit may go."""
    quota = Quota()
    quota.told(0.0, quota.sent(0.0, 1), Left(0, 12.0, 3), refused=False)
    assert quota.wait_s(11.9, 1) == pytest.approx(0.1)
    for _ in range(3):
        assert quota.wait_s(12.0, 1) == 0
        quota.sent(12.0, 1)
    assert quota.wait_s(12.0, 1) == pytest.approx(12)
