"""The sums of a run: stages added up over partitions, the account of each task, and what all of it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nemocc_dask.accounting import StageCount, add_stages
from nemocc_dask.budget import Tokens
from nemocc_dask.errors import AccountingError
from nemocc_dask.io.manifest import PartRecord, Record, Stages
from nemocc_dask.llm import Spent
from nemocc_dask.settings import Prices

NOTHING = Spent()
GENERATE = "generate"
"""Stage at which answers are asked for, and those of no use rejected."""


@dataclass(frozen=True)
class Sums:
    """Stages added up over partitions: the documents' before the tasks, and each task's."""

    documents: Stages = ()
    tasks: Mapping[str, Stages] = field(default_factory=dict)

    @classmethod
    def of(cls, record: PartRecord) -> Sums:
        """One partition's."""
        return cls(record.documents, record.tasks)

    def __add__(self, other: Sums) -> Sums:
        names = dict.fromkeys((*self.tasks, *other.tasks))
        tasks = {name: add_stages([self.tasks.get(name, ()), other.tasks.get(name, ())]) for name in names}
        return Sums(add_stages([self.documents, other.documents]), tasks)


def paid_for(stages: Stages) -> Spent:
    """What a task's finished partitions have paid for, reused answers not among it."""
    notes = _asked(stages).notes
    counts = ("responses", "prompt_tokens", "completion_tokens", "http_requests", "without_usage")
    return Spent(*(notes.get(name, 0) for name in counts))


def all_paid_for(sums: Sums, broken: Mapping[str, Spent]) -> dict[str, Spent]:
    """Task → what the run has paid for it. broken: the same of attempts that broke off, which left no sums."""
    names = dict.fromkeys((*sums.tasks, *broken))
    return {name: paid_for(sums.tasks.get(name, ())) + broken.get(name, NOTHING) for name in names}


def task_account(stages: Stages, paid: Spent, prices: Prices | None = None) -> Record:
    """The account of one task, as `run.json` holds it.

    requests = reused + responses + Σ failed, all of partitions that have finished: rows that needed an answer are those
    whose answer was paid for before, those answered by then, and those that got none. paid: what the run has paid for,
    attempts that broke off included; `prompt_tokens`, `completion_tokens` and `cost` are its, and `http_requests`: what
    went over the wire, retries included. Of an attempt that broke off only the requests of answers that came are known,
    and several answers to one request count each.
    """
    by_name = {count.stage: count for count in stages}
    asked = _asked(stages)
    return {
        "documents_in": stages[0].rows_in if stages and stages[0].unit == "documents" else 0,
        "segments": by_name["filter_segments"].rows_out if "filter_segments" in by_name else 0,
        "requests": asked.rows_in,
        "reused": asked.notes.get("reused", 0),
        "responses": asked.notes.get("responses", 0),
        "failed": dict(asked.failed),
        "http_requests": paid.http_requests,
        "rejected": {count.stage: dict(count.rejected) for count in stages if count.rejected},
        "kept": stages[-1].rows_out if stages else 0,
        "prompt_tokens": paid.prompt_tokens,
        "completion_tokens": paid.completion_tokens,
        "cost": tokens_of(paid).cost(prices),
        "stages": [count.as_record() for count in stages],
    }


def spent_in_all(paid: Iterable[Spent], prices: Prices | None = None) -> Record:
    """What a whole run has paid for, as `run.json` holds it.

    `responses_without_usage` stands there where an endpoint did not say what it bills; then the cost is too low.
    """
    spent = sum(paid, NOTHING)
    unknown = {"responses_without_usage": spent.without_usage} if spent.without_usage else {}
    tokens = {"prompt_tokens": spent.prompt_tokens, "completion_tokens": spent.completion_tokens}
    return {"responses": spent.responses, **tokens, "cost": tokens_of(spent).cost(prices), **unknown}


def tokens_of(spent: Spent) -> Tokens:
    """Its tokens alone."""
    return Tokens(spent.prompt_tokens, spent.completion_tokens)


def _asked(stages: Stages) -> StageCount:
    """The stage at which answers are asked for, or one that counts nothing."""
    nothing = StageCount(stage=GENERATE, unit="answers", rows_in=0, rows_out=0)
    return next((count for count in stages if count.stage == GENERATE), nothing)


def check_identity(sums: Sums) -> None:
    """Every stage's rows in are its rows out + rejected + failed, stages follow on each other, requests add up.

    Raises `AccountingError` naming task and stage.
    """
    for name, stages in {"documents": sums.documents, **sums.tasks}.items():
        for count in stages:
            _hold(count.missing == 0, name, count.stage, f"{count.missing} rows are unaccounted for")
        for before, after in pairwise(stages):
            follows = before.unit != after.unit or before.rows_out == after.rows_in
            _hold(follows, name, after.stage, f"{before.rows_out} came in, not {after.rows_in}")
    for name, stages in sums.tasks.items():
        account: dict[str, Any] = task_account(stages, paid_for(stages))
        answered = account["reused"] + account["responses"] + sum(account["failed"].values())
        _hold(account["requests"] == answered, name, GENERATE, f"{account['requests']} asked, {answered} answered")


def _hold(holds: bool, task: str, stage: str, what: str) -> None:
    if not holds:
        raise AccountingError(f"The books of {task!r} do not balance at stage {stage!r}: {what}. Please report it.")
