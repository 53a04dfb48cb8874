"""One job from its settings to its books: everything is looked at before the first request, then partitions run."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from nemocc_dask.errors import NemoccError
from nemocc_dask.io.manifest import (
    RUN,
    VERSION,
    PartRecord,
    Record,
    Sums,
    add_up,
    check_identity,
    open_output,
    read_records,
    task_account,
)
from nemocc_dask.io.read import Part, file_size, find_files, plan_parts
from nemocc_dask.io.scan import Columns, find_columns, find_repeated_ids
from nemocc_dask.io.shards import WRITTEN
from nemocc_dask.io.write import Output
from nemocc_dask.llm import check_endpoint
from nemocc_dask.partition import Plan, Work
from nemocc_dask.pipeline import local_cluster, requests_per_process, run_partitions, running_cluster
from nemocc_dask.preprocess import max_segment_tokens
from nemocc_dask.resolve import Tasks, resolve_tasks
from nemocc_dask.settings import Job
from nemocc_dask.synthesize import Recipe, with_answer_bound
from nemocc_dask.tasks import find_task
from nemocc_dask.tokens import TokenCounter

WRITE_BOOKS_EVERY_S = 1.0
"""While a job runs; what is finished is on disk anyway, in the partitions' own records."""


class Progress(Protocol):
    """What a job tells while it runs; all methods may be called from other threads."""

    def started(self, parts: int, done: int) -> None:
        """So many partitions in all, so many of them done in an earlier run."""

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """What came in for a partition: more `rows`, `answers`, `failed`, `prompt_tokens`, `completion_tokens`."""

    def part_done(self) -> None:
        """One more partition is finished."""


class _Silent:
    def started(self, parts: int, done: int) -> None:
        """Say nothing."""

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """Say nothing."""

    def part_done(self) -> None:
        """Say nothing."""


def run_job(job: Job, *, progress: Progress | None = None) -> Record:
    """Run a job, or what is left of it, and return its books: what `run.json` holds.

    A run that ended is not run again. One that broke goes on with the partitions that are missing, cut as they were.

    Raises a `CallerError` before the first request where the call is wrong, a `JobError` where the job cannot go on;
    what is finished by then stays.

    >>> from tempfile import TemporaryDirectory
    >>> from nemocc_dask.simulate import Simulator
    >>> with Simulator() as endpoint, TemporaryDirectory() as folder:
    ...     books = run_job(Job(output=folder, samples=3, base_url=endpoint.base_url, model="simulated"))
    >>> books["state"], books["tasks"]["multilingual_qa"]["kept"]
    ('done', 3)
    """
    tasks = resolve_tasks(job)
    output = Output(job.output)
    tokenizer = TokenCounter(job.tokenizer)
    for task in (*tasks.of_documents, *tasks.from_nothing):
        bounded = with_answer_bound(task, job.generation())
        if not task.makes_documents:
            max_segment_tokens(bounded, tokenizer)
    # A folder of inputs may hold the output: what the run makes itself is none of its documents.
    files = tuple(path for path in find_files(job.input) if not output.holds(path))
    identity = _identity(job, tasks, tokenizer, files)
    earlier = open_output(output, identity)
    if earlier and earlier["state"] == "done":
        return earlier
    return _Run(job, tasks, tokenizer, files, output, identity, earlier, progress or _Silent()).to_its_end()


def _identity(job: Job, tasks: Tasks, tokenizer: TokenCounter, files: tuple[str, ...]) -> Record:
    """What decides the results of a run, and so whose results a folder holds. Not: where requests go, and how fast."""
    kept = (
        "score_field",
        "min_score",
        "max_score",
        "samples",
        "text_field",
        "id_field",
        "columns",
        "overlong",
        "output_format",
    )
    bounds = [
        {"tasks": [find_task(task).name for task in each.tasks], "above": each.above, "at_most": each.at_most}
        for each in tasks.routes
    ]
    return {
        "input": [[path, file_size(path)] for path in files],
        "tasks": {task.name: asdict(task) for task in (*tasks.of_documents, *tasks.from_nothing)},
        "routes": bounds,
        "model": job.model,
        "sampling": job.generation().model_dump(),
        "tokenizer": tokenizer.fingerprint,
        **{name: getattr(job, name) for name in kept},
    }


