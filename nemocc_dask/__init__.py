"""Synthetic training text from documents, by any OpenAI-compatible endpoint, on Dask.

Importing this package is cheap: public names are looked up when first used, and the accessor `.nemocc` is put on
pandas, cuDF and Dask dataframes as soon as those are imported, whether before or after.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from nemocc_dask.accessor import from_nothing
    from nemocc_dask.job import run_job
    from nemocc_dask.route import Route, quality_routes
    from nemocc_dask.settings import Endpoint, GenerationConfig, Job
    from nemocc_dask.simulate import Knobs, Simulator
    from nemocc_dask.tasks import TASKS, Step, Task, read_task
    from nemocc_dask.tokens import TokenCounter
    from nemocc_dask.watch import progress

_HOMES = {
    "accessor": ("from_nothing",),
    "job": ("run_job",),
    "route": ("Route", "quality_routes"),
    "settings": ("Endpoint", "GenerationConfig", "Job"),
    "simulate": ("Knobs", "Simulator"),
    "tasks": ("TASKS", "Step", "Task", "read_task"),
    "tokens": ("TokenCounter",),
    "watch": ("progress",),
}
"""Room → the public names that live in it."""

__all__ = [
    "TASKS",
    "Endpoint",
    "GenerationConfig",
    "Job",
    "Knobs",
    "Route",
    "Simulator",
    "Step",
    "Task",
    "TokenCounter",
    "from_nothing",
    "progress",
    "quality_routes",
    "read_task",
    "run_job",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("nemocc-dask")
    for room, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _accessor_of(frame: Any) -> Any:
    return importlib.import_module(f"{__name__}.accessor").accessor_of(frame)


@wrapt.when_imported("pandas")
def _on_pandas(pandas: Any) -> None:
    pandas.api.extensions.register_dataframe_accessor("nemocc")(_accessor_of)


@wrapt.when_imported("cudf")
def _on_cudf(cudf: Any) -> None:
    cudf.api.extensions.register_dataframe_accessor("nemocc")(_accessor_of)


@wrapt.when_imported("dask.dataframe")
def _on_dask(dataframe: Any) -> None:
    importlib.import_module(f"{dataframe.__name__}.extensions").register_dataframe_accessor("nemocc")(_accessor_of)
