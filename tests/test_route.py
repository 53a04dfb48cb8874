"""Routing: which documents go to which tasks, and what becomes of those that go nowhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from books import assert_accounted, assert_same_kind, reasons, rejects
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from nemocc_dask.errors import ColumnNotFoundError, FrameError, SettingError, UnknownTaskError
from nemocc_dask.route import HIGH_QUALITY_TASKS, LOW_QUALITY_TASKS, Route, quality_routes, route
from nemocc_dask.tasks import TASKS

BUCKETS = pd.DataFrame({"id": range(20), "quality_score": range(20)})


def sent(routed):
    """Task → ids of the documents sent to it."""
    return {task.name: frame["id"].tolist() for task, frame in routed.by_task}


def test_the_recipes_routes_meet_at_eleven():
    """Buckets 0-11 are paraphrased, 12-19 go to all four high-quality tasks, and no bucket to neither."""
    routed = route(BUCKETS, quality_routes())
    assert sent(routed) == {name: [*range(12, 20)] for name in HIGH_QUALITY_TASKS} | {
        name: [*range(12)] for name in LOW_QUALITY_TASKS
    }
    assert_accounted(routed.documents, 20)


def test_the_boundary_is_a_setting():
    """Other labels move the boundary; scores between two buckets belong to the higher one."""
    routed = route(pd.DataFrame({"id": [0, 1, 2], "quality_score": [0.5, 0.51, 0.49]}), quality_routes(high_above=0.5))
    assert sent(routed)["distill"] == [1] and sent(routed)["wikipedia_paraphrasing"] == [0, 2]


scores = st.lists(st.none() | st.integers(-2, 22) | st.floats(-1, 21), max_size=30)


@given(scores=scores, above=st.integers(0, 19), low=st.none() | st.integers(0, 19), high=st.none() | st.integers(0, 19))
@settings(max_examples=150, deadline=None)
def test_a_document_goes_where_an_obvious_rule_sends_it(scores, above, low, high):
    """Whatever scores, boundary and bounds are, each document is sent or rejected as the rule read aloud says."""
    frame = pd.DataFrame({"id": range(len(scores)), "quality_score": pd.array(scores, dtype="Float64")})
    routed = route(frame, quality_routes(high_above=above), min_score=low, max_score=high)
    kept = [
        (row, score)
        for row, score in enumerate(scores)
        if score is not None and (low is None or score >= low) and (high is None or score <= high)
    ]
    assert sent(routed)["distill"] == [row for row, score in kept if score > above]
    assert sent(routed)["wikipedia_paraphrasing"] == [row for row, score in kept if score <= above]
    assert_accounted(routed.documents, len(scores))


def test_each_reason_is_told():
    """A null score, one out of bounds, and one that no route takes are rejected under their own names."""
    frame = pd.DataFrame({"id": range(5), "quality_score": [None, 1, 19, 9, 14]})
    routed = route(frame, [Route(("distill",), above=11)], min_score=2, max_score=18)
    assert reasons(routed.documents) == {
        "route": {"null_score": 1, "below_min_score": 1, "above_max_score": 1, "no_route": 1}
    }
    assert rejects(routed.documents)["id"].tolist() == [0, 1, 2, 3] and sent(routed) == {"distill": [4]}


def test_bounds_are_inclusive():
    """A score equal to a bound is kept."""
    routed = route(BUCKETS, [Route(("distill",))], min_score=3, max_score=5)
    assert sent(routed) == {"distill": [3, 4, 5]}


def test_routes_that_overlap_send_a_document_once_to_each_task():
    """A document that two routes send to one task is asked about once; to two tasks, once in each."""
    routes = [Route(("distill",), at_most=12), Route(("distill", "knowledge_list"), above=10)]
    assert sent(route(BUCKETS, routes)) == {"distill": [*range(20)], "knowledge_list": [*range(11, 20)]}


def test_tasks_of_ones_own_are_routed_too():
    """A record is accepted wherever a name is."""
    brief = dataclasses.replace(TASKS["distill"], name="brief")
    assert sent(route(BUCKETS, [Route((brief,), above=18)])) == {"brief": [19]}


def test_without_a_rule_no_score_is_needed():
    """Routes and bounds that look at no score do without the column, null or not."""
    frame = pd.DataFrame({"id": [1, 2]})
    assert sent(route(frame, [Route(("distill",))])) == {"distill": [1, 2]}
    assert sent(route(frame.assign(quality_score=[None, 3]), [Route(("distill",))])) == {"distill": [1, 2]}


def test_with_a_rule_the_score_has_to_be_there():
    """A missing or textual score column is the caller's mistake, named."""
    with pytest.raises(ColumnNotFoundError, match="'quality_score'"):
        route(pd.DataFrame({"id": [1]}), quality_routes())
    with pytest.raises(FrameError, match=r"'quality_score' .* has to hold numbers"):
        route(pd.DataFrame({"id": [1], "quality_score": ["12"]}), quality_routes())


