"""Sums over partitions, the account of a task, and books that have to balance."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.accounting import StageCount
from nemocc_dask.errors import AccountingError
from nemocc_dask.io.accounts import Sums, all_paid_for, check_identity, paid_for, spent_in_all, task_account
from nemocc_dask.io.manifest import PartRecord
from nemocc_dask.llm import Spent
from nemocc_dask.settings import Prices

READ = StageCount(stage="read", unit="documents", rows_in=5, rows_out=4, rejected={"null_id": 1})
FILTER = StageCount(stage="filter_segments", unit="segments", rows_in=7, rows_out=6, rejected={"segment_too_short": 1})
NOTES = {"reused": 1, "responses": 4, "http_requests": 7, "prompt_tokens": 40, "completion_tokens": 20}
GENERATE = StageCount(
    stage="generate",
    unit="answers",
    rows_in=6,
    rows_out=4,
    rejected={"truncated": 1},
    failed={"http_400": 1},
    notes=NOTES,
)
BROKEN = Spent(responses=2, prompt_tokens=20, completion_tokens=10, http_requests=3, without_usage=1)
PRICES = Prices(input=1, output=2)


def changed(count: StageCount, **how: Any) -> StageCount:
    return StageCount(**{**count.as_record(), **how})


numbers = st.integers(0, 10)
counts = st.builds(
    StageCount,
    stage=st.just("read"),
    unit=st.just("documents"),
    rows_in=numbers,
    rows_out=numbers,
    rejected=st.dictionaries(st.sampled_from("ab"), st.integers(1, 9)),
)


@given(st.lists(counts, min_size=1, max_size=5), st.randoms())
def test_sums_do_not_depend_on_the_order(parts, rng):
    """The sums over partitions are the same in whichever order partitions finish."""
    records = [PartRecord(i, f"run-{i}", (count,), {}) for i, count in enumerate(parts)]
    sums = sum(map(Sums.of, records), Sums())
    rng.shuffle(records)
    assert sum(map(Sums.of, records), Sums()) == sums
    assert sums.documents[0].rows_in == sum(count.rows_in for count in parts)


def test_the_account_of_a_task():
    """An account tells requests, reused answers, responses, failures, rejects and rows kept of what has finished, and
    what went over the wire, tokens and cost of all that was paid for."""
    account = task_account((FILTER, GENERATE), paid_for((FILTER, GENERATE)) + BROKEN, PRICES)
    del account["stages"]
    assert account == {
        "documents_in": 0,
        "segments": 6,
        "requests": 6,
        "reused": 1,
        "responses": 4,
        "failed": {"http_400": 1},
        "http_requests": 7 + 3,
        "rejected": {"filter_segments": {"segment_too_short": 1}, "generate": {"truncated": 1}},
        "kept": 4,
        "prompt_tokens": 40 + 20,
        "completion_tokens": 20 + 10,
        "cost": 0.00012,
    }


def test_a_task_of_which_no_partition_has_finished():
    """What was paid for it is told all the same; its rows are none."""
    paid = all_paid_for(Sums((), {"distill": (GENERATE,)}), {"knowledge_list": BROKEN})
    assert paid == {"distill": paid_for((GENERATE,)), "knowledge_list": BROKEN}
    account = task_account((), paid["knowledge_list"])
    assert account["prompt_tokens"] == 20 and account["requests"] == account["kept"] == 0 and account["cost"] is None


def test_what_a_run_has_spent():
    """All that was paid for, in all tasks, with its cost where prices are known, and answers of unknown tokens."""
    known = paid_for((GENERATE,))
    assert spent_in_all([known, known]) == {
        "responses": 8,
        "prompt_tokens": 80,
        "completion_tokens": 40,
        "cost": None,
    }
    spent = spent_in_all([known, BROKEN], PRICES)
    assert spent["responses_without_usage"] == 1 and spent["cost"] == 0.00012


def test_books_that_balance():
    """Stages that follow on each other and lose no row pass."""
    check_identity(Sums((READ,), {"distill": (FILTER, GENERATE)}))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((FILTER, changed(GENERATE, rows_out=5)), "'distill'.*'generate'.*-1 rows"),
        ((FILTER, changed(FILTER, stage="next"), GENERATE), "'distill'.*'next'.*6 came in, not 7"),
        ((FILTER, changed(GENERATE, notes=NOTES | {"responses": 3})), "'distill'.*'generate'.*6 asked, 5 answered"),
    ],
    ids=["a row lost", "a row between stages", "an answer lost"],
)
def test_books_that_do_not_balance(stages, words):
    """A row that nothing accounts for is an error that names task, stage and numbers."""
    with pytest.raises(AccountingError, match=words):
        check_identity(Sums((READ,), {"distill": stages}))
