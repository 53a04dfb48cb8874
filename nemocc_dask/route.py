"""Which documents go to which tasks. Partition in, one partition per task out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome
from nemocc_dask.errors import SettingError
from nemocc_dask.settings import HIGH_ABOVE
from nemocc_dask.sieve import Sieve
from nemocc_dask.tasks import Task, find_task
from nemocc_dask.text.engine import Frame, Mask, frames_of

HIGH_QUALITY_TASKS = ("diverse_qa", "distill", "extract_knowledge", "knowledge_list")
LOW_QUALITY_TASKS = ("wikipedia_paraphrasing",)


@dataclass(frozen=True)
class Route:
    """A rule that sends documents to tasks: all whose score is > `above` and ≤ `at_most`; None sets no bound.

    tasks: names or `Task` records. Raises `UnknownTaskError`, and `SettingError` for a task that reads no document.

    >>> Route(("distill",), above=11).takes(np.array([11, 12, np.nan]))
    array([False,  True, False])
    """

    tasks: tuple[str | Task, ...]
    above: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        for task in map(find_task, self.tasks):
            if task.makes_documents:
                raise SettingError(f"Task {task.name!r} makes documents from nothing, so none can be routed to it.")

    @property
    def needs_score(self) -> bool:
        """True where the rule looks at the score."""
        return self.above is not None or self.at_most is not None

    def takes(self, scores: npt.NDArray[np.float64]) -> Mask:
        """True where a document of that score is sent along, bool (n,); never where the score is NaN, if it counts."""
        above = scores > self.above if self.above is not None else np.True_
        at_most = scores <= self.at_most if self.at_most is not None else np.True_
        return np.broadcast_to(above & at_most, scores.shape)


def quality_routes(*, high_above: float = HIGH_ABOVE) -> tuple[Route, ...]:
    """The recipe's two routes: four tasks for scores > `high_above`, paraphrasing for the rest.

    >>> [len(route.tasks) for route in quality_routes()]
    [4, 1]
    """
    return (Route(HIGH_QUALITY_TASKS, above=high_above), Route(LOW_QUALITY_TASKS, at_most=high_above))


class Routed(NamedTuple):
    """documents: outcome of stage `route`. by_task: each task's documents, in one frame for tasks that get the same."""

    documents: Outcome
    by_task: tuple[tuple[Task, Frame], ...]


def route(
    frame: Frame, routes: Sequence[Route], *, min_score: float | None = None, max_score: float | None = None
) -> Routed:
    """Send each document to the tasks of every route that takes it. Stage `route`, in documents.

    Scores are read from `quality_score` where a route or a bound looks at them; a null one is rejected as `null_score`,
    one out of bounds as `below_min_score` or `above_max_score`, one that no route takes as `no_route`.

    Raises `ColumnNotFoundError`, and `FrameError` where scores are no numbers.

    >>> import pandas as pd
    >>> routed = route(pd.DataFrame({"quality_score": [3, 12, None]}), quality_routes(), min_score=4)
    >>> {task.name: len(frame) for task, frame in routed.by_task}["distill"], routed.documents.stages[0].rejected
    (1, {'null_score': 1, 'below_min_score': 1})
    """
    sieve = Sieve(frame, stage="route", unit="documents")
    if not (min_score is None and max_score is None and not any(each.needs_score for each in routes)):
        sieve.reject(np.isnan(_scores(sieve.frame)), "null_score")
        sieve.reject(_scores(sieve.frame) < (-np.inf if min_score is None else min_score), "below_min_score")
        sieve.reject(_scores(sieve.frame) > (np.inf if max_score is None else max_score), "above_max_score")
        nobody = np.zeros(len(sieve.frame), dtype=np.bool_)
        taken = np.logical_or.reduce([nobody, *(each.takes(_scores(sieve.frame)) for each in routes)])
        sieve.reject(~taken, "no_route")
    return Routed(sieve.outcome(), tuple(_by_task(sieve.frame, routes)))


def _by_task(frame: Frame, routes: Sequence[Route]) -> list[tuple[Task, Frame]]:
    wanted: dict[str, tuple[Task, Mask]] = {}
    for each in routes:
        mask = each.takes(_scores(frame)) if each.needs_score else np.ones(len(frame), dtype=np.bool_)
        for task in map(find_task, each.tasks):
            before = wanted[task.name][1] if task.name in wanted else np.zeros(len(frame), dtype=np.bool_)
            wanted[task.name] = (task, before | mask)
    kept: dict[bytes, Frame] = {}
    for _, mask in wanted.values():
        if mask.tobytes() not in kept:
            kept[mask.tobytes()] = frames_of(frame).keep(frame, mask)
    return [(task, kept[mask.tobytes()]) for task, mask in wanted.values()]


def _scores(frame: Frame) -> npt.NDArray[np.float64]:
    return frames_of(frame).numbers(frame, columns.QUALITY_SCORE)
