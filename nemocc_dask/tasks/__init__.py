"""The six tasks, as data, and what it takes to make another."""

from __future__ import annotations

from collections.abc import Mapping

from nemocc_dask.errors import UnknownTaskError
from nemocc_dask.tasks.catalogue import TASKS
from nemocc_dask.tasks.files import read_task, task_from_toml, task_to_toml
from nemocc_dask.tasks.steps import Step
from nemocc_dask.tasks.task import Task

__all__ = ["TASKS", "Step", "Task", "find_task", "read_task", "task_from_toml", "task_to_toml"]


def find_task(task: str | Task, known: Mapping[str, Task] = TASKS) -> Task:
    """The task itself, or the known one of that name. Raises `UnknownTaskError`.

    >>> find_task("distill").output_field
    'distill'
    """
    if isinstance(task, Task):
        return task
    if task not in known:
        raise UnknownTaskError.of(task, known)
    return known[task]
