"""What a partition tells and asks the Dask worker it runs on; outside a worker there is nobody to tell or ask."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from distributed import Status, Worker, get_worker, secede

from nemocc_dask.budget import Caps, Meter, Tokens
from nemocc_dask.llm import Stop

PROGRESS_TOPIC = "nemocc-progress"
"""Topic of the worker events that carry progress: {"part": index, "counts": {name: n since the last event}}."""

REPORT_EVERY_S = 0.5

SYNC_EVERY_S = 2.0
"""What an attempt has stored outlives the machine by then; the death of the process it outlives anyway."""


class OutOfBudgetError(CancelledError):
    """A partition was stopped because the run has reached one of its caps."""


class Launch:
    """What all partitions of a run that has been started share within one process.

    A run that goes on is launched anew: what stopped it before does not stop it again.
    """

    def __init__(self, caps: Caps, taken: Tokens) -> None:
        self.meter = Meter(caps, taken)
        self.stop = Stop.GO
        self.out_of_budget = False
        self.at_work = 0
        self._lock = threading.Lock()

    @contextmanager
    def partition(self) -> Iterator[None]:
        """Counts a partition as being at work while the block runs."""
        with self._lock:
            self.at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self.at_work -= 1

    def end(self, how: Stop) -> None:
        """Send nothing more; what was said before stays, unless this is more urgent."""
        self.stop = max(self.stop, how)

    def end_for_want_of_budget(self) -> None:
        """Send nothing more, and await what is in flight: it is paid for."""
        self.out_of_budget = True
        self.end(Stop.FINISH)


_launches: dict[str, Launch] = {}
"""Name of a launch → what this process knows of it."""

_over: set[str] = set()
"""Names of launches whose budget is spent, as others have found."""


def launch(name: str, caps: Caps, taken: Tokens) -> Launch:
    """The launch of that name in this process. taken: tokens the run had taken before it."""
    found = _launches.setdefault(name, Launch(caps, taken))
    if name in _over:
        found.end_for_want_of_budget()
    return found


def end_for_want_of_budget(name: str) -> None:
    """Stop a launch in this process, whether or not it has begun here: all processes together have spent its budget."""
    _over.add(name)
    if name in _launches:
        _launches[name].end_for_want_of_budget()


def end_launch(name: str, how: Stop) -> int:
    """Stop a launch in this process; returns how many of its partitions are still at work here."""
    launched = _launches.get(name)
    if launched is None:
        return 0
    launched.end(how)
    return launched.at_work


class PartProgress:
    """Counts what has come in for one partition, and passes it on now and then.

    launched: what stops one of its partitions stops all of them in this process.

    `add` may be called from any thread; `tick` is called by threads that wait.
    """

    def __init__(self, part: int, launched: Launch) -> None:
        self._part, self._launch = part, launched
        self._task = CurrentTask()
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

    def stopped(self) -> CancelledError:
        """Why the work stops, to be raised."""
        if self._launch.out_of_budget:
            return OutOfBudgetError("The run has reached one of its caps.")
        return CancelledError("The run has been stopped.")

    def report(self) -> None:
        """Pass on what has been counted since the last time."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
            self._reported_at = time.monotonic()
        if counts and self._task.worker is not None:
            self._task.worker.log_event(PROGRESS_TOPIC, {"part": self._part, "counts": counts})

    def _sync_now(self) -> None:
        """On one thread at a time; the others need not wait for it."""
        if self._sync is not None and self._syncing.acquire(blocking=False):
            try:
                self._synced_at = time.monotonic()
                self._sync()
            finally:
                self._syncing.release()


_CLOSING = (Status.closing, Status.closed, Status.failed)
"""A worker that was told to end, or has lost its scheduler. Its tasks are others' by then, who would pay once more for
what is asked here; Dask waits some seconds for its threads, in which what is in flight can be stored."""


class CurrentTask:
    """The Dask task that a thread works on. Whoever has one may ask on any thread; make it on the task's own."""

    def __init__(self) -> None:
        self.worker, self._key = _here()

    def is_cancelled(self) -> bool:
        """A running thread is not told that its task was cancelled, or that its worker closes: it has to look."""
        if self.worker is None or self._key is None:
            return False
        if self.worker.status in _CLOSING:
            return True
        task = self.worker.state.tasks.get(self._key)
        return task is None or task.state in ("cancelled", "released", "forgotten")


def _here() -> tuple[Worker | None, Any]:
    try:
        worker = get_worker()
    except ValueError:  # distributed's word for: this is no worker's thread
        return None, None
    return worker, worker.get_current_task()
