"""`nemocc-dask VERB`, and the same group under `dask nemocc`.

Every `dask` call imports this module, so it imports nothing heavy: a verb fetches what it needs through the lazy names
of the package and of `verbs`, when it is called.
"""

from __future__ import annotations

import atexit
import gc
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

import click

from nemocc_dask.errors import CallerError, JobError, SettingError
from nemocc_dask.settings import Job

EXIT_JOB_FAILED, EXIT_CALL_WRONG, EXIT_ROWS_FAILED, EXIT_INTERRUPTED = 1, 2, 3, 130
"""Exit codes; 0 is done."""

OBJECTS_BETWEEN_COLLECTIONS = 50_000

HELP = {"help_option_names": ["-h", "--help"]}

JSON_OBJECTS = {"extra_kwargs", "response_format"}
"""Settings written as one word of JSON."""

COMMA_LISTS = {"languages", "columns"}
"""Settings written as one word with commas; other lists are options that may be repeated."""


class _Group(click.Group):
    """Turns this package's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CallerError as error:
            _say_and_exit(ctx, str(error), EXIT_CALL_WRONG)
        except JobError as error:
            _say_and_exit(ctx, str(error), EXIT_JOB_FAILED)
        except KeyboardInterrupt:
            _say_and_exit(ctx, "Interrupted. The same command goes on where it stopped.", EXIT_INTERRUPTED)


def _say_and_exit(ctx: click.Context, words: str, code: int) -> None:
    click.echo(f"nemocc-dask: {words}", err=True)
    ctx.exit(code)


@click.group(cls=_Group, context_settings=HELP)
@click.version_option(package_name="nemocc-dask", prog_name="nemocc-dask")
def nemocc() -> None:
    """Synthetic training text from documents, by any OpenAI-compatible endpoint."""


def main() -> None:
    """Entry point of `nemocc-dask`."""
    # A process of its own may be rash: libraries that are being loaded make a million objects and no garbage, and what
    # is left at the end goes with the process. Looking for garbage there took an eighth of a small job's time.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
    nemocc(prog_name="nemocc-dask")


# --- run --------------------------------------------------------------------------------------------------------------


def _job_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each setting of a job: its name, type, help and default are the setting's own."""
    for name, field in reversed(Job.model_fields.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, **_option(name, field))(command)
    return command


def _option(name: str, field: Any) -> dict[str, Any]:
    """What click is told of a setting. No default: what is not said may stand in the job file."""
    default = f"  [default: {field.default}]" if _is_worth_saying(field) else ""
    help_text = f"{field.description}{default}"
    kind = _plain_type(field.annotation)
    if kind is bool:
        return {"is_flag": True, "default": None, "help": help_text}
    repeated = kind is tuple and name not in COMMA_LISTS
    return {"type": _click_type(kind, field.annotation), "multiple": repeated, "default": None, "help": help_text}


def _is_worth_saying(field: Any) -> bool:
    unsaid = field.default is None or field.default is False or field.default == ()
    return not (field.is_required() or field.default_factory or unsaid)


def _plain_type(annotation: Any) -> Any:
    """int for `int | None` and `Annotated[int, ...] | None`, tuple for `tuple[str, ...]`, and so on."""
    if get_origin(annotation) in (tuple, dict, Literal):
        return get_origin(annotation)
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    return kinds[0] if kinds[0] is annotation else _plain_type(kinds[0])


def _click_type(kind: Any, annotation: Any) -> Any:
    if kind is Literal:
        return click.Choice(get_args(annotation))
    return kind if kind in (int, float) else str


_job_file_option = click.option(
    "--job", "job_file", type=click.Path(), help="TOML file with these settings as keys; a flag beats the file."
)


@nemocc.command()
@_job_file_option
@_job_options
@click.pass_context
def run(ctx: click.Context, /, job_file: str | None, **given: Any) -> None:
    """Run a job; the same command again resumes it.

    Exit codes: 0 done, 1 the job cannot go on, 2 the call is wrong, 3 done but too many rows failed, 130 interrupted.
    """
    verbs = import_module("nemocc_dask.verbs")
    if not verbs.run(verbs.job_of(job_file, _said(given))):
        ctx.exit(EXIT_ROWS_FAILED)


def _said(given: dict[str, Any]) -> dict[str, Any]:
    """The settings the command line names, as `Job` takes them."""
    said = {name: value for name, value in given.items() if value not in (None, ())}
    for name in COMMA_LISTS & said.keys():
        said[name] = tuple(word.strip() for word in said[name].split(",") if word.strip())
    for name in JSON_OBJECTS & said.keys():
        said[name] = _json_object(name, said[name])
    return said


def _json_object(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        flag = f"--{name.replace('_', '-')}"
        raise SettingError(f"{flag} is no JSON ({error}). Write it such as '{{\"min_p\": 0.1}}'.") from None


# --- on a cluster, without staying connected --------------------------------------------------------------------------


@nemocc.command()
@_job_file_option
@_job_options
def submit(*, job_file: str | None, **given: Any) -> None:
    """Hand a job to a running cluster (--scheduler) and return; the same command again resumes it.

    Look at it with 'status', stop it with 'cancel'. Keys stay where they are: the variables that hold them have to be
    set on the workers.
    """
    verbs = import_module("nemocc_dask.verbs")
    verbs.submit(verbs.job_of(job_file, _said(given)))


@nemocc.command()
@click.argument("output")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(output: str, *, as_json: bool) -> None:
    """Tell how the run in the folder OUTPUT stands, from its files alone."""
    import_module("nemocc_dask.verbs").status(output, as_json=as_json)


@nemocc.command()
@click.argument("output")
def cancel(output: str) -> None:
    """Stop the run in the folder OUTPUT, and wait until nothing more is sent. It can go on later."""
    import_module("nemocc_dask.verbs").cancel(output)


# --- the other verbs --------------------------------------------------------------------------------------------------


@nemocc.command()
@click.option(
    "--output", type=click.Path(), help="Folder for the results.  [default: demo-output, or the next free name]"
)
@click.option(
    "--latency", type=float, default=0.1, show_default=True, help="Seconds the simulated endpoint takes to answer."
)
def demo(output: str | None, latency: float) -> None:
    """Run all six tasks on documents and a simulated endpoint that ship with the package."""
    import_module("nemocc_dask.verbs").demo(output, latency)


@nemocc.group(invoke_without_command=True)
@click.pass_context
def tasks(ctx: click.Context) -> None:
    """List the tasks and their budgets in tokens."""
    if ctx.invoked_subcommand is None:
        import_module("nemocc_dask.verbs").list_tasks()


@tasks.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a task as TOML, ready to edit and give to --task-file."""
    import_module("nemocc_dask.verbs").show_task(name)


@nemocc.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
@click.pass_context
def simulate(ctx: click.Context) -> None:
    """Serve the simulated endpoint; it is no language model."""
    import_module("nemocc_dask.verbs").simulate_command(HELP)(args=ctx.args, prog_name=ctx.command_path)
