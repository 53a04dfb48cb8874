"""Puts the partitions of a job onto a Dask cluster, one task each, and reads their records as they come.

Apart from chains, for a job needs none of Dask's dataframes: importing those takes a quarter of a second.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from nemocc_dask.errors import JobError
from nemocc_dask.llm import Stop
from nemocc_dask.partition import Plan, Work, run_partition
from nemocc_dask.scheduler import PARTITION, ask, install
from nemocc_dask.suspects import run_suspect
from nemocc_dask.worker import PROGRESS_TOPIC

log = logging.getLogger("nemocc_dask")

AHEAD, FEWEST_AHEAD = 4, 64
"""The scheduler holds so many partitions for each thread of its workers, and no fewer than so many: however many a job
has, it need not remember them all, and none of its workers waits for one."""

LOOK_EVERY_S = 2.0
"""So often it is looked at most how many threads there are."""

ROUNDS = 3
"""So often a partition over which workers died is looked into. What kills may be an answer that came in between."""

LONGEST_END_S = 30.0
"""Longest wait for partitions to end; longer than requests are awaited, and shards written, after a stop."""

ROW_COUNTS = {"rows", "answers", "reused", "failed"}
"""What is counted of rows, of which each is one however often it is asked."""

OnCounts = Callable[[int, Mapping[str, int]], bool]


class Attempts:
    """Counts of partitions, some of which are done again where a worker has died.

    >>> attempts = Attempts()
    >>> _ = attempts.net(3, "first", {"rows": 10, "answers": 4, "prompt_tokens": 70})
    >>> dict(attempts.net(3, "second", {"rows": 10}))
    {'rows': 0, 'answers': -4}
    """

    def __init__(self) -> None:
        self._rows: dict[int, tuple[str, Counter[str]]] = {}

    def net(self, part: int, attempt: str, counts: Mapping[str, int]) -> Counter[str]:
        """The counts, without the rows of an attempt that this one does again; what that has taken stays taken."""
        before, rows = self._rows.get(part, (attempt, Counter()))
        these = Counter({name: counts[name] for name in counts if name in ROW_COUNTS})
        net = Counter(counts)
        if attempt == before:
            these.update(rows)
        else:
            net.subtract(rows)
        self._rows[part] = attempt, these
        return net

    def over(self, part: int) -> None:
        """Nobody does it again."""
        self._rows.pop(part, None)


class Partitions:
    """Partitions of a job on a cluster, earlier ones first.

    on_counts: called on another thread with a partition's index and what has come in for it since the last time; True
    where that is all the run may take. Then all workers end what they have in flight, and send nothing more.

    What has been read is let go: Dask would make it anew, shards and all, where the worker that holds it dies.
    """

    def __init__(self, client: Client, works: Iterable[Work], plan: Plan, on_counts: OnCounts) -> None:
        self._client, self._plan, self._on_counts = client, plan, on_counts
        self._left = iter(works)
        self._running: dict[Future, Work] = {}
        self._completed = as_completed()
        self._told = Attempts()
        self._is_open = self._is_stopped = False
        self._threads, self._look_again_at = 0, 0.0

    def records(self, *, on_interrupt: Callable[[], None]) -> Iterator[str]:
        """The record (JSON) of each as it is finished.

        on_interrupt: called at the first Ctrl-C, before what is in flight is awaited.

        The first partition that raises stops all others, and its error is raised here. One over which workers die is
        looked into (`suspects`); `JobError` where they go on dying; `CancelledError` after `stop`. However it ends, no
        partition is at work any more by then, but for those of workers that cannot be heard, and what was answered is
        stored: an interrupt has them await what is in flight for some seconds, a second one gives that up.
        """
        with self._launched():
            self._client.subscribe_topic(PROGRESS_TOPIC, self._hear)
            try:
                yield from self._records()
            except KeyboardInterrupt:
                on_interrupt()
                raise
            finally:
                self._client.cancel(list(self._running))
                self._end()
                self._client.unsubscribe_topic(PROGRESS_TOPIC)

    def stop(self) -> None:
        """Send nothing more; from any thread, also before they have begun."""
        self._is_stopped = True
        if self._is_open:
            ask(self._client, "stop", launch=self._plan.launch, how=int(Stop.DRAIN))
        self._client.cancel(list(self._running))

    async def _hear(self, event: Any) -> None:
        told = event[1]
        if told["launch"] != self._plan.launch:
            return
        if self._on_counts(told["part"], self._told.net(told["part"], told["attempt"], told["counts"])):
            await self._client.scheduler.nemocc_stop(launch=self._plan.launch, how=int(Stop.FINISH), out_of_budget=True)

    def _records(self) -> Iterator[str]:
        """A partition that stopped because another failed does not hide the other's error."""
        if self._is_stopped:
            raise CancelledError
        stopped = None
        self._submit()
        for future in self._completed:
            work = self._running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if isinstance(error, KilledWorker):
                self._look_into(work, error)
            elif isinstance(error, CancelledError):
                stopped = error
            else:
                yield future.result()
                future.release()
                self._told.over(work.part.index)
            if stopped is None:
                self._submit()
        if stopped is not None:
            raise stopped

    # --- to the cluster -----------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Some more where there is room for several at once, which costs the scheduler less than one by one."""
        room = self._most() - len(self._running)
        if self._running and room < self._most() // 4:
            return
        if works := list(islice(self._left, room)):
            keys = [self._key(work) for work in works]
            self._add(self._client.map(run_partition, works, plan=self._plan, pure=False, key=keys), works)

    def _most(self) -> int:
        """As many as the cluster holds at once; it may grow and shrink."""
        if time.monotonic() > self._look_again_at:
            self._look_again_at = time.monotonic() + LOOK_EVERY_S
            self._threads = ask(self._client, "look", launch=self._plan.launch)["threads"]
        return max(FEWEST_AHEAD, AHEAD * self._threads)

    def _look_into(self, work: Work, death: KilledWorker) -> None:
        if work.looked_into >= ROUNDS:
            raise JobError(
                f"Workers keep dying over the same partition ({work.part.index}, of {work.part.file}), most likely for "
                "want of memory. Use smaller partitions (--rows-per-partition) or fewer threads "
                "(--threads-per-worker), and run the same command again."
            ) from None
        log.warning(
            "Workers have died over partition %d (the last was %s): its documents are looked into one by one, in a "
            "process of their own.", work.part.index, death.last_worker.address,
        )  # fmt: skip
        suspect = replace(work, looked_into=work.looked_into + 1)
        future = self._client.submit(run_suspect, suspect, plan=self._plan, pure=False, key=self._key(suspect))
        self._add([future], [suspect])

    def _key(self, work: Work) -> tuple[str, int, int]:
        """Tasks whose names begin alike are a group to Dask, which sends workers no more of it than they can begin."""
        return f"{PARTITION}-{self._plan.launch[:8]}", work.part.index, work.looked_into

    def _add(self, futures: list[Future], works: list[Work]) -> None:
        self._running.update(zip(futures, works, strict=True))
        self._completed.update(futures)

    # --- beginning and end --------------------------------------------------------------------------------------------

    @contextmanager
    def _launched(self) -> Iterator[None]:
        install(self._client)
        shared = self._plan.recipe.endpoint.model_dump_json() if self._plan.shares_limits else None
        ask(self._client, "open", launch=self._plan.launch, endpoint=shared)
        self._is_open = True
        try:
            yield
        finally:
            ask(self._client, "close", launch=self._plan.launch)

    def _end(self) -> None:
        try:
            self._end_as(Stop.DRAIN)
        except KeyboardInterrupt:
            self._end_as(Stop.NOW)
            raise

    def _end_as(self, how: Stop) -> None:
        """Has all workers stop, and waits until none is at work: one that is closed takes along what it has in hand."""
        launch, ends_at = self._plan.launch, time.monotonic() + LONGEST_END_S
        ask(self._client, "stop", launch=launch, how=int(how))
        while ask(self._client, "look", launch=launch)["at_work"] and time.monotonic() < ends_at:
            time.sleep(0.1)
