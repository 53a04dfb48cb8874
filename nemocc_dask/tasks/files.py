"""Tasks as TOML, to be read, edited and given to ``--task-file``."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from nemocc_dask.errors import InputError, TaskError
from nemocc_dask.tasks.steps import Step
from nemocc_dask.tasks.task import Task


def task_to_toml(task: Task) -> str:
    """The task as a TOML document that `task_from_toml` turns into an equal task.

    >>> from nemocc_dask.tasks import TASKS
    >>> task_from_toml(task_to_toml(TASKS["distill"]), where="distill.toml") == TASKS["distill"]
    True
    """
    table = {field.name: getattr(task, field.name) for field in fields(task)}
    table["steps"] = [step.as_table() for step in task.steps]
    table["languages"] = list(task.languages)
    return tomli_w.dumps({key: value for key, value in table.items() if value is not None}, multiline_strings=True)


def task_from_toml(document: str, *, where: str) -> Task:
    """The task of a TOML document; `where` names it in errors. Raises `TaskError`."""
    try:
        table = tomllib.loads(document)
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{where} is no TOML: {error}.") from None
    _check_keys(table, where)
    table["steps"] = tuple(Step.from_table(step) for step in table.get("steps", ()))
    table["languages"] = tuple(table.get("languages", ()))
    return Task(**table)


def read_task(path: str | Path) -> Task:
    """The task of a TOML file. Raises `InputError` where it cannot be read, `TaskError` where it holds no task.

    >>> read_task("nowhere.toml")
    Traceback (most recent call last):
    nemocc_dask.errors.InputError: The task file nowhere.toml cannot be read: ...
    """
    try:
        document = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The task file {path} cannot be read: {error}.") from None
    return task_from_toml(document, where=str(path))


def _check_keys(table: dict[str, Any], where: str) -> None:
    known = {field.name: field for field in fields(Task)}
    for key in table.keys() - known.keys():
        raise TaskError(f"{where}: a task has no field {key!r}. It has: {', '.join(known)}.")
    for key in ("name", "output_field", "prompt", "max_output_tokens"):
        if key not in table:
            raise TaskError(f"{where}: the field {key!r} is missing.")
    for key, value in table.items():
        expected = {"int": int, "int | None": int, "bool": bool, "str": str, "str | None": str}.get(
            str(known[key].type), list
        )
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise TaskError(f"{where}: the field {key!r} is {value!r}, and has to be of type {expected.__name__}.")
