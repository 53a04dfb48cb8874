"""The Dask cluster that a job runs on: one of its own on this machine, or one that is running already."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import dask
from distributed import Client, LocalCluster, Worker, WorkerPlugin

from nemocc_dask.connect import connect
from nemocc_dask.devices import cuda_devices
from nemocc_dask.errors import JobError

_HERE = "127.0.0.1:0"
"""For the cluster's web pages. None would take port 8787 and warn where another job has it, and let the network in."""

CLOSE_S = 10.0
"""Longest wait for a cluster of our own to close. A worker that was killed while it was starting, such as by a system
short of memory, leaves behind a nanny for whose end Dask waits for ever."""


_NO_PROFILE = {"distributed.worker.profile.enabled": False}
"""Dask keeps a tree of calls for each second of an hour: the longer a job, the more memory."""


@contextmanager
def local_cluster(workers: int, threads_per_worker: int) -> Iterator[Client]:
    """A Dask cluster on this machine: in this process for one worker, in processes of their own for several."""
    pages = {"dashboard_address": _HERE, "worker_dashboard_address": _HERE}
    several = workers > 1
    with dask.config.set(_NO_PROFILE):
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=threads_per_worker, processes=several, silence_logs=50, **pages
        )
    with _closed_in_time(cluster), Client(cluster) as client:
        if several:
            client.register_plugin(_DeafToInterrupts())
        yield client


@contextmanager
def gpu_cluster() -> Iterator[Client]:
    """A Dask cluster with a worker process of one thread for each GPU of this machine that may be used."""
    # Imported where it is asked for: few machines have the library.
    cluster = import_module("nemocc_dask.cuda_cluster").start(dashboard_address=_HERE)
    with _closed_in_time(cluster), Client(cluster) as client:
        client.register_plugin(_DeafToInterrupts())
        yield client


@contextmanager
def _closed_in_time(cluster: Any) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            cluster.close(timeout=CLOSE_S)
        except TimeoutError:
            cluster.shutdown_on_close = False  # or this process would wait once more; what is left ends with it


class _DeafToInterrupts(WorkerPlugin):  # type: ignore[misc]  # distributed ships no types
    """Ctrl-C reaches every process of a terminal's job; the one that was called ends the others without their help."""

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's signature
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def running_cluster(scheduler: str | None, scheduler_file: str | None, *, gpu: bool) -> Iterator[Client]:
    """A Dask cluster that is already running.

    gpu: every worker has to have a GPU. Raises `JobError` where nobody answers, no worker is there, or one has none.
    """
    address = scheduler or scheduler_file
    with connect(scheduler, scheduler_file) as client:
        if not client.scheduler_info()["workers"]:
            raise JobError(f"The Dask scheduler at {address} has no worker. Start some with 'dask worker {address}'.")
        without = [worker for worker, devices in client.run(cuda_devices).items() if not devices] if gpu else []
        if without:
            raise JobError(
                f"{len(without)} workers of the Dask scheduler at {address} have no GPU, such as {without[0]}. Start "
                f"workers with 'dask cuda worker {address}', or leave out --gpu."
            )
        yield client
