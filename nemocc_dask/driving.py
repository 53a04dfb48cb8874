"""A job that is handed to a Dask cluster, which drives it there: nobody has to stay connected.

The driver is a task on one of the workers. Where that worker dies, Dask begins the task anew on another, which goes on
with what is missing. All that lasts is in the run's folder; the scheduler remembers nothing that is needed.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import Any

from distributed import Client, Future, fire_and_forget, get_worker, worker_client

from nemocc_dask.books import RUNNING
from nemocc_dask.clusters import running_cluster
from nemocc_dask.errors import JobError, NemoccError, OutputError, SettingError
from nemocc_dask.io.manifest import read_books
from nemocc_dask.io.write import Output
from nemocc_dask.job import Place, Record, run_job
from nemocc_dask.pulse import (
    BEAT_S,
    CANCEL,
    LOST_S,
    UNDER_WAY,
    Driver,
    Pulse,
    driven_words,
    driver_of,
    is_driven,
    read_progress,
)
from nemocc_dask.resolve import with_tasks_read
from nemocc_dask.scheduler import DRIVER, ask, install
from nemocc_dask.settings import FROM_ENVIRONMENT, Job

PATIENCE_S = 60.0
"""Longest wait of a driver for another of the same run to end: one that was cut off from the scheduler notices it."""

FIRST_NEWS_S = 15.0
"""So long `submit` waits for the run to begin, or for what is wrong with it."""

LONGEST_CANCEL_S = 60.0
"""Longest wait for a driver to end the run."""

LOOK_EVERY_S = 0.2


# --- handing over -----------------------------------------------------------------------------------------------------


def submit(job: Job) -> Record | None:
    """Hand a job to a running cluster; returns how it stands as soon as it has begun, None where that takes longer.

    Raises a `CallerError` where the call is wrong, among them `OutputError` where the run is being driven already, and
    `SettingError` where a worker lacks a variable that holds a secret; a `JobError` where the cluster cannot take it.
    """
    if not (job.scheduler or job.scheduler_file):
        raise SettingError("submit needs a running cluster: name it with --scheduler, or --scheduler-file.")
    job = _for_elsewhere(job)
    output = Output(job.output)
    with running_cluster(job.scheduler, job.scheduler_file, gpu=job.gpu) as client:
        install(client)
        _check_variables(client, job)
        name = f"{DRIVER}-{_digest(output.url)}"
        _refuse_while_driven(client, output, name)
        output.remove([CANCEL])
        future = client.submit(drive, job, client.scheduler.address, key=f"{name}-{uuid.uuid4().hex[:8]}", pure=False)
        fire_and_forget(future)
        return _first_news(future, output, read_progress(output))


def _for_elsewhere(job: Job) -> Job:
    """The job as another process understands it: no path that begins in this folder, no file that only this one has."""
    changes: dict[str, Any] = {
        "input": tuple(map(_absolute, job.input)),
        "output": _absolute(job.output),
        "tokenizer": _absolute_if_there(job.tokenizer),
        "count_with": _absolute_if_there(job.count_with),
    }
    return with_tasks_read(job).replace(**changes)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _absolute_if_there(name: str | None) -> str | None:
    return os.path.abspath(name) if name and Path(name).exists() else name


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def secrets_of(job: Job) -> list[str]:
    """Names of the environment variables that hold what the job's requests need.

    >>> secrets_of(Job(output="o", samples=1, base_url="http://h/v1", model="m", api_key_env="A", header="x-b=env:B"))
    ['A', 'B']
    """
    values = (header.partition("=")[2] for header in job.header)
    named = [value.removeprefix(FROM_ENVIRONMENT) for value in values if value.startswith(FROM_ENVIRONMENT)]
    return [*([job.api_key_env] if job.api_key_env else []), *named]


def _missing(names: list[str]) -> list[str]:
    return [name for name in names if not os.environ.get(name)]


def _check_variables(client: Client, job: Job) -> None:
    """Raises `SettingError` naming the workers that lack a variable. Values stay where they are."""
    names = secrets_of(job)
    if not names:
        return
    lacking = {worker: missing for worker, missing in client.run(_missing, names).items() if missing}
    if lacking:
        worker, missing = next(iter(lacking.items()))
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise SettingError(
            f"The environment variable {missing[0]} is not set on worker {worker}{more}. Set it where the workers are "
            "started: it is never sent there."
        )


def _refuse_while_driven(client: Client, output: Output, name: str) -> None:
    """Raises `OutputError` where somebody drives the run. Who is known to be dead is not waited for."""
    told = read_progress(output)
    here = ask(client, "drivers", prefix=name)
    if here:
        words = driven_words(output, told) if told else f"The run in {output.url!r} has been submitted already."
        raise OutputError(words)
    if told is None or not is_driven(told):
        return
    driver = driver_of(told)
    was_here = driver.worker is not None and driver.scheduler == client.scheduler.address
    if not was_here:
        raise OutputError(driven_words(output, told))


def _first_news(future: Future, output: Output, before: Record | None) -> Record | None:
    """What the driver tells first. Raises what has ended it."""
    ends_at = time.monotonic() + FIRST_NEWS_S
    while time.monotonic() < ends_at:
        if future.done():
            future.result()  # which raises what is wrong with the job
            return read_progress(output)
        told = read_progress(output)
        is_new = told is not None and (before is None or told["driver"]["id"] != before["driver"]["id"])
        if told is not None and is_new and told["state"] == RUNNING:
            return told
        time.sleep(LOOK_EVERY_S)
    return None


# --- driving ----------------------------------------------------------------------------------------------------------


def drive(job: Job, scheduler: str) -> None:
    """Run a job from a task on one of the workers of the cluster that it runs on.

    What ends it stands in its folder; it is raised as well, for whoever still listens.
    """
    output = Output(job.output)
    driver = Driver(scheduler=scheduler, worker=get_worker().address)
    _wait_for_another(output, driver)
    with Pulse(output, driver) as pulse:
        try:
            with worker_client() as client:
                books = run_job(job, place=Place(client, pulse, PATIENCE_S))
            pulse.told(books["state"])
        except NemoccError as error:
            pulse.failed(str(error))
            raise


def _wait_for_another(output: Output, driver: Driver) -> None:
    """Where a driver of the same run cannot be told to be dead, its silence is waited for."""
    ends_at = time.monotonic() + PATIENCE_S
    while (told := read_progress(output)) and is_driven(told, by_other_than=driver):
        if time.monotonic() > ends_at:
            raise OutputError(driven_words(output, told))
        time.sleep(BEAT_S)


# --- from outside -----------------------------------------------------------------------------------------------------


def status(url: str) -> tuple[Record, Record | None]:
    """How the run in a folder stands, and its books, where there are some. Raises `OutputError` where none is."""
    output = Output(url)
    told = read_progress(output)
    if told is None:
        raise OutputError(f"There is no run in {output.url!r}: name the folder that --output named.")
    return told, read_books(output)


def cancel(url: str) -> Record:
    """Have the run in a folder stop, and wait until nothing more is sent for it; returns how it stands then.

    Raises `OutputError` where nobody drives a run there, and `JobError` where its driver does not end it.
    """
    output = Output(url)
    told = status(url)[0]
    if not is_driven(told):
        raise OutputError(f"No run in {output.url!r} is under way: it is {told['state']}.")
    output.write_text(CANCEL, "")
    ends_at = time.monotonic() + LONGEST_CANCEL_S
    while (told := status(url)[0])["state"] in UNDER_WAY:
        if not is_driven(told):
            raise JobError(
                f"The driver of the run in {output.url!r} has not been heard of for {LOST_S:.0f} s: "
                f"{driver_of(told).words()}. If Dask starts another, that one ends the run at once."
            )
        if time.monotonic() > ends_at:
            raise JobError(f"The run in {output.url!r} has not ended in {LONGEST_CANCEL_S:.0f} s; it has been told to.")
        time.sleep(LOOK_EVERY_S)
    return told
