"""What a partition tells and asks the Dask worker it runs on; outside a worker there is nobody to tell or ask."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from distributed import Worker, get_worker

PROGRESS_TOPIC = "nemocc-progress"
"""Topic of the worker events that carry progress: {"part": index, "counts": {name: n since the last event}}."""

REPORT_EVERY_S = 0.5


_stop_flags: dict[str, threading.Event] = {}
"""Name of a run → whether it has been stopped in this process. A run has a name of its own each time it is started."""


class PartProgress:
    """Counts what has come in for one partition, and passes it on now and then.

    run: name of the run the partition belongs to. What stops one of its partitions stops all of them in this process.

    `add` may be called from any thread; `tick` is called by threads that wait.
    """

    def __init__(self, part: int, run: str) -> None:
        self._part = part
        self._worker, self._task = _here()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._reported_at = 0.0
        self._stopped = _stop_flags.setdefault(run, threading.Event())

    def add(self, counts: Mapping[str, int]) -> None:
        """Count on."""
        with self._lock:
            self._counts.update(counts)

    def tick(self) -> bool:
        """Report if it is time to; True where the work is to stop, by `stop` or because Dask has cancelled the task."""
        if time.monotonic() - self._reported_at > REPORT_EVERY_S:
            self.report()
        return self._stopped.is_set() or self._cancelled()

    def stop(self) -> None:
        """Have every thread of this run stop at its next tick."""
        self._stopped.set()

    def report(self) -> None:
        """Pass on what has been counted since the last time."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
            self._reported_at = time.monotonic()
        if counts and self._worker is not None:
            self._worker.log_event(PROGRESS_TOPIC, {"part": self._part, "counts": counts})

    def _cancelled(self) -> bool:
        """A running thread is not told that its task was cancelled: it has to look."""
        if self._worker is None or self._task is None:
            return False
        task = self._worker.state.tasks.get(self._task)
        return task is None or task.state in ("cancelled", "released", "forgotten")


def _here() -> tuple[Worker | None, Any]:
    try:
        worker = get_worker()
    except ValueError:  # distributed's word for: this is no worker's thread
        return None, None
    return worker, worker.get_current_task()
