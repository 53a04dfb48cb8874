"""The books of a run: `run.json`, and one record per finished partition that it is added up from.

A partition's record is written last, after its shards: what has a record is done, and is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nemocc_dask.accounting import StageCount, add_stages
from nemocc_dask.errors import AccountingError, OutputError
from nemocc_dask.io.write import BOOKS, Output

RUN = f"{BOOKS}/run.json"
VERSION = 1
"""Of the layout of the books."""

Record = dict[str, Any]
Stages = tuple[StageCount, ...]


@dataclass(frozen=True)
class PartRecord:
    """What became of one partition.

    index: the partition's. documents: its stages before the tasks. tasks: name of a task → the stages of that task.
    """

    index: int
    documents: Stages
    tasks: Mapping[str, Stages]

    def to_json(self) -> str:
        """As it is stored, and as a worker hands it back."""
        return json.dumps(
            {
                "index": self.index,
                "documents": [count.as_record() for count in self.documents],
                "tasks": {name: [count.as_record() for count in stages] for name, stages in self.tasks.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PartRecord:
        """The inverse of `to_json`."""
        record = json.loads(text)
        tasks = {name: _stages(stages) for name, stages in record["tasks"].items()}
        return cls(record["index"], _stages(record["documents"]), tasks)


def _stages(records: Iterable[Record]) -> Stages:
    return tuple(StageCount(**record) for record in records)


def record_name(index: int) -> str:
    """Name of a partition's record in the output folder."""
    return f"{BOOKS}/parts/part-{index:05d}.json"


def read_records(output: Output, indices: Iterable[int]) -> dict[int, PartRecord]:
    """Index → record, of the partitions that are done."""
    done = (index for index in indices if output.exists(record_name(index)))
    return {index: PartRecord.from_json(output.read_text(record_name(index))) for index in done}


# --- which job a folder belongs to ------------------------------------------------------------------------------------


def open_output(output: Output, identity: Record) -> Record | None:
    """The books of an earlier run of this very job, or None where the folder is new.

    identity: settings that decide what the results are. Raises `OutputError` where the folder holds another job's
    results, with the difference, or files of which nobody knows whose they are.
    """
    if not output.exists(RUN):
        others = sorted(name for name in output.names() if name != BOOKS)
        if others:
            raise OutputError(
                f"The folder {output.url!r} is not empty ({_some(others)}) and holds no run. Name another --output."
            )
        return None
    try:
        earlier = json.loads(output.read_text(RUN))
        difference = _difference(earlier["identity"], identity)
    except (ValueError, KeyError, TypeError):
        raise OutputError(
            f"{output.path(RUN)} is no book of a run. Name another --output, or remove the folder."
        ) from None
    if difference:
        raise OutputError(
            f"The folder {output.url!r} holds the results of another job; it differs in {'; '.join(difference)}. "
            "Name another --output, or call again with the earlier settings."
        )
    return dict(earlier)


def _difference(earlier: Record, now: Record) -> list[str]:
    now = json.loads(json.dumps(now))  # as it would be read back: tuples are lists
    before, after = _flat(earlier), _flat(now)
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    told = [f"{name} ({_short(before.get(name))} there, {_short(after.get(name))} here)" for name in changed[:3]]
    return told + ([f"and {len(changed) - 3} more"] if len(changed) > 3 else [])


def _flat(record: Any, name: str = "") -> Record:
    """Every leaf under its dotted name, so that a difference names the one thing that differs."""
    if not isinstance(record, dict) or not record:
        return {name: record}
    flat = (_flat(value, f"{name}.{key}" if name else key) for key, value in record.items())
    return {leaf: value for each in flat for leaf, value in each.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


# --- the sums ---------------------------------------------------------------------------------------------------------


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


def add_up(records: Iterable[PartRecord]) -> Sums:
    """Sums over partitions."""
    return sum(map(Sums.of, records), Sums())


def task_account(stages: Stages) -> Record:
    """The account of one task, as `run.json` holds it.

    requests = reused + responses + Σ failed: rows that needed a response. http_requests: what went over the wire.
    """
    by_name = {count.stage: count for count in stages}
    asked = by_name["generate"]
    responses = asked.notes.get("responses", 0)
    return {
        "documents_in": stages[0].rows_in if stages[0].unit == "documents" else 0,
        "segments": by_name["filter_segments"].rows_out if "filter_segments" in by_name else 0,
        "requests": asked.rows_in,
        "reused": 0,
        "responses": responses,
        "failed": dict(asked.failed),
        "http_requests": asked.notes.get("http_requests", 0),
        "rejected": {count.stage: dict(count.rejected) for count in stages if count.rejected},
        "kept": stages[-1].rows_out,
        "prompt_tokens": asked.notes.get("prompt_tokens", 0),
        "completion_tokens": asked.notes.get("completion_tokens", 0),
        "cost": None,
        "stages": [count.as_record() for count in stages],
    }


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
        account = task_account(stages)
        answered = account["reused"] + account["responses"] + sum(account["failed"].values())
        _hold(account["requests"] == answered, name, "generate", f"{account['requests']} asked, {answered} answered")


def _hold(holds: bool, task: str, stage: str, what: str) -> None:
    if not holds:
        raise AccountingError(f"The books of {task!r} do not balance at stage {stage!r}: {what}. Please report it.")