@pytest.mark.parametrize("dtype", ["int64", "int8", "float32", "Int64", "int64[pyarrow]", "double[pyarrow]"])
def test_scores_may_be_of_any_number_type(dtype):
    """Every numeric type sends documents the same way."""
    frame = BUCKETS.astype({"quality_score": dtype})
    assert sent(route(frame, quality_routes())) == sent(route(BUCKETS, quality_routes()))


def test_a_column_of_null_scores_is_no_mistake():
    """Where no document has a score all are rejected, and nothing raises."""
    outcome = route(pd.DataFrame({"id": [1, 2], "quality_score": [None, None]}), quality_routes()).documents
    assert reasons(outcome) == {"route": {"null_score": 2}}


def test_no_document_can_be_routed_to_a_task_that_reads_none():
    """Routes know their tasks: those that make documents, and those there are not, are refused."""
    with pytest.raises(SettingError, match="makes documents from nothing"):
        Route(("multilingual_qa",))
    with pytest.raises(UnknownTaskError, match="'destill'"):
        Route(("destill",))


def test_no_routes_leave_nothing_sent():
    """With bounds and no routes every document within them is rejected as sent nowhere."""
    assert reasons(route(BUCKETS, [], min_score=5).documents) == {"route": {"below_min_score": 5, "no_route": 15}}


def test_partitions_do_not_matter():
    """Documents routed in three partitions are sent where they are when routed in one."""
    parts = [route(BUCKETS[at : at + 7], quality_routes()) for at in (0, 7, 14)]
    together = sent(route(BUCKETS, quality_routes()))
    assert {name: [row for part in parts for row in sent(part)[name]] for name in together} == together


def test_the_given_frame_is_not_changed():
    """Routing leaves the frame it was given as it was, and hands out none that shares its changes."""
    before = BUCKETS.copy(deep=True)
    routed = route(BUCKETS, quality_routes())
    routed.by_task[0][1].loc[:, "id"] = -1
    assert_frame_equal(BUCKETS, before)


def test_no_documents_are_legal():
    """Zero rows are routed to every task as zero rows of the same columns and dtypes."""
    empty, full = route(BUCKETS[:0], quality_routes()), route(BUCKETS, quality_routes())
    assert [task.name for task, _ in empty.by_task] == [task.name for task, _ in full.by_task]
    for (_, none), (_, some) in zip(empty.by_task, full.by_task, strict=True):
        assert_same_kind(none, some)
    assert_accounted(empty.documents, 0)


def test_a_rule_reads_numbers():
    """A route by itself takes scores above its bound and never a missing one."""
    assert Route((), above=11).takes(np.array([11.0, 11.5, np.nan])).tolist() == [False, True, False]
    assert Route(()).takes(np.array([np.nan])).tolist() == [True]
