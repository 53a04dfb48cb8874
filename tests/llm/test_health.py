"""The breaker of one server, and when nobody is worth waiting for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.llm.health import Breaker, Outage, Verdict, longest_pause_s

ANSWERED, CROWDED, DOWN, BROKEN, ABANDONED = Verdict


def note(breaker, verdicts, now=0.0, *, alone=True):
    for verdict in verdicts:
        breaker.note(verdict, now, probe=breaker.sent(), alone=alone)
    return breaker


@pytest.mark.parametrize(
    ("verdicts", "healthy"),
    [
        ([DOWN] * 4, True),
        ([DOWN] * 5, False),
        ([DOWN, DOWN, ANSWERED, DOWN, DOWN, DOWN, DOWN], True),
        ([DOWN, DOWN, ABANDONED, DOWN, DOWN, ABANDONED, DOWN], False),
        ([DOWN, DOWN, DOWN, DOWN, CROWDED, DOWN], True),
        ([BROKEN] * 1000, True),
    ],
)
def test_only_failures_in_a_row_open_it(verdicts, healthy):
    """Five that found nobody, no answer among them; a cancelled one says nothing, an error is a sign of life."""
    assert note(Breaker(), verdicts).healthy is healthy


@pytest.mark.parametrize("verdict", [BROKEN, CROWDED])
def test_a_server_that_only_refuses_is_left_alone_while_others_answer(verdict):
    """Errors and refusals count where another server is healthy, and four of them as one that found nobody."""
    assert note(Breaker(), [verdict] * 19, alone=False).healthy
    assert not note(Breaker(), [verdict] * 20, alone=False).healthy


def test_one_probe_at_a_time_after_growing_pauses():
    """Probes go after 0.5, 1, 2, 4, 8, 10, 10, ... seconds, none while another is under way; an answer closes it."""
    breaker, now, pauses = note(Breaker(), [DOWN] * 5), 0.0, []
    for _ in range(7):
        pauses.append(breaker.wait_s(now))
        now += pauses[-1]
        assert breaker.sent()
        assert breaker.wait_s(now + 99) == math.inf
        assert not breaker.note(DOWN, now, probe=True, alone=True)
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]
    assert breaker.sent()
    assert breaker.note(ANSWERED, now, probe=True, alone=True)
    assert breaker.healthy and breaker.wait_s(now) == 0


def test_a_probe_that_is_cancelled_makes_room_for_the_next():
    """Nothing was learned, so the next probe may go as soon as this one might have."""
    breaker = note(Breaker(), [DOWN] * 5)
    breaker.note(ABANDONED, 1.0, probe=breaker.sent(), alone=True)
    assert breaker.wait_s(1.0) == 0


def test_failures_of_requests_sent_before_do_not_lengthen_the_pause():
    """Many requests die with a server; only probes tell how long it has been gone."""
    breaker = note(Breaker(), [DOWN] * 5)
    for _ in range(60):
        breaker.note(DOWN, 0.1, probe=False, alone=True)
    assert breaker.wait_s(0.1) == pytest.approx(0.4)


def test_whoever_comes_afterwards_need_not_wait():
    """A new run has its probe at once, and short pauses after it."""
    breaker = note(Breaker(), [DOWN] * 5)
    for now in (1, 3, 7, 15):
        note(breaker, [DOWN], now)
    breaker.hurry(16)
    assert breaker.wait_s(16) == 0
    note(breaker, [DOWN], 16)
    assert breaker.wait_s(16) == 1


def fail(outage, count, now, verdict=DOWN):
    for _ in range(count):
        outage.note(verdict, outage.sent(), now)


def test_time_and_failures_are_both_needed():
    """Sixty seconds and ten failures since the last answer, not one without the other."""
    outage = Outage(60)
    fail(outage, 9, 0.0)
    assert outage.due_in_s(1000, 0) == math.inf
    fail(outage, 1, 30.0, BROKEN)
    assert outage.due_in_s(45, 0) == 15
    assert outage.due_in_s(1000, 0) == 0


@given(st.lists(st.sampled_from([DOWN, BROKEN, ABANDONED]), max_size=30), st.sampled_from([ANSWERED, CROWDED]))
def test_a_sign_of_life_starts_it_anew(failures, life):
    """An answer or a refusal, whatever came before: from then on both are counted again."""
    outage = Outage(60)
    for verdict in failures:
        outage.note(verdict, outage.sent(), 0.0)
    outage.note(life, outage.sent(), 50.0)
    assert outage.due_in_s(1000, 0) == math.inf
    fail(outage, 10, 70.0)
    assert outage.due_in_s(71.0, 0) == 59


def test_nobody_gives_up_while_somebody_may_be_at_work():
    """A request sent since the last failure may be answered, however long it takes: until then it is not over."""
    outage = Outage(60)
    fail(outage, 12, 0.0)
    hope = outage.sent()
    assert outage.due_in_s(500, 1) == math.inf
    outage.note(DOWN, hope, 500)
    assert outage.due_in_s(500, 0) == 0


def test_a_request_that_was_sent_before_the_last_failure_is_no_hope():
    """What hangs since the server died is not waited for; many that hang, though, outweigh a few failures."""
    outage = Outage(60)
    for _ in range(8):
        outage.sent()
    fail(outage, 12, 0.0)
    assert outage.due_in_s(61, 8) == 0
    assert outage.due_in_s(61, 13) == math.inf


@given(st.floats(0.01, 1e6))
def test_several_probes_are_made_before_a_job_stops(down_after_s):
    """However short the patience, six pauses fit into it."""
    assert 6 * longest_pause_s(down_after_s) <= down_after_s * (1 + 1e-9)
