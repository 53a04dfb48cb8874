"""What decides the results of a job, and so whose results a folder holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nemocc_dask.generate import recipe_of
from nemocc_dask.io.files import file_sizes
from nemocc_dask.io.parts import CUTTING, PARTITION_BYTES
from nemocc_dask.resolve import Tasks
from nemocc_dask.settings import FROM_ENVIRONMENT, Job
from nemocc_dask.synthesize import with_answer_bound
from nemocc_dask.tasks import Task, find_task
from nemocc_dask.tokens import TokenCounter

Record = dict[str, Any]

_SETTINGS = (
    "score_field",
    "min_score",
    "max_score",
    "samples",
    "text_field",
    "id_field",
    "columns",
    "overlong",
    "output_format",
    "rows_per_partition",
    "max_document_bytes",
    "api",
)

HIDDEN = "***"
_PASSWORD = re.compile(r"(?<=://)[^/@]+(?=@)")


def identity_of(
    job: Job, tasks: Tasks, tokenizer: TokenCounter, count_with: TokenCounter | None, files: Sequence[str]
) -> Record:
    """All that the shards of a job follow from. Not: where requests go, how fast, and how much they may cost.

    count_with: tokenizer of the model to be trained. files: the job's inputs; each counts by its name and size.
    """
    bounds = [
        {"tasks": [find_task(task).name for task in each.tasks], "above": each.above, "at_most": each.at_most}
        for each in tasks.routes
    ]
    return {
        "input": [[_without_password(path), size] for path, size in zip(files, file_sizes(files), strict=True)],
        "tasks": {task.name: asdict(task) for task in tasks.all},
        "routes": bounds,
        "model": job.model,
        "sampling": job.generation().model_dump(),
        "tokenizer": tokenizer.fingerprint,
        "count_with": count_with and count_with.fingerprint,
        "partition_bytes": PARTITION_BYTES,
        "cutting": CUTTING,
        **{name: getattr(job, name) for name in _SETTINGS},
    }


def recipes_of(job: Job, tasks: Tasks) -> dict[str, str]:
    """Name of each task → what the store files its answers under."""
    return {task.name: recipe_of(task, job.endpoint(), job.generation()) for task in bound(job, tasks)}


def bound(job: Job, tasks: Tasks) -> tuple[Task, ...]:
    """The tasks as they run: with the bound of an answer that the job sets."""
    return tuple(with_answer_bound(task, job.generation()) for task in tasks.all)


def shown(job: Job) -> Record:
    """The settings of a job as its books show them: without what may be a secret.

    Values of headers are shown where they are names of environment variables, addresses without a password.

    >>> job = Job(output="o", input="ftp://me:pass@host/a.parquet", model="m", base_url="https://me:pass@host/v1",
    ...           header=("A=b", "C=env:D"))
    >>> [shown(job)[name] for name in ("input", "base_url", "header")]
    [['ftp://***@host/a.parquet'], ['https://***@host/v1'], ['A=***', 'C=env:D']]
    """
    record = job.model_dump(mode="json", exclude={"task"})
    addresses = {name: [_without_password(address) for address in record[name]] for name in ("base_url", "input")}
    output = _without_password(job.output)
    return {**record, **addresses, "output": output, "header": [_without_value(header) for header in job.header]}


def _without_password(address: str) -> str:
    return _PASSWORD.sub(HIDDEN, address)


def _without_value(header: str) -> str:
    name, _, value = header.partition("=")
    return header if value.startswith(FROM_ENVIRONMENT) else f"{name}={HIDDEN}"
