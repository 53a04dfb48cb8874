"""A job that has been started, as one process knows it: what stops it, what it has taken, what it may send.

While partitions of it are at work here, the process tells the Dask scheduler of them a few times a second, and hears
whether to go on, and with how many requests (`scheduler.Launches`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Status, Worker

from nemocc_dask.budget import Caps, Meter, Tokens
from nemocc_dask.llm import Grant, SharedLimits, Stop, Usage
from nemocc_dask.settings import Endpoint

log = logging.getLogger("nemocc_dask")

UNHEARD_AGAIN_S = 0.1
"""After nobody heard."""

PATIENCE_S = 3.0
"""Longest wait for the scheduler's word. A grant has run out by then, so nothing is lost by asking anew."""

STAYS_S = 5.0
"""Without partitions a process goes on telling for so long: mostly the next one comes at once."""


class Launch:
    """What all partitions of a run that has been started share within one process.

    A run that goes on is launched anew: what stopped it before does not stop it again.

    taken: tokens the run had taken before. shared: the endpoint whose limits other processes keep too; None where this
    is the only one. on_idle: called when nothing is at work here any more.
    """

    def __init__(
        self,
        name: str,
        caps: Caps,
        taken: Tokens,
        shared: Endpoint | None = None,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._on_idle = on_idle
        self.meter = Meter(caps, taken)
        self.stop = Stop.GO
        self.out_of_budget = False
        self.at_work = 0
        self.trouble: Exception | None = None
        self._limits = SharedLimits(shared, name) if shared is not None else None
        self._lock = threading.Lock()
        self._is_member = False
        self._idle_since = 0.0

    @contextmanager
    def partition(self, worker: Worker | None) -> Iterator[None]:
        """Counts a partition as being at work while the block runs. worker: where it does, if that is one of Dask."""
        with self._lock:
            self.at_work += 1
            joins = worker is not None and not self._is_member
            self._is_member |= joins
        if worker is not None and joins:
            worker.loop.add_callback(self._belong, worker)
        try:
            yield
        finally:
            with self._lock:
                self.at_work -= 1
                self._idle_since = time.monotonic()

    def end(self, how: Stop) -> None:
        """Send nothing more; what was said before stays, unless this is more urgent."""
        self.stop = max(self.stop, how)

    def end_for_want_of_budget(self) -> None:
        """Send nothing more, and await what is in flight: it is paid for."""
        self.out_of_budget = True
        self.end(Stop.FINISH)

    # --- one of several processes -------------------------------------------------------------------------------------

    async def _belong(self, worker: Worker) -> None:
        """Tells and hears, until nothing is at work here any more. Runs on the worker's own loop."""
        try:
            while not self._leaves() and (again_s := await self._tell(worker)) is not None:  # noqa: ASYNC110 - nobody calls
                await asyncio.sleep(again_s)
        except Exception as error:
            # Without a word from the scheduler the partitions here would wait for ever.
            log.exception("The scheduler cannot be told how %s stands.", self.name)
            self.trouble = error
            self.end(Stop.DRAIN)
        self._on_idle()

    def _leaves(self) -> bool:
        with self._lock:
            self._is_member = self.at_work > 0 or time.monotonic() - self._idle_since < STAYS_S
            return not self._is_member

    async def _tell(self, worker: Worker) -> float | None:
        """Seconds until the next time; None where it is over."""
        if worker.status in (Status.closing, Status.closed, Status.failed):
            self.end(Stop.DRAIN)  # who has lost the scheduler, or is ended by it, works for nobody
            return None
        asked_at = time.monotonic()
        usage: Usage | None = None
        if self._limits:
            usage = await asyncio.wrap_future(self._limits.usage())
        try:
            said = await asyncio.wait_for(
                worker.scheduler.nemocc_renew(
                    launch=self.name, worker=worker.address, usage=usage and tuple(usage), at_work=self.at_work
                ),
                PATIENCE_S,
            )
        except OSError:  # a time-out is one, too
            if self._limits and usage is not None:
                self._limits.told_in_vain(usage)
            return UNHEARD_AGAIN_S
        return self._hear(said, asked_at)

    def _hear(self, said: dict[str, Any] | None, asked_at: float) -> float | None:
        if said is None:  # the scheduler knows of no such launch any more
            self.end(Stop.DRAIN)
            if self._limits:
                self._limits.close()
            return None
        if said["out_of_budget"]:
            self.end_for_want_of_budget()
        self.end(Stop(said["stop"]))
        if self._limits and said["grant"]:
            self._limits.go_by(Grant(*said["grant"]), asked_at)
        return float(said["again_s"])


_launches: dict[str, Launch] = {}
"""Name of a launch → what this process knows of it."""


def launch(name: str, make: Callable[[], Launch]) -> Launch:
    """The launch of that name in this process, made where there is none yet."""
    found = _launches.get(name)
    return found if found is not None else _launches.setdefault(name, make())
