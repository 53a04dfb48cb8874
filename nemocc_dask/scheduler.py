"""What lives in a Dask scheduler: it knows which jobs run, passes on who is to stop, and shares out their limits.

Nothing here is needed to go on after the scheduler has died: what a job has done is in its folder.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from distributed import Client, Scheduler, SchedulerPlugin

from nemocc_dask.errors import JobError
from nemocc_dask.llm import Broker, Stop, Usage
from nemocc_dask.settings import Endpoint

log = logging.getLogger("nemocc_dask")

AGAIN_S = 0.25
"""Between two words of a worker whose job shares no limits."""

SILENT_S = 5.0
"""Partitions of a worker that has not been heard of for so long are not waited for."""

FORGOTTEN_S = 3600.0
"""A launch that nobody has closed, since whoever launched it has died, and that no worker has told of for so long."""

DEATHS = 2
"""Workers that may die over a partition before it is looked into by itself, without endangering another."""

DRIVER_DEATHS = 20
"""Workers that may die while they have a driver in hand: it does little, so it is hardly ever to blame."""

PARTITION, DRIVER = "nemocc-partition", "nemocc-driver"
"""Begin the names of tasks: one partition's work, and what drives a job that was submitted."""


class _Launch:
    """One start of a job. broker: shares its limits out; None where one process has them all."""

    def __init__(self, broker: Broker | None) -> None:
        self.broker = broker
        self.stop = Stop.GO
        self.out_of_budget = False
        self.at_work: dict[str, tuple[int, float]] = {}
        self.heard_at = time.monotonic()

    def working(self, now: float) -> int:
        """Partitions at work, as far as they are told of."""
        return sum(parts for parts, told_at in self.at_work.values() if now - told_at < SILENT_S)


class Launches(SchedulerPlugin):  # type: ignore[misc]  # distributed ships no types
    """The jobs that a scheduler's workers are at, by the name of each launch."""

    name = "nemocc-launches"
    idempotent = True

    def start(self, scheduler: Scheduler) -> None:
        """Called by Dask when the plugin gets there: from now on these questions are answered."""
        self._scheduler = scheduler
        self._launches: dict[str, _Launch] = {}
        self._driver_deaths: Counter[str] = Counter()
        scheduler.handlers.update(
            nemocc_open=self.open, nemocc_renew=self.renew, nemocc_stop=self.stop, nemocc_look=self.look,
            nemocc_close=self.close_launch, nemocc_drivers=self.drivers,
        )  # fmt: skip

    def open(self, launch: str, endpoint: str | None) -> None:
        """A launch begins. endpoint: settings as JSON, whose limits are shared out; None shares none."""
        now = time.monotonic()
        for name in [name for name, each in self._launches.items() if now - each.heard_at > FORGOTTEN_S]:
            del self._launches[name]
        broker = Broker(Endpoint.model_validate_json(endpoint)) if endpoint else None
        self._launches.setdefault(launch, _Launch(broker))

    def renew(self, launch: str, worker: str, usage: Sequence[Any] | None, at_work: int) -> dict[str, Any] | None:
        """A worker tells how it stands; what it may use, and whether to stop. None of a launch that is not there."""
        known = self._launches.get(launch)
        if known is None:
            return None
        known.heard_at = now = time.monotonic()
        known.at_work[worker] = at_work, now
        grant = known.broker.renew(worker, Usage(*usage), now) if known.broker and usage is not None else None
        return {
            "stop": int(known.stop),
            "out_of_budget": known.out_of_budget,
            "grant": grant and tuple(grant),
            "again_s": grant.again_s if grant else AGAIN_S,
        }

    def stop(self, launch: str, how: int, out_of_budget: bool = False) -> None:
        """Whoever tells of the launch from now on is told to stop."""
        known = self._launches.get(launch)
        if known is not None:
            known.stop = max(known.stop, Stop(how))
            known.out_of_budget |= out_of_budget

    def look(self, launch: str) -> dict[str, int]:
        """`at_work`: partitions that are. `threads`: of all workers. `processes`: that share the limits."""
        known = self._launches.get(launch)
        return {
            "at_work": known.working(time.monotonic()) if known else 0,
            "threads": self._scheduler.total_nthreads,
            "processes": known.broker.processes if known and known.broker else 0,
        }

    def close_launch(self, launch: str) -> None:
        """It is over: workers that tell of it are told so."""
        self._launches.pop(launch, None)

    def drivers(self, prefix: str) -> list[str]:
        """Names of tasks that drive a run, or are going to, whose names begin so."""
        over = {"memory", "erred", "forgotten"}
        tasks = [task for task in self._scheduler.tasks.values() if str(task.key).startswith(prefix)]
        return [str(task.key) for task in tasks if task.state not in over]

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask when a worker is gone, whether it was meant to or not."""
        for known in self._launches.values():
            known.at_work.pop(worker, None)
            if known.broker:
                known.broker.gone(worker, time.monotonic())
        for task in scheduler.tasks.values():
            if task.suspicious and isinstance(task.key, tuple) and str(task.key[0]).startswith(PARTITION):
                # Dask blames each partition that was in the worker's hands. By its own measure one that kills its
                # worker would take along three more, and what they have in hand.
                task.suspicious = max(task.suspicious, scheduler.allowed_failures + 2 - DEATHS)
            elif task.suspicious and str(task.key).startswith(DRIVER):
                self._driver_deaths[task.key] += task.suspicious
                if self._driver_deaths[task.key] < DRIVER_DEATHS:
                    task.suspicious = 0


def install(client: Client) -> None:
    """Have a cluster's scheduler answer for launches. Raises `JobError` where it cannot."""
    try:
        client.register_plugin(Launches())
    except (ImportError, AttributeError) as error:
        raise JobError(
            f"The Dask scheduler at {client.scheduler.address} cannot load nemocc_dask ({error}). Install the same "
            "version of it there as here."
        ) from None


def ask(client: Client, question: str, **details: Any) -> Any:
    """What the scheduler answers to one of the questions of `Launches`, such as `look`.

    Raises `JobError` where the scheduler is gone.
    """
    if client.status == "closed":  # Dask has tried for long enough
        raise _gone(client)
    try:
        return client.sync(getattr(client.scheduler, f"nemocc_{question}"), **details)
    except OSError:
        raise _gone(client) from None


def _gone(client: Client) -> JobError:
    return JobError(
        f"The Dask scheduler at {client.scheduler.address} does not answer any more. Start it again, and its workers; "
        "the same command then goes on where this one stopped."
    )
