"""One job from its settings to its books: everything is looked at before the first request, then partitions run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from nemocc_dask.again import Again
from nemocc_dask.books import DONE, INTERRUPTED, REPLACING, RUNNING, STOPPED, Beginning, Books
from nemocc_dask.clusters import gpu_cluster, local_cluster, running_cluster
from nemocc_dask.dispatch import Partitions
from nemocc_dask.errors import JobCancelledError, JobError, NemoccError, OutputError
from nemocc_dask.identity import recipes_of
from nemocc_dask.io.accounts import check_identity
from nemocc_dask.io.manifest import (
    PartRecord,
    read_books,
    read_records,
    record_name,
    remove_empty_rejects,
    remove_results,
)
from nemocc_dask.io.parts import plan_parts
from nemocc_dask.io.scan import find_repeated_ids
from nemocc_dask.llm import check_endpoint
from nemocc_dask.logs import about, event
from nemocc_dask.order import Order
from nemocc_dask.partition import Plan, Work
from nemocc_dask.pulse import CANCEL, CANCELLED, Driver, Pulse, driven_words, is_driven, read_progress
from nemocc_dask.renewal import agree, change_of, tasks_to_clear
from nemocc_dask.settings import Job
from nemocc_dask.worker import OutOfBudgetError, log_as_configured

log = logging.getLogger("nemocc_dask")

INTERRUPT_TOLD = "Interrupted: what is in flight is awaited for some seconds, and stored. Ctrl-C again gives it up."

Record = dict[str, Any]
Confirm = Callable[[str], bool]


class Progress(Protocol):
    """What a job tells while it runs; all methods may be called from other threads."""

    def told(self, line: str) -> None:
        """Something a person should know, in one line."""

    def started(self, parts: int, done: int) -> None:
        """So many partitions in all, so many of them done in an earlier run."""

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """What came in for a partition: more `rows`, `answers` and `reused` ones among them, `failed`, and of answers
        that were paid for now `prompt_tokens`, `completion_tokens`; `estimated_...` where the endpoint told none."""

    def part_done(self) -> None:
        """One more partition is finished."""


class _Silent:
    def told(self, line: str) -> None:
        """Say nothing."""

    def started(self, parts: int, done: int) -> None:
        """Say nothing."""

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """Say nothing."""

    def part_done(self) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Place:
    """Where a job is driven from, if not from the process that was called: a task of the cluster that it runs on.

    patience_s: longest wait for another driver of the same run to notice that it has been replaced.
    """

    client: Any
    pulse: Pulse
    patience_s: float


def run_job(
    job: Job, *, progress: Progress | None = None, confirm: Confirm | None = None, place: Place | None = None
) -> Record:
    """Run a job, or what is left of it, and return its books: what `run.json` holds.

    A run that ended is not run again. One that broke goes on with the partitions that are missing. Where the job has
    changed since, all shards are made anew, and only answers that the store does not hold are asked for.

    confirm: puts a question to a person, where changed settings would have many rows paid for again, or remove the
    results of a task; without it that takes `job.yes`. place: where it is driven from; None: from here.

    Raises a `CallerError` before the first request where the call is wrong, a `JobError` where the job cannot go on,
    among them `BudgetReachedError`; what is finished by then stays, and what is paid for is in the store.

    >>> from tempfile import TemporaryDirectory
    >>> from nemocc_dask.simulate import Simulator
    >>> with Simulator() as endpoint, TemporaryDirectory() as folder:
    ...     books = run_job(Job(output=folder, samples=3, base_url=endpoint.base_url, model="simulated"))
    >>> books["state"], books["tasks"]["multilingual_qa"]["kept"]
    ('done', 3)
    """
    log_as_configured()
    progress, order = progress or _Silent(), Order.of(job)
    earlier = read_books(order.output)
    if earlier is None:
        return _Run(order, Beginning.anew(), None, progress, place).to_its_end()
    change = change_of(earlier, order.identity, recipes_of(job, order.tasks), output=order.output, store=order.store)
    if change is not None:
        agree(change, output=order.output, yes=job.yes, confirm=confirm, tell=progress.told)
        return _Run(order, Beginning.anew(tasks_to_clear(earlier)), earlier, progress, place).to_its_end()
    if not _is_work_left(earlier, Again.of(job), progress):
        return earlier
    return _Run(order, Beginning.of(earlier), earlier, progress, place).to_its_end()


def _is_work_left(earlier: Record, again: Again, progress: Progress) -> bool:
    rows = again.rows(earlier) if again.is_wanted else 0
    if again.is_wanted:
        which = " or ".join([*(["failed"] if again.failed else []), *(f"came {flaw}" for flaw in sorted(again.flaws))])
        progress.told(f"{rows:,} rows of this run {which}{': they are asked again' if rows else ''}.")
    return rows > 0 or earlier["state"] != DONE


def failed_fraction(books: Record) -> float:
    """Failed rows over rows that needed a response, all tasks together; 0 where none did."""
    asked = sum(account["requests"] for account in books["tasks"].values())
    failed = sum(sum(account["failed"].values()) for account in books["tasks"].values())
    return failed / asked if asked else 0.0


class _Run:
    """A job under way: its plan is made in one go, then nothing of it changes but the books.

    earlier: the books that were found in its folder.
    """

    def __init__(
        self, order: Order, beginning: Beginning, earlier: Record | None, progress: Progress, place: Place | None
    ) -> None:
        job, self.place = order.job, place
        self.job, self.output, self.earlier, self.progress = job, order.output, earlier, progress
        self.is_new = earlier is None or beginning.run != earlier["run"]
        parts = plan_parts(order.files, rows_per_partition=job.rows_per_partition, samples=job.samples)
        of_files = [part for part in parts if part.file]
        found = order.columns(of_files)
        repeated = find_repeated_ids(of_files, found) if found else {}
        self.works = [Work(part, tuple(repeated.get(part.index, ()))) for part in parts]
        self.plan = order.plan(found, beginning.run)
        self.books = Books(job, order.output, order.store, order.identity, beginning)

    def to_its_end(self) -> Record:
        check_endpoint(self.plan.recipe.endpoint)
        patience_s = self.place.patience_s if self.place else 0.0
        with about(run=self.plan.run), self.output.lock(patience_s), self._pulse() as self.pulse:
            if read_books(self.output) != self.earlier:
                raise OutputError(
                    f"Another run has written to {self.output.url!r} meanwhile. Run the same command again."
                )
            with self._told_how_it_ended():
                self.pulse.books = self.books
                self.output.remove_unfinished()
                self._make_room()
                left = self._take_over_what_is_done()
                self.progress.started(len(self.works), len(self.books.done))
                self._log_beginning()
                self._finish(left)
                self.output.remove_unfinished()  # of workers that died
                remove_empty_rejects(self.output, self.books.sums.tasks)
                check_identity(self.books.sums)
                self.pulse.told(DONE)
                return self.books.write(DONE)

    def _log_beginning(self) -> None:
        what = "run_started" if self.is_new else "run_resumed"
        parts, done = len(self.works), len(self.books.done)
        told = event(what, output=self.output.url, partitions=parts, done=done)
        log.info("A run begins: %d of %d partitions are done.", done, parts, extra=told)

    @contextmanager
    def _pulse(self) -> Iterator[Pulse]:
        """What tells how the run stands; whoever drives it from elsewhere has begun to tell already."""
        if self.place:
            yield self.place.pulse
            return
        driver = Driver(scheduler=self.job.scheduler or self.job.scheduler_file)
        # A folder that can be locked is locked by now. An object store has no locks.
        told = None if self.output.is_local else read_progress(self.output)
        if told and is_driven(told, by_other_than=driver):
            raise OutputError(driven_words(self.output, told))
        self.output.remove([CANCEL])
        with Pulse(self.output, driver) as pulse:
            yield pulse

    @contextmanager
    def _told_how_it_ended(self) -> Iterator[None]:
        """Where the job does not reach its end, the books say why, where they can be written; its error is raised."""
        try:
            yield
        except KeyboardInterrupt:
            self._tell(INTERRUPTED)
            raise
        except JobCancelledError:
            self._tell(CANCELLED)
            raise
        except NemoccError as error:
            self._tell(STOPPED, str(error))
            raise

    def _tell(self, state: str, error: str | None = None) -> None:
        self.pulse.told(state, error or "")
        with suppress(JobError):
            self.books.write(state, error)

    def _make_room(self) -> None:
        """Remove what another run has left. Whoever finds the folder in the middle of that goes on with it."""
        if self.books.replaces:
            self.books.write(REPLACING)
        if self.is_new or self.books.replaces:
            remove_results(self.output, self.books.replaces)
            self.books.replaces = ()

    def _take_over_what_is_done(self) -> list[Work]:
        """Returns what is left. Raises `BudgetReachedError` where a cap was reached before."""
        again = Again.of(self.job)
        redone: list[int] = []
        self.books.take_over(self._kept(again, redone), parts=len(self.works))
        left = [work for work in self.works if work.part.index not in self.books.done]
        if left and self.books.caps.reached_by(self.books.meter.taken):
            raise self.books.caps.error(self.books.meter.taken)
        self.pulse.told(RUNNING)
        self.books.write(RUNNING)  # before records go: a run that lacks some must not be called done
        self.output.remove(record_name(index) for index in redone)
        return left

    def _kept(self, again: Again, redone: list[int]) -> Iterator[PartRecord]:
        """Records of partitions that are done, and not asked for again; the numbers of the others go to `redone`."""
        for record in read_records(self.output, len(self.works)):
            if again.are_in(record):
                redone.append(record.index)
            else:
                yield record

    def _finish(self, left: list[Work]) -> None:
        """Run what is left. Raises `BudgetReachedError` where a cap is reached."""
        try:
            with closing(self._finished(left)) as records:
                for text in records:
                    record = PartRecord.from_json(text)
                    self.books.add(record)
                    self.pulse.finished(record.index)
                    self.progress.part_done()
        except OutOfBudgetError:
            raise self.books.caps.error(self.books.taken()) from None
        except CancelledError:
            if not self.pulse.is_cancelled:
                raise
            raise JobCancelledError("The job has been cancelled. The same command goes on with it.") from None

    def _finished(self, left: list[Work]) -> Generator[str]:
        with self._cluster() as client:
            running = Partitions(client, left, self._plan_now(), self._counted)
            self.pulse.on_cancel = running.stop
            if self.pulse.is_cancelled:  # before anybody could be told
                running.stop()
            yield from running.records(on_interrupt=partial(self.progress.told, INTERRUPT_TOLD))

    def _counted(self, part: int, counts: Mapping[str, int]) -> bool:
        self.progress.counted(part, counts)
        self.pulse.counted(part, counts)
        return self.books.meter.add(counts)

    def _plan_now(self) -> Plan:
        """The plan as workers get it: what the run has taken is known by now."""
        shares_limits = self._is_elsewhere or self.job.gpu or self.job.workers > 1
        return replace(self.plan, shares_limits=shares_limits, caps=self.books.caps, taken=self.books.meter.taken)

    @property
    def _is_elsewhere(self) -> bool:
        return bool(self.job.scheduler or self.job.scheduler_file)

    def _cluster(self) -> AbstractContextManager[Any]:
        if self.place:
            return nullcontext(self.place.client)
        if self._is_elsewhere:
            return running_cluster(self.job.scheduler, self.job.scheduler_file, gpu=self.job.gpu)
        if self.job.gpu:
            return gpu_cluster()
        return local_cluster(self.job.workers, self.job.threads_per_worker)