class _Run:
    """A job under way: its plan is made in one go, then nothing of it changes but the books."""

    def __init__(
        self, job: Job, tasks: Tasks, tokenizer: TokenCounter, files: tuple[str, ...], output: Output, identity: Record,
        earlier: Record | None, progress: Progress,
    ) -> None:  # fmt: skip
        self.job, self.output, self.identity, self.progress = job, output, identity, progress
        self.started_at = earlier["started_at"] if earlier else _now()
        self.rows_per_partition = earlier["rows_per_partition"] if earlier else job.rows_per_partition
        self.parts = plan_parts(files, rows_per_partition=self.rows_per_partition, samples=job.samples)
        of_files = [part for part in self.parts if part.file]
        found = self._columns(tasks, of_files) if of_files else None
        repeated = find_repeated_ids(of_files, found) if found else {}
        self.works = [Work(part, tuple(repeated.get(part.index, ()))) for part in self.parts]
        self.plan = self._plan(tasks, tokenizer, found)
        self.done: set[int] = set()
        self.sums = Sums()
        self.books_written_at = 0.0

    def to_its_end(self) -> Record:
        check_endpoint(self.plan.recipe.endpoint)
        with self.output.lock(), self._told_how_it_ended():
            self._take_over_what_is_done()
            self.progress.started(len(self.works), len(self.done))
            self._write_books("running")
            for text in self._finished([work for work in self.works if work.part.index not in self.done]):
                self._count(PartRecord.from_json(text))
                self.progress.part_done()
            check_identity(self.sums)
            return self._write_books("done")

    @contextmanager
    def _told_how_it_ended(self) -> Iterator[None]:
        """Where the job does not reach its end, the books say why."""
        try:
            yield
        except KeyboardInterrupt:
            self._write_books("interrupted")
            raise
        except NemoccError as error:
            self._write_books("stopped", str(error))
            raise

    def _take_over_what_is_done(self) -> None:
        records = read_records(self.output, range(len(self.parts)))
        self.done, self.sums = set(records), add_up(records.values())

    def _count(self, record: PartRecord) -> None:
        """Add a finished partition to the books, which are written now and then only: there may be many partitions."""
        self.done.add(record.index)
        self.sums = self.sums + Sums.of(record)
        if time.monotonic() - self.books_written_at > WRITE_BOOKS_EVERY_S:
            self._write_books("running")

    def _finished(self, left: list[Work]) -> Iterator[str]:
        with self._cluster() as client:
            share = requests_per_process(client, self.job.max_concurrent_requests)
            yield from run_partitions(client, left, self._plan_with(share), on_counts=self.progress.counted)

    def _plan_with(self, max_concurrent_requests: int) -> Plan:
        """The plan as one worker process gets it, with its share of the requests."""
        recipe = self.plan.recipe
        endpoint = recipe.endpoint.replace(max_concurrent_requests=max_concurrent_requests)
        return replace(self.plan, recipe=replace(recipe, endpoint=endpoint))

    def _cluster(self) -> AbstractContextManager[Any]:
        if self.job.scheduler or self.job.scheduler_file:
            return running_cluster(self.job.scheduler, self.job.scheduler_file)
        return local_cluster(self.job.workers, self.job.threads_per_worker)

    def _columns(self, tasks: Tasks, parts: list[Part]) -> Columns:
        scored = any(each.needs_score for each in tasks.routes) or (self.job.min_score, self.job.max_score) != (
            None,
            None,
        )
        outputs = {task.output_field for task in tasks.of_documents}
        return find_columns(
            parts, id_field=self.job.id_field, text_field=self.job.text_field, carried=self.job.columns,
            score_field=self.job.score_field if scored else None, reserved=WRITTEN | outputs,
        )  # fmt: skip

    def _plan(self, tasks: Tasks, tokenizer: TokenCounter, found: Columns | None) -> Plan:
        recipe = Recipe(
            tokenizer=tokenizer,
            endpoint=self.job.endpoint(),
            config=self.job.generation(),
            overlong=self.job.overlong,
        )
        return Plan(
            columns=found,
            routes=tasks.routes,
            sample_tasks=tasks.from_nothing,
            recipe=recipe,
            output=self.output,
            output_format=self.job.output_format,
            min_score=self.job.min_score,
            max_score=self.job.max_score,
        )

    def _write_books(self, state: str, error: str | None = None) -> Record:
        books = {
            "version": VERSION,
            "state": state,
            "error": error,
            "started_at": self.started_at,
            "updated_at": _now(),
            "versions": _versions(),
            "settings": self.job.model_dump(mode="json", exclude={"task"}),
            "identity": self.identity,
            "rows_per_partition": self.rows_per_partition,
            "parts": {"all": len(self.parts), "done": len(self.done)},
            "documents": {"stages": [count.as_record() for count in self.sums.documents]},
            "tasks": {name: task_account(stages) for name, stages in self.sums.tasks.items()},
        }
        self.books_written_at = time.monotonic()
        self.output.write_text(RUN, json.dumps(books, indent=1, ensure_ascii=False, default=dict))
        return books


def failed_fraction(books: Record) -> float:
    """Failed rows over rows that needed a response, all tasks together; 0 where none did."""
    asked = sum(account["requests"] for account in books["tasks"].values())
    failed = sum(sum(account["failed"].values()) for account in books["tasks"].values())
    return failed / asked if asked else 0.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@lru_cache
def _versions() -> dict[str, str]:
    packages = ("nemocc-dask", "dask", "distributed", "pandas", "pyarrow", "aiohttp", "transformers", "gigatoken")
    return {name: importlib.metadata.version(name) for name in packages}
