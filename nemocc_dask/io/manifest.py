"""The books of a run: `run.json`, and one record per finished partition that it is added up from.

A partition's record is written last, after its shards: what has a record is done, and is not done again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemocc_dask.accounting import StageCount
from nemocc_dask.errors import OutputError
from nemocc_dask.io.write import BOOKS, Output

RUN = f"{BOOKS}/run.json"
PARTS = f"{BOOKS}/parts"
REJECTED = f"{BOOKS}/rejected"
RESPONSES = f"{BOOKS}/responses"
"""The store, which no run ever removes anything from."""

INPUT = "input"
"""Folder of the rejects that no task has seen."""

VERSION = 2
"""Of the layout of the books."""

MANY_FILES = 1000
"""Input files beyond which the books do not list them."""

_SHARD = re.compile(r"part-\d+\.(parquet|jsonl)")

Record = dict[str, Any]
Stages = tuple[StageCount, ...]


@dataclass(frozen=True)
class PartRecord:
    """What became of one partition.

    index: the partition's. attempt: what its answers are filed under in the store, those that were asked for then.
    documents: its stages before the tasks. tasks: name of a task → the stages of that task.
    """

    index: int
    attempt: str
    documents: Stages
    tasks: Mapping[str, Stages]

    def to_json(self) -> str:
        """As it is stored, and as a worker hands it back."""
        return json.dumps(
            {
                "index": self.index,
                "attempt": self.attempt,
                "documents": [count.as_record() for count in self.documents],
                "tasks": {name: [count.as_record() for count in stages] for name, stages in self.tasks.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PartRecord:
        """The inverse of `to_json`."""
        record = json.loads(text)
        tasks = {name: _stages(stages) for name, stages in record["tasks"].items()}
        return cls(record["index"], record["attempt"], _stages(record["documents"]), tasks)


def _stages(records: Iterable[Record]) -> Stages:
    return tuple(StageCount(**record) for record in records)


def record_name(index: int) -> str:
    """Name of a partition's record in the output folder."""
    return f"{PARTS}/part-{index:05d}.json"


def read_records(output: Output, parts: int) -> Iterator[PartRecord]:
    """The records of those partitions that are done, of so many in all, in order; few are in memory at once."""
    there = set(output.below(PARTS))
    return map(PartRecord.from_json, output.read_texts(filter(there.__contains__, map(record_name, range(parts)))))


# --- which files a run reads ------------------------------------------------------------------------------------------


def put_inputs(output: Output, identity: Record) -> Record:
    """A run's identity as `run.json` holds it, which is written every second: of many input files it tells how many
    they are and a digest of their names and sizes. The list of them goes into a file of its own, named after that.
    """
    inputs = identity["input"]
    if len(inputs) <= MANY_FILES:
        return identity
    content = json.dumps(inputs)
    digest = hashlib.sha256(content.encode()).hexdigest()
    output.write_text(_inputs_name(digest), content)
    return {**identity, "input": {"files": len(inputs), "bytes": sum(size for _, size in inputs), "digest": digest}}


def with_inputs(output: Output, identity: Record) -> Record:
    """The inverse of `put_inputs`. Raises `JobError` where the list of the files cannot be read."""
    told = identity.get("input")  # another version may have left none
    if not isinstance(told, dict):
        return identity
    return {**identity, "input": json.loads(output.read_text(_inputs_name(told["digest"])))}


def _inputs_name(digest: str) -> str:
    return f"{BOOKS}/inputs-{digest[:16]}.json"


# --- whose folder it is -----------------------------------------------------------------------------------------------


def read_books(output: Output) -> Record | None:
    """The books of the run that a folder holds, or None where it is new.

    Raises `OutputError` where it holds files of which nobody knows whose they are, or books that cannot be read.
    """
    if not output.exists(RUN):
        others = sorted(name for name in output.names() if name != BOOKS)
        if others:
            raise OutputError(
                f"The folder {output.url!r} is not empty ({_some(others)}) and holds no run. Name another --output."
            )
        return None
    try:
        books = dict(json.loads(output.read_text(RUN)))
        version = books["version"]
    except (ValueError, KeyError, TypeError):
        raise OutputError(
            f"{output.path(RUN)} is no book of a run. Name another --output, or remove the folder."
        ) from None
    if version != VERSION:
        raise OutputError(
            f"The folder {output.url!r} was written by another version of nemocc-dask (books {version}, not {VERSION})."
            " Name another --output."
        )
    return books


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


# --- results that make room -------------------------------------------------------------------------------------------


def has_shards(output: Output, task: str) -> bool:
    """Whether there are results of a task."""
    return bool(_shards(output, task))


def remove_results(output: Output, tasks: Collection[str]) -> None:
    """Remove records, rejects and the shards of these tasks; what else stands in their folders is left alone."""
    output.remove(output.below(PARTS))  # first, so that nothing counts as done whose shards are gone
    output.remove(output.below(REJECTED))
    for task in tasks:
        output.remove(_shards(output, task))
        output.remove_empty(task)
    remove_empty_rejects(output, tasks)


def remove_empty_rejects(output: Output, tasks: Iterable[str]) -> None:
    """Remove folders of rejects in which none are left; not while a partition may be writing some."""
    for name in (INPUT, *tasks):
        output.remove_empty(f"{REJECTED}/{name}")


def _shards(output: Output, task: str) -> list[str]:
    return [name for name in output.below(task) if _SHARD.fullmatch(name.removeprefix(f"{task}/"))]
