"""What the settings of a job name: its tasks, as the settings change them, and the routes that lead to them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nemocc_dask.errors import SettingError
from nemocc_dask.route import Route, quality_routes
from nemocc_dask.settings import Job
from nemocc_dask.tasks import TASKS, Step, Task, find_task, read_task

MULTILINGUAL_TASK = "multilingual_qa"
"""Runs where samples are asked for and no task is named that makes documents."""


class Tasks(NamedTuple):
    """routes: which documents go to which tasks. from_nothing: tasks that make documents."""

    routes: tuple[Route, ...]
    from_nothing: tuple[Task, ...]

    @property
    def of_documents(self) -> tuple[Task, ...]:
        """Every task some route leads to, once."""
        found = (find_task(task) for each in self.routes for task in each.tasks)
        return tuple({task.name: task for task in found}.values())

    @property
    def all(self) -> tuple[Task, ...]:
        """Every task that runs."""
        return (*self.of_documents, *self.from_nothing)


def with_tasks_read(job: Job) -> Job:
    """The job with the tasks of its files in it, so that another machine need not have those. Raises `TaskError`."""
    own = {task.name: task for task in map(read_task, job.task_file)}
    named = tuple(own.get(task, task) for task in job.task) or tuple(own.values())
    return job.replace(task=named, task_file=()) if own else job


def resolve_tasks(job: Job) -> Tasks:
    """The tasks of a job, those that make documents in its languages. Raises `UnknownTaskError`, `TaskError`."""
    own = {task.name: task for task in map(read_task, job.task_file)}
    known = {**TASKS, **own}
    named = [find_task(task, known) for task in (job.task or tuple(own))]
    reading = tuple(task for task in named if not task.makes_documents)
    making = tuple(task for task in named if task.makes_documents)
    if job.samples and not making:
        making = (TASKS[MULTILINGUAL_TASK],)
    _check_sources(job, reading, making)
    making = tuple(_in_languages(task, job) for task in making)
    if reading:
        return Tasks((Route(reading),), making)
    return Tasks(quality_routes(high_above=job.high_above) if job.input else (), making)


def _check_sources(job: Job, reading: tuple[Task, ...], making: tuple[Task, ...]) -> None:
    if making and not job.samples:
        raise SettingError(f"Task {making[0].name!r} makes documents from nothing: say how many with --samples.")
    if reading and not job.input:
        raise SettingError(f"Task {reading[0].name!r} reads documents: name them with --input.")


def _in_languages(task: Task, job: Job) -> Task:
    steps = (Step("keep_language_code"), *task.steps) if job.require_language_code else task.steps
    return replace(task, languages=job.languages or task.languages, steps=steps)
