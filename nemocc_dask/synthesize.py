"""From documents to results in one go: preprocess → generate → postprocess, the order stated once. No Dask in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import NamedTuple, TypeVar

import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, StageCount, chained
from nemocc_dask.admit import admit
from nemocc_dask.errors import SettingError
from nemocc_dask.generate import generate
from nemocc_dask.llm import Attempt, Flaw, OnResult, ShouldStop
from nemocc_dask.logs import with_context
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import counted_documents, lines_of, preprocess
from nemocc_dask.route import Route, route
from nemocc_dask.segmenting import LinesOnce, Overlong
from nemocc_dask.settings import Endpoint, GenerationConfig
from nemocc_dask.tasks import Task, find_task
from nemocc_dask.text.engine import Frame, frames_of
from nemocc_dask.tokens import TokenCounter

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all tasks of a run have in common.

    ask_again: flaws for which stored answers are asked for once more. count_with: tokenizer of the model to be trained.
    """

    tokenizer: TokenCounter
    endpoint: Endpoint
    config: GenerationConfig
    overlong: Overlong = "split"
    ask_again: frozenset[Flaw] = frozenset()
    count_with: TokenCounter | None = None


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Who wants to know, who keeps the answers, and who may stop it.

    priority: partitions with a lower number are served first. on_prepared: called with the number of answers to come.
    should_stop: asked a few times a second, on a thread that waits. before_sending: asked before each request.
    shared_as: name of the limits that other processes keep too. asks: False sends nothing; see `generate`.
    """

    priority: int = 0
    on_prepared: Callable[[int], None] | None = None
    on_result: OnResult | None = None
    attempt: Attempt | None = None
    should_stop: ShouldStop | None = None
    before_sending: ShouldStop | None = None
    shared_as: str | None = None
    asks: bool = True


def synthesize_task(
    frame: Frame, task: Task, recipe: Recipe, hooks: Hooks, *, lines: LinesOnce | None = None
) -> Outcome:
    """All three phases of one task on one partition of admitted documents, or of rows made from nothing.

    lines: of the documents, where several tasks share them.
    """
    task = with_answer_bound(task, recipe.config)
    prepared = Outcome(frame, (), ())
    if not task.makes_documents:
        prepared = preprocess(frame, task, tokenizer=recipe.tokenizer, overlong=recipe.overlong, lines=lines)
    if hooks.on_prepared:
        hooks.on_prepared(len(prepared.kept) * recipe.config.n)
    answered = generate(
        prepared.kept, task, endpoint=recipe.endpoint, config=recipe.config, tokenizer=recipe.tokenizer,
        attempt=hooks.attempt, ask_again=recipe.ask_again,
        priority=hooks.priority, on_result=hooks.on_result,
        should_stop=hooks.should_stop, before_sending=hooks.before_sending, shared_as=hooks.shared_as, asks=hooks.asks,
    )  # fmt: skip
    cleaned = postprocess(answered.kept, task, tokenizer=recipe.tokenizer, seed=recipe.config.seed)
    if recipe.count_with:
        cleaned = cleaned._replace(kept=_counted_for_training(cleaned.kept, task, recipe.count_with))
    return chained(prepared, answered, cleaned)


def _counted_for_training(results: Frame, task: Task, tokenizer: TokenCounter) -> Frame:
    frames = frames_of(results)
    texts = frames.host(frames.texts(results, task.output_field))
    return frames.attach(results, {columns.TRAINING_TOKENS: tokenizer.count(texts)})


def with_answer_bound(task: Task, config: GenerationConfig) -> Task:
    """The task whose answers may be as long as they are asked for, and are kept up to that. Raises `TaskError`.

    >>> from nemocc_dask.tasks import TASKS
    >>> with_answer_bound(TASKS["distill"], GenerationConfig(max_tokens=100)).max_answer_tokens
    98
    """
    return replace(task, max_output_tokens=config.max_tokens) if config.max_tokens else task


class Synthesized(NamedTuple):
    """What documents have become.

    rows: frame, those of all tasks, with a `task` column; a task's own output field is missing in the rows of others.
    documents: counts of the stages before the tasks. tasks: those of each task's stages, by its name.
    """

    rows: Frame
    documents: tuple[StageCount, ...]
    tasks: Mapping[str, tuple[StageCount, ...]]


def synthesize(
    frame: Frame,
    routes: Sequence[Route],
    *,
    recipe: Recipe,
    attempt: Attempt | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_prepared: Callable[[int], None] | None = None,
    on_result: OnResult | None = None,
) -> Synthesized:
    """Admit and route documents, and run every task on those routed to it.

    attempt: where answers are looked up and kept. should_stop: asked now and then; then `CancelledError` is raised.
    on_prepared, on_result: as in `Hooks`.
    """
    stopped = Event()
    hooks = Hooks(
        should_stop=lambda: stopped.is_set() or should_stop(), attempt=attempt,
        on_prepared=on_prepared, on_result=on_result,
    )  # fmt: skip
    admitted = admit(frame)
    routed = route(counted_documents(admitted.kept, recipe.tokenizer), routes)
    by_task = with_shared_lines(routed.by_task, recipe.tokenizer)
    runners = {
        task.name: partial(synthesize_task, each, task, recipe, hooks, lines=lines) for task, each, lines in by_task
    }
    outcomes = side_by_side(runners, stop=stopped.set)
    rows = frames_of(frame).concat([_named(name, outcome.kept) for name, outcome in outcomes.items()])
    before = admitted.stages + routed.documents.stages
    return Synthesized(rows, before, {name: outcome.stages for name, outcome in outcomes.items()})


def with_shared_lines(
    by_task: Sequence[tuple[Task, Frame]], tokenizer: TokenCounter
) -> list[tuple[Task, Frame, LinesOnce | None]]:
    """Beside each task and its documents their lines, which tasks on one frame share; None where there are none."""
    takers = Counter(id(frame) for task, frame in by_task if not task.makes_documents)
    frames = {id(frame): frame for _, frame in by_task}
    shared = {which: lines_of(frames[which], tokenizer, takers=many) for which, many in takers.items()}
    return [(task, frame, shared.get(id(frame))) for task, frame in by_task]


def _named(task: str, frame: Frame) -> Frame:
    return frames_of(frame).attach(frame, {columns.TASK: pa.array([task] * len(frame), pa.large_string())})


LOOK_EVERY_S = 0.1


def side_by_side(
    runners: Mapping[str, Callable[[], T]],
    *,
    stop: Callable[[], None],
    while_waiting: Callable[[], None] = lambda: None,
) -> dict[str, T]:
    """Run each in a thread of its own, so that all requests are in the queue at once.

    `stop` has to make the runners end early. It is called when one of them raises, whose error is then raised here, and
    when the waiting thread is interrupted. while_waiting: called on it now and then.
    """
    with ThreadPoolExecutor(max(1, len(runners))) as threads:
        running = {name: threads.submit(with_context(runner)) for name, runner in runners.items()}
        try:
            left = set(running.values())
            while left and all(map(_succeeded, set(running.values()) - left)):
                left = wait(left, timeout=LOOK_EVERY_S, return_when=FIRST_EXCEPTION).not_done
                while_waiting()
        finally:
            if not all(_succeeded(future) for future in running.values()):
                stop()
    for future in sorted(running.values(), key=_was_stopped):
        future.result()
    return {name: future.result() for name, future in running.items()}


def _succeeded(future: Future[T]) -> bool:
    return future.done() and future.exception() is None


def _was_stopped(future: Future[T]) -> bool:
    """True for those that only stopped because another had failed: theirs is not the error to tell."""
    return isinstance(future.exception(), CancelledError)


def routes_of(task_or_routes: str | Task | Route | Sequence[str | Task | Route]) -> tuple[Route, ...]:
    """Routes from a task, a route, or several of either; a task by itself gets every document.

    Raises `UnknownTaskError`, and `SettingError` where nothing is named.
    """
    several = [task_or_routes] if isinstance(task_or_routes, (str, Task, Route)) else list(task_or_routes)
    if not several:
        raise SettingError("There is nothing to do: name a task or a route, or None for the two quality routes.")
    return tuple(each if isinstance(each, Route) else Route((find_task(each),)) for each in several)
