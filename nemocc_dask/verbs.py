"""What the verbs of the command line do, once their words have been read."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import click

from nemocc_dask import driving
from nemocc_dask.console import print_examples, print_summary, print_tasks, standing
from nemocc_dask.errors import InputError, SettingError, did_you_mean
from nemocc_dask.io.manifest import Record
from nemocc_dask.job import failed_fraction, run_job
from nemocc_dask.live import live_progress
from nemocc_dask.pulse import UNDER_WAY, driver_of, silent_s
from nemocc_dask.settings import Job
from nemocc_dask.simulate import Knobs, Simulator, serve
from nemocc_dask.simulate.host import DEFAULT_PORT, LOCALHOST
from nemocc_dask.tasks import TASKS, find_task, task_to_toml

DEMO_SAMPLES = 20
"""Rows of multilingual Q&A in the demo."""


def read_job_file(path: str) -> dict[str, Any]:
    """The settings of a job file, by their names. Raises `InputError`, and `SettingError` for a key there is not."""
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The job file {path} cannot be read: {error}.") from None
    for name in settings.keys() - Job.model_fields.keys():
        raise SettingError(
            f"The job file {path} has a key {name!r}, which is no setting.{did_you_mean(name, Job.model_fields)} "
            f"There are: {', '.join(Job.model_fields)}."
        )
    return settings


def job_of(job_file: str | None, said: Mapping[str, Any]) -> Job:
    """The job of a job file, where one is named, and of what was said besides. Raises as `read_job_file` and `Job`."""
    return Job(**{**(read_job_file(job_file) if job_file else {}), **said})


def run(job: Job) -> bool:
    """Run the job with live progress, print what came of it, and return whether few enough rows failed."""
    with _terminated_as_interrupted():
        failed = failed_fraction(_run_and_show(job))
    if failed > job.max_failed_fraction:
        bound = job.max_failed_fraction
        click.echo(f"{failed:.2%} of the rows failed, more than --max-failed-fraction {bound}.", err=True)
    return failed <= job.max_failed_fraction


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which is how batch systems end a job, does as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # then Python lets nobody handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_and_show(job: Job) -> Record:
    with live_progress(job.prices()) as progress:
        confirm = progress.asking(_confirm) if sys.stdin.isatty() else None
        books = run_job(job, progress=progress, confirm=confirm)
    if not progress.parts:
        click.echo(f"This run ended at {books['updated_at']}; nothing was sent now. What it did:")
    print_summary(books, job.output)
    return books


def _confirm(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # click's word for Ctrl-C
        raise KeyboardInterrupt from None


def submit(job: Job) -> None:
    """Hand the job to its cluster, and say how to look at it."""
    told = driving.submit(job)
    if told is None:
        click.echo("Submitted. It is being prepared.")
    elif told["state"] in UNDER_WAY:
        click.echo(f"Submitted: {driver_of(told).words()} drives it.")
    else:
        click.echo(f"This run is {told['state']}; nothing was sent now.")
    output = shlex.quote(job.output)
    click.echo(f"Look at it with 'nemocc-dask status {output}', stop it with 'nemocc-dask cancel {output}'.")


def status(output: str, *, as_json: bool) -> None:
    """Print how a run stands."""
    told, books = driving.status(output)
    if as_json:
        click.echo(json.dumps({**told, "silent_s": round(silent_s(told), 1)}))
        return
    for line in standing(told):
        click.echo(line)
    if books is not None and told["state"] not in UNDER_WAY:
        print_summary(books, output)


def cancel(output: str) -> None:
    """Stop a run, and print how it stands then."""
    told = driving.cancel(output)
    click.echo(f"The run is {told['state']}: nothing more is sent. The command that began it goes on with it.")
    for line in standing(told):
        click.echo(line)


def demo(output: str | None, latency: float) -> None:
    """All six tasks on the package's own documents and endpoint."""
    folder = output or next(name for name in _demo_names() if not Path(name).exists())
    documents = str(files("nemocc_dask.demo") / "documents.jsonl")
    with Simulator(Knobs(latency_s=latency)) as endpoint:
        click.echo(f"A simulated endpoint, which is no language model, answers at {endpoint.base_url}.")
        job = Job(
            input=(documents,),
            output=folder,
            samples=DEMO_SAMPLES,
            base_url=(endpoint.base_url,),
            model=endpoint.knobs.model,
        )
        books = _run_and_show(job)
    print_examples(books, folder)


def _demo_names() -> Any:
    yield "demo-output"
    yield from (f"demo-output-{number}" for number in count(2))


def list_tasks() -> None:
    """A table of the six tasks."""
    print_tasks(TASKS.values())


def show_task(name: str) -> None:
    """One task as TOML."""
    click.echo(task_to_toml(find_task(name)), nl=False)


def simulate_command(context_settings: Mapping[str, Any]) -> click.Command:
    """The verb `simulate`, with an option for each knob of the simulated endpoint."""
    options: list[click.Parameter] = [
        click.Option(["--host"], default=LOCALHOST, show_default=True, help="Address to listen at."),
        click.Option(
            ["--port"], type=int, default=DEFAULT_PORT, show_default=True, help="Port to listen at; 0 takes a free one."
        ),
        *(_knob_option(knob) for knob in fields(Knobs)),
    ]
    return click.Command(
        "simulate",
        params=options,
        callback=_simulate,
        context_settings=dict(context_settings),
        help="Serve the simulated endpoint; it is no language model.",
    )


def _knob_option(knob: Any) -> click.Option:
    # A unit belongs in a name of Python; on the command line the help text says it.
    flag = knob.name.removesuffix("_s") if knob.name.startswith("latency") else knob.name
    settings: dict[str, Any] = {"is_flag": True} if knob.default is False else {"type": type(knob.default or "")}
    if isinstance(knob.default, (int, float)):
        settings |= {"type": type(knob.default)}
    return click.Option(
        [f"--{flag.replace('_', '-')}", knob.name],
        default=knob.default,
        show_default=True,
        help=knob.metadata["help"],
        **settings,
    )


def _simulate(host: str, port: int, **knobs: Any) -> None:
    serve(Knobs(**knobs), host, port)
