"""What a partition tells and asks the Dask worker it runs on; outside a worker there is nobody to tell or ask."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Worker, get_worker, secede

from nemocc_dask.errors import JobError
from nemocc_dask.launches import Launch
from nemocc_dask.llm import Stop
from nemocc_dask.logs import about, event, switch_on

log = logging.getLogger("nemocc_dask")

PROGRESS_TOPIC = "nemocc-progress"
"""Topic of the worker events that carry progress: {"launch": its name, "part": index, "attempt": a word
that differs where the partition is done again, "counts": {name: n since the last event}}."""

REPORT_EVERY_S = 0.5

SYNC_EVERY_S = 2.0
"""What an attempt has stored outlives the machine by then; the death of the process it outlives anyway."""


class OutOfBudgetError(CancelledError):
    """A partition was stopped because the run has reached one of its caps."""


class PartProgress:
    """Counts what has come in for one partition, and passes it on now and then.

    launched: what stops one of its partitions stops all of them in this process. worker: where it is made, if that is
    a worker of Dask.

    `add` may be called from any thread; `tick` is called by threads that wait.
    """

    def __init__(self, part: int, launched: Launch) -> None:
        self._part, self._launch = part, launched
        self._attempt = uuid.uuid4().hex[:8]
        self._task = CurrentTask()
        self.worker = self._task.worker
        self._has_thread = True
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._reported_at = 0.0
        self._sync: Callable[[], None] | None = None
        self._syncing = threading.Lock()
        self._synced_at = time.monotonic()

    def sync_with(self, sync: Callable[[], None]) -> None:
        """From now on call it now and then, on a thread that waits."""
        self._sync = sync

    def add(self, counts: Mapping[str, int]) -> None:
        """Count on. What reaches a cap stops the run in this process; the client tells the others."""
        with self._lock:
            self._counts.update(counts)
        if self._launch.meter.add(counts):
            self._launch.end_for_want_of_budget()

    def is_stopped(self) -> Stop:
        """Whether, and how, the work is to stop, as far as is known without looking."""
        return self._launch.stop

    def tick(self) -> Stop:
        """Report and sync if it is time to; says whether, and how, the work is to stop."""
        if time.monotonic() - self._reported_at > REPORT_EVERY_S:
            self.report()
        if time.monotonic() - self._synced_at > SYNC_EVERY_S:
            self._sync_now()
        return max(self._launch.stop, Stop.DRAIN if self._task.is_cancelled() else Stop.GO)

    def leave_thread(self, partitions_in_hand: int) -> None:
        """Let the worker begin another partition in this thread's place, unless it has so many in hand already.

        Called on the task's own thread while it waits; a GPU's worker has a single one.
        """
        if self._has_thread and self._task.worker is not None and self._launch.at_work < partitions_in_hand:
            self._has_thread = False
            secede()

    def stop(self) -> None:
        """Have every thread of this run stop at its next tick."""
        self._launch.end(Stop.DRAIN)

    def stopped(self) -> CancelledError | JobError:
        """Why the work stops, to be raised."""
        if self._launch.trouble is not None:
            return JobError(f"A worker could not go on: {self._launch.trouble!r}. Its log says more; please report it.")
        if self._launch.out_of_budget:
            return OutOfBudgetError("The run has reached one of its caps.")
        return CancelledError("The run has been stopped.")

    def report(self) -> None:
        """Pass on what has been counted since the last time."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
            self._reported_at = time.monotonic()
        if counts and self._task.worker is not None:
            told = {"launch": self._launch.name, "part": self._part, "attempt": self._attempt, "counts": counts}
            self._task.worker.log_event(PROGRESS_TOPIC, told)

    def _sync_now(self) -> None:
        """On one thread at a time; the others need not wait for it."""
        if self._sync is not None and self._syncing.acquire(blocking=False):
            try:
                self._synced_at = time.monotonic()
                self._sync()
            finally:
                self._syncing.release()


def log_as_configured() -> None:
    """Write logs as Dask's setting `nemocc.log` says in this process; see `logs.switch_on`."""
    switch_on(dask.config.get("nemocc.log", None))


@contextmanager
def logged(run: str, partition: int) -> Iterator[None]:
    """What is logged while the block runs is about this partition; so are its beginning, and an end before its time."""
    log_as_configured()
    worker, _ = _here()
    with about(run=run, partition=partition, **({"worker": worker.address} if worker else {})):
        log.info("Partition %d begins.", partition, extra=event("partition_begun"))
        try:
            yield
        except BaseException as error:
            # Its kind alone: the words of a library's error may hold a document's.
            told = event("partition_stopped", error=type(error).__name__)
            log.info("Partition %d ends before its time.", partition, extra=told)
            raise


class CurrentTask:
    """The Dask task that a thread works on. Whoever has one may ask on any thread; make it on the task's own."""

    def __init__(self) -> None:
        self.worker, self._key = _here()

    def is_cancelled(self) -> bool:
        """A running thread is not told that its task was cancelled: it has to look."""
        if self.worker is None or self._key is None:
            return False
        task = self.worker.state.tasks.get(self._key)
        return task is None or task.state in ("cancelled", "released", "forgotten")


def _here() -> tuple[Worker | None, Any]:
    try:
        worker = get_worker()
    except ValueError:  # distributed's word for: this is no worker's thread
        return None, None
    return worker, worker.get_current_task()
