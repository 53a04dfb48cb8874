"""Puts the partitions of a job onto a Dask cluster, one task each, and reads their records as they come.

Apart from chains, for a job needs none of Dask's dataframes: importing those takes a quarter of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed
from distributed.client import FutureCancelledError

from nemocc_dask.errors import JobError
from nemocc_dask.io.streams import close_streams
from nemocc_dask.llm import Stop
from nemocc_dask.partition import Plan, Work, run_partition
from nemocc_dask.worker import PROGRESS_TOPIC, end_for_want_of_budget, end_launch

TASK_NAME = "nemocc-partition"
"""Begins the names of the tasks on the dashboard."""

OnCounts = Callable[[int, Mapping[str, int]], bool]


def run_partitions(
    client: Client, works: Sequence[Work], plan: Plan, *, on_counts: OnCounts, on_interrupt: Callable[[], None]
) -> Iterator[str]:
    """Run partitions on a cluster, earlier ones first, and yield the record (JSON) of each as it is finished.

    on_counts: called on another thread with a partition's index and what has come in for it since the last time; True
    where that is all the run may take. Then all workers end what they have in flight, and send nothing more.

    on_interrupt: called at the first Ctrl-C, before what is in flight is awaited.

    The first partition that raises stops all others, and its error is raised here; `JobError` where workers keep dying.
    However it ends, no partition is at work any more by then, and what was answered is stored: an interrupt has them
    await what is in flight for some seconds, a second one gives that up.
    """

    async def hear(event: Any) -> None:
        if on_counts(event[1]["part"], event[1]["counts"]):
            await client.run(end_for_want_of_budget, plan.launch)

    client.subscribe_topic(PROGRESS_TOPIC, hear)
    futures: set[Future] = set(client.map(run_partition, works, plan=plan, pure=False, key=TASK_NAME))
    try:
        yield from _records(futures)
    except KilledWorker as death:
        raise JobError(
            f"Workers keep dying over the same partition ({death.task}), most likely for want of memory. Use smaller "
            "partitions (--rows-per-partition) or fewer threads (--threads-per-worker), and run the same command again."
        ) from None
    except FutureCancelledError:  # nobody here cancels before the end
        raise _scheduler_gone(client) from None
    except KeyboardInterrupt:
        on_interrupt()
        raise
    finally:
        _leave(client, futures, plan.launch)


def _leave(client: Client, futures: set[Future], launch: str) -> None:
    """Has workers end what they do for this launch. Raises `JobError` where the scheduler is gone; then they do too."""
    try:
        client.cancel(list(futures))
        _end(client, launch)
        client.run(close_streams, on_error="ignore")
        client.unsubscribe_topic(PROGRESS_TOPIC)
    except OSError:
        raise _scheduler_gone(client) from None


def _scheduler_gone(client: Client) -> JobError:
    return JobError(
        f"The Dask scheduler at {client.scheduler.address} does not answer any more. Start it again, and its workers; "
        "the same command then goes on where this one stopped."
    )


LONGEST_END_S = 30.0
"""Longest wait for partitions to end; longer than requests are awaited, and shards written, after a stop."""


def _end(client: Client, launch: str) -> None:
    try:
        _end_as(client, launch, Stop.DRAIN)
    except KeyboardInterrupt:
        _end_as(client, launch, Stop.NOW)
        raise


def _end_as(client: Client, launch: str, how: Stop) -> None:
    """Has all workers stop, and waits until none is at work: one that is closed takes along what it has in hand."""
    ends_at = time.monotonic() + LONGEST_END_S
    while sum(client.run(end_launch, launch, how, on_error="ignore").values()) and time.monotonic() < ends_at:
        time.sleep(0.1)


def _records(futures: set[Future]) -> Iterator[str]:
    """The records of finished partitions. One that stopped because another failed does not hide the other's error.

    What has been read is let go: Dask would make it anew, shards and all, where the worker that holds it dies.
    """
    stopped = None
    for future in as_completed(list(futures)):
        if isinstance(future.exception(), CancelledError):
            stopped = future
        else:
            yield future.result()
            futures.discard(future)
            future.release()
    if stopped is not None:
        stopped.result()
