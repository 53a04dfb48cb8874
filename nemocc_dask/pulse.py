"""How a run under way stands, written to its folder once a second: whoever looks there needs no cluster and no client.

The same file tells that its driver is alive. A wish to have the run stopped comes the same way, as a file.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from nemocc_dask.books import REPLACING, RUNNING, STOPPED, Books
from nemocc_dask.budget import Tokens
from nemocc_dask.errors import JobError
from nemocc_dask.io.write import BOOKS, Output

PROGRESS, CANCEL = f"{BOOKS}/progress.json", f"{BOOKS}/cancel"
"""How the run stands; its presence asks for the run to be stopped."""

BEAT_S, REMOTE_BEAT_S = 1.0, 3.0
"""Between two beats, on a local or network file system and on an object store."""

LOST_S = 15.0
"""A driver that has not been heard of for so long is taken to be dead."""

RATE_OVER_S = 60.0
"""The rate is that of the last minute."""

PREPARING, CANCELLED = "preparing", "cancelled"
UNDER_WAY = {PREPARING, RUNNING, REPLACING}
"""States of a run that is being driven."""

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who drives a run: a process that was called, or a task on a Dask worker.

    scheduler: address of the cluster it runs on; None where that is its own. worker: address of the worker that drives;
    None where the process does that was called.
    """

    scheduler: str | None = None
    worker: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: _now())

    def words(self) -> str:
        """Where it is, for a person."""
        where = f"worker {self.worker} of {self.scheduler}" if self.worker else "the process that was called"
        return f"{where}, process {self.pid} on {self.host}"


class Pulse:
    """Tells how a run stands, while the `with` block runs.

    on_cancel: called on another thread when somebody wants the run to stop; is_cancelled: somebody did.
    """

    def __init__(self, output: Output, driver: Driver) -> None:
        self._output, self.driver = output, driver
        self.books: Books | None = None
        self.on_cancel: Callable[[], None] = lambda: None
        self.is_cancelled = False
        self._state, self._error = PREPARING, ""
        self._lock = threading.Lock()
        self._open: dict[int, Counter[str]] = {}
        self._rows_then: deque[tuple[float, int]] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="nemocc-pulse", daemon=True)

    def __enter__(self) -> Self:
        self._before = read_progress(self._output)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.books is None and self._state not in UNDER_WAY and not self._error and self._before is not None:
            self._output.write_text(PROGRESS, json.dumps(self._before, indent=1))  # the run was over before
        else:
            self._write()

    def told(self, state: str, error: str = "") -> None:
        """The run's state from now on; written with the next beat. What has ended is told by the books alone."""
        self._state, self._error = state, error
        if state not in UNDER_WAY:
            with self._lock:
                self._open.clear()

    def failed(self, error: str) -> None:
        """The run cannot go on; where it has told why itself, that stands."""
        if self._state in UNDER_WAY:
            self.told(STOPPED, error)

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """What came in for a partition that is not finished."""
        with self._lock:
            self._open.setdefault(part, Counter()).update(counts)

    def finished(self, part: int) -> None:
        """The books tell of this partition from now on."""
        with self._lock:
            self._open.pop(part, None)

    def record(self) -> Record:
        """As it is written: what the books tell, and what came in for partitions that are not finished."""
        books = self.books
        with self._lock:
            counts = _added([books.counts() if books else Counter(), *self._open.values()])
            begun, parts = len(self._open), (len(books.done), books.parts) if books else (0, 0)
        done = counts["answers"] + counts["failed"]
        known, rate = parts[0] + begun, self._rate(done - counts["reused"])
        rows = round(counts["rows"] * parts[1] / known) if known else 0  # those not yet begun are taken to be like them
        tokens = Tokens(counts["prompt_tokens"], counts["completion_tokens"])
        return {
            "run": books.run if books else None,
            "state": self._state,
            "error": self._error or None,
            "driver": asdict(self.driver),
            "updated_at": _now(),
            "parts": {"all": parts[1], "done": parts[0]},
            "rows": {"all": rows, "are_known": known >= parts[1] > 0, "done": done},
            **{name: counts[name] for name in ("answers", "reused", "failed", "http_requests")},
            "prompt_tokens": tokens.prompt,
            "completion_tokens": tokens.completion,
            "cost": tokens.cost(books.caps.prices) if books else None,
            "rows_per_s": round(rate, 2),
            "eta_s": round(max(0, rows - done) / rate, 1) if rate and self._state in UNDER_WAY else None,
        }

    def _rate(self, rows: int) -> float:
        """Rows a second that were asked for, over the last minute."""
        now = time.monotonic()
        self._rows_then.append((now, rows))
        while now - self._rows_then[0][0] > RATE_OVER_S:
            self._rows_then.popleft()
        since, before = self._rows_then[0]
        return max(0, rows - before) / (now - since) if now > since else 0.0

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S if self._output.is_local else REMOTE_BEAT_S):
            if not self.is_cancelled and self._output.exists(CANCEL):
                self.is_cancelled = True
                self.on_cancel()
            self._write()

    def _write(self) -> None:
        try:
            self._output.write_text(PROGRESS, json.dumps(self.record(), indent=1))
        except JobError:
            return  # the partitions themselves will meet the same, and stop the run


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _added(several: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counts in several:
        total.update(counts)  # a sum of counters would leave out what is below zero
    return total


# --- what others see of it --------------------------------------------------------------------------------------------


def read_progress(output: Output) -> Record | None:
    """How the run in a folder stands, as it was last told; None where nobody has told."""
    if not output.exists(PROGRESS):
        return None
    record: Record = json.loads(output.read_text(PROGRESS))
    return record


def silent_s(record: Record) -> float:
    """Seconds since it was told; by this machine's clock, which may differ from the driver's."""
    return (datetime.now(UTC) - datetime.fromisoformat(record["updated_at"])).total_seconds()


def is_driven(record: Record, *, by_other_than: Driver | None = None) -> bool:
    """Whether somebody is driving the run, as far as can be told from here."""
    if record["state"] not in UNDER_WAY or silent_s(record) > LOST_S:
        return False
    return by_other_than is None or not _is_known_dead(driver_of(record), by_other_than)


def _is_known_dead(other: Driver, driver: Driver) -> bool:
    """A process of this machine can be looked at; of another one, only its silence tells."""
    if other.host != driver.host:
        return False
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return other.pid == driver.pid  # a task that this process had before


def driver_of(record: Record) -> Driver:
    """Who drives it, or did."""
    return Driver(**record["driver"])


def driven_words(output: Output, record: Record) -> str:
    """What to tell whoever would run into a folder that another is driving a run in."""
    return (
        f"Another run is writing to {output.url!r}: {driver_of(record).words()}, told of it {silent_s(record):.0f} s "
        f"ago. Look with 'nemocc-dask status', end it with 'nemocc-dask cancel', or name another --output. If it has "
        f"died, wait until it has been silent for {LOST_S:.0f} s."
    )


def duration(seconds: float) -> str:
    """Minutes and seconds, and hours where there are some.

    >>> duration(65), duration(3700)
    ('1:05', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
