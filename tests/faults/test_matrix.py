"""Whatever an endpoint does wrong, every row is accounted for, and no request is sent that did not have to be."""

from __future__ import annotations

import pytest
from fault_cases import CASES, LIMIT, NONE, TASK, Case
from job.jobs import assert_accounted_for

ROWS, MOST_ROWS = 600, 2000
"""In a job with one kind of fault, and with all of them."""

OVERHEAD = 1.3
"""Most requests for each one that was necessary."""

ENDS = {
    "400 for ever": {("http_400", 400, 1)},
    "no choices": {("no_choices", 200, 2)},
    "empty answers": {("empty", None, 1)},
    "null answers": {("empty", None, 1)},
    "truncated answers": {("truncated", None, 1)},
    "filtered answers": {("content_filtered", None, 1)},
}
"""Case → what a row that is not kept ends with: reason, HTTP status, and attempts, of which it is given no more.

A status is told of failures alone. Rows of other cases are all kept, but for those of `SEVERAL`.
"""
SEVERAL = {
    "garbage": {("empty", None), ("no_choices", 200)},
    "all together": {
        *((reason, None) for reason in ("empty", "truncated", "content_filtered")),
        *(("no_choices", 200), ("http_400", 400)),
    },
}
"""The same, where attempts differ: a row may meet several faults."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_faulty_endpoint(run_case, case):
    """Rows are kept, rejected or failed with a reason; answers are a sound endpoint's, and none is asked for twice."""
    rows = MOST_ROWS if case.name == "all together" else ROWS
    ran = run_case(case, rows)
    struck = sum(ran.stats["faults"].values()) + ran.stats["by_status"].get("429", 0)
    assert struck > 0.01 * rows, "nothing was wrong with this endpoint"

    assert sorted([*ran.answers, *ran.rejected["id"]]) == list(range(rows))
    assert ran.answers.items() <= run_case(NONE, rows).answers.items()
    assert_accounted_for(ran.output, ran.books, http_requests=ran.sent)
    assert_ends(ran)

    assert ran.stats["repeated"] == 0
    assert ran.sent <= OVERHEAD * min(ran.necessary, ran.expected)
    assert ran.stats["peak_in_flight"] <= LIMIT


def assert_ends(ran):
    """Rows that were not kept say why, and were tried as often as such an end entitles them to."""
    rejected = ran.rejected
    status = rejected["status"].astype(object).where(rejected["status"].notna(), None)
    ends = set(zip(rejected["reason"], status, rejected["attempts"], strict=True))
    if ran.case.name in SEVERAL:
        assert {end[:2] for end in ends} == SEVERAL[ran.case.name]
        assert all(attempts >= 1 + (reason == "no_choices") for reason, _, attempts in ends)
    else:
        assert ends == ENDS.get(ran.case.name, set())
    assert (rejected["stage"] == "generate").all()
    assert (rejected["detail"].notna() == status.notna()).all()


TRANSIENT = {"error_rate": 0.1, "cut_rate": 0.1, "cut_after_headers_rate": 0.1, "hang_rate": 0.02}


def test_a_limit_that_is_used_up_holds(run_case):
    """As many requests as allowed are under way, retries among them, and never one more."""
    case = Case("limit", {**TRANSIENT, "latency_s": 0.05}, {"timeout": 1.0, "fixed_concurrency": True})
    ran = run_case(case, ROWS)
    assert ran.stats["peak_in_flight"] == LIMIT
    assert len(ran.answers) == ROWS and ran.stats["repeated"] == 0 and ran.sent == ran.necessary


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ({"error_rate": 0.5, "error_status": 503}, ("http_503", 503)),
        ({"error_rate": 0.5, "error_status": 429}, ("http_429", 429)),
        ({"cut_rate": 0.5}, ("connection", None)),
        ({"cut_after_headers_rate": 0.5}, ("connection", None)),
        ({"hang_rate": 0.25}, ("timeout", None)),
    ],
    ids=lambda fault: next(iter(fault), None) if isinstance(fault, dict) else None,
)
def test_a_fault_that_outlasts_the_retries(run_case, fault, end):
    """A row fails once it has been tried as often as allowed, no sooner and no later, under its last trouble's name."""
    rows, retries = 80, 1
    case = Case("outlasting", fault, {"max_retries": retries, "timeout": 0.5, "base_delay": 0.01})
    ran = run_case(case, rows)
    failed = ran.rejected
    assert 0 < len(failed) < rows / 2 and len(failed) + len(ran.answers) == rows
    assert set(failed["reason"]) == {end[0]} and set(failed["attempts"]) == {retries + 1}
    assert set(failed["status"].dropna()) == ({end[1]} - {None}) and failed["detail"].notna().all()
    assert ran.account["failed"] == {end[0]: len(failed)}
    assert ran.sent == ran.necessary == ran.account["http_requests"]
    assert TASK.name in ran.books["tasks"]
