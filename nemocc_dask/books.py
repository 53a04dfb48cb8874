"""The books of a run under way: what is done, what it came to, and what has been paid for, interruptions included."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache, reduce
from typing import Any, NamedTuple

from nemocc_dask.budget import Caps, Meter, Tokens
from nemocc_dask.identity import shown
from nemocc_dask.io.accounts import Sums, all_paid_for, spent_in_all, task_account, tokens_of
from nemocc_dask.io.manifest import RUN, VERSION, PartRecord, put_inputs
from nemocc_dask.io.write import Output
from nemocc_dask.llm import Spent, Store
from nemocc_dask.logs import event
from nemocc_dask.settings import Job

log = logging.getLogger("nemocc_dask")

Record = dict[str, Any]

WRITE_BOOKS_EVERY_S = 1.0
"""While a job runs; what is finished is on disk anyway, in the partitions' own records."""

RUNNING, REPLACING, STOPPED, INTERRUPTED, DONE = "running", "replacing", "stopped", "interrupted", "done"
"""States of a run. While it is replacing, what its folder held before is being removed."""


class Beginning(NamedTuple):
    """How a run is taken up.

    run: its own name, kept when it goes on. replaces: tasks whose results, of another run, are to be removed first.
    estimated: tokens taken before, of answers for which the endpoint told none.
    """

    run: str
    started_at: str
    replaces: tuple[str, ...] = ()
    estimated: Tokens = Tokens()

    @classmethod
    def anew(cls, replaces: Sequence[str] = ()) -> Beginning:
        """A run that has not been before."""
        return cls(uuid.uuid4().hex, _now(), tuple(replaces))

    @classmethod
    def of(cls, books: Record) -> Beginning:
        """A run that goes on."""
        estimated = Tokens(*books["estimated_tokens"])
        return cls(books["run"], books["started_at"], tuple(books["replaces"]), estimated)


class Books:
    """What `run.json` holds, kept up as partitions finish.

    What a run has paid for is what its finished partitions tell, and what the store holds of attempts that broke off.
    """

    def __init__(self, job: Job, output: Output, store: Store, identity: Record, beginning: Beginning) -> None:
        self._job, self._output, self._store, self._identity = job, output, store, identity
        self._beginning = beginning
        self.replaces = beginning.replaces
        self.parts = 0
        self.done: set[int] = set()
        self.sums = Sums()
        self._attempts: set[str] = set()
        self._broken: dict[str, Spent] = {}
        self._written_at = 0.0
        self.caps = Caps.of(job)
        self.meter = Meter(self.caps, Tokens())

    def take_over(self, records: Iterable[PartRecord], parts: int) -> None:
        """Begin with what was done before, of so many partitions in all."""
        self.parts = parts
        self.done, self._attempts, self.sums = set(), set(), Sums()
        for record in records:  # which may be more than memory has room for
            self._count(record)
        self._look_for_broken_attempts()
        self.meter = Meter(self.caps, self._taken())

    def add(self, record: PartRecord) -> None:
        """Add a finished partition; the books are written now and then only: there may be many partitions."""
        self._count(record)
        if time.monotonic() - self._written_at > WRITE_BOOKS_EVERY_S:
            self.write(RUNNING)

    def _count(self, record: PartRecord) -> None:
        self.done.add(record.index)
        self._attempts.add(record.attempt)
        self.sums = self.sums + Sums.of(record)

    def taken(self) -> Tokens:
        """What the run has taken by now, partitions that did not finish included."""
        self._look_for_broken_attempts()
        return max(self._taken(), self.meter.taken, key=sum)

    def write(self, state: str, error: str | None = None) -> Record:
        """Write `run.json`, and return what is in it."""
        if state != RUNNING:
            self._look_for_broken_attempts()
        paid, prices = all_paid_for(self.sums, self._broken), self.caps.prices
        stages = {name: self.sums.tasks.get(name, ()) for name in paid}
        books = {
            "version": VERSION,
            "run": self._beginning.run,
            "state": state,
            "error": error,
            "started_at": self._beginning.started_at,
            "updated_at": _now(),
            "versions": _versions(),
            "settings": shown(self._job),
            "identity": self._identity_as_told,
            "replaces": self.replaces,
            "parts": {"all": self.parts, "done": len(self.done)},
            "documents": {"stages": [count.as_record() for count in self.sums.documents]},
            "tasks": {name: task_account(stages[name], paid[name], prices) for name in paid},
            "spent": spent_in_all(paid.values(), prices),
            "estimated_tokens": self._estimated(),
        }
        if state in (DONE, STOPPED, INTERRUPTED):
            log.info("The run is %s.", state, extra=event("run_ended", state=state, **_shown_of(books)))
        self._written_at = time.monotonic()
        self._output.write_text(RUN, json.dumps(books, indent=1, ensure_ascii=False, default=dict))
        return books

    @property
    def run(self) -> str:
        """The run's own name."""
        return self._beginning.run

    def counts(self) -> Counter[str]:
        """Of finished partitions `rows`, `answers`, `reused` and `failed`; of all that is paid for the requests sent,
        and the tokens."""
        paid = all_paid_for(self.sums, self._broken)
        accounts = [task_account(self.sums.tasks.get(name, ()), spent) for name, spent in paid.items()]
        counts: Counter[str] = Counter()
        for account in accounts:
            counts["rows"] += account["requests"]
            counts["answers"] += account["reused"] + account["responses"]
            counts["failed"] += sum(account["failed"].values())
            for name in ("reused", "http_requests", "prompt_tokens", "completion_tokens"):
                counts[name] += account[name]
        return counts

    @cached_property
    def _identity_as_told(self) -> Record:
        return put_inputs(self._output, self._identity)

    def _look_for_broken_attempts(self) -> None:
        self._broken = self._store.spent(f"{self._beginning.run}-", besides=self._attempts)

    def _taken(self) -> Tokens:
        told = map(tokens_of, all_paid_for(self.sums, self._broken).values())
        return reduce(Tokens.plus, told, self._estimated())

    def _estimated(self) -> Tokens:
        return self._beginning.estimated.plus(self.meter.estimated)


def _shown_of(books: Record) -> Record:
    """What the log tells of a run that has ended."""
    named = {name: books[name] for name in ("error", "parts", "spent")}
    counts = ("requests", "reused", "responses", "http_requests", "failed", "kept")
    return {**named, "tasks": {name: {each: task[each] for each in counts} for name, task in books["tasks"].items()}}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@lru_cache
def _versions() -> dict[str, str]:
    packages = ("nemocc-dask", "dask", "distributed", "pandas", "pyarrow", "aiohttp", "transformers", "gigatoken")
    return {name: importlib.metadata.version(name) for name in packages}
