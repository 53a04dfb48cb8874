"""One partition of a job, from its file to its shards.

A partition is one Dask task. It writes what it makes itself, and hands back a small record of counts, so a worker that
dies takes nothing along but what it had in hand.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, chained
from nemocc_dask.admit import admit
from nemocc_dask.budget import CHARACTERS_PER_TOKEN, Caps, Tokens
from nemocc_dask.errors import InputError, JobError
from nemocc_dask.generate import language_rows
from nemocc_dask.io.manifest import INPUT, REJECTED, PartRecord, Stages, record_name
from nemocc_dask.io.parts import Part
from nemocc_dask.io.read import joined, names_of_rows, read_pieces
from nemocc_dask.io.scan import Columns
from nemocc_dask.io.shards import as_table, reject_schema, shard_schema
from nemocc_dask.io.streams import close_streams
from nemocc_dask.io.write import Output
from nemocc_dask.launches import Launch, launch
from nemocc_dask.llm import Answer, Attempt, Results, Store, asked_of_model, counts_in
from nemocc_dask.logs import event
from nemocc_dask.preprocess import counted_documents
from nemocc_dask.route import Route, route
from nemocc_dask.segmenting import LinesOnce
from nemocc_dask.settings import MAX_DOCUMENT_BYTES
from nemocc_dask.synthesize import Hooks, Recipe, side_by_side, synthesize_task, with_shared_lines
from nemocc_dask.tasks import Task
from nemocc_dask.text.engine import Frame, frames_of, frames_on
from nemocc_dask.worker import PartProgress, logged

log = logging.getLogger("nemocc_dask")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every partition of a job has to know. It travels to the workers, so it holds no secret.

    run: the run's own name, which begins those of its attempts in the store. launch: name of this start of it.
    taken: tokens that the run had taken before. shares_limits: several processes keep the endpoint's together. gpu:
    text is on the worker's GPU. partitions_in_hand: as many a worker has at once, though it has fewer threads.
    """

    run: str
    columns: Columns | None
    routes: tuple[Route, ...]
    sample_tasks: tuple[Task, ...]
    recipe: Recipe
    output: Output
    output_format: str
    store: Store
    min_score: float | None
    max_score: float | None
    max_document_bytes: int = MAX_DOCUMENT_BYTES
    gpu: bool = False
    partitions_in_hand: int = 1
    shares_limits: bool = False
    caps: Caps = field(default_factory=Caps)
    taken: Tokens = field(default_factory=Tokens)
    launch: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def documents_schema(self) -> pa.Schema:
        """Arrow schema of the documents by the run's names; empty where there are none."""
        return self.columns.output_schema if self.columns else pa.schema([])


@dataclass(frozen=True)
class Work:
    """One partition, and what is known of its rows by their positions.

    repeated: those that repeat an id of an earlier row, wherever that is. deadly: those that end the process that works
    on them. looked_into: how often it was looked for such rows.
    """

    part: Part
    repeated: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    looked_into: int = 0


def run_partition(work: Work, plan: Plan) -> str:
    """Read, admit, route, run every task, write; returns the partition's `PartRecord` as JSON.

    Raises `CancelledError` where the run has been stopped, by Dask or by what another of its partitions met, and
    `JobError` where a library panics.
    """
    launched = launch(plan.launch, partial(_launch_of, plan))
    progress = PartProgress(work.part.index, launched)
    try:
        with launched.partition(progress.worker), logged(plan.run, work.part.index):
            return _run(work, plan, progress)
    except CancelledError:
        raise progress.stopped() from None
    except Exception:
        raise
    except BaseException as panic:  # noqa: BLE001 - told as the job's error, and raised
        # What is no Exception, such as the panic of a Rust library, ends a thread of Dask's without a word: the client
        # would wait for this partition for ever.
        raise JobError(f"Partition {work.part.index} ({work.part.file}) broke a library: {panic!r}.") from None
    finally:
        progress.report()


def _launch_of(plan: Plan) -> Launch:
    shared = plan.recipe.endpoint if plan.shares_limits else None
    return Launch(plan.launch, plan.caps, plan.taken, shared, on_idle=close_streams)


def _run(work: Work, plan: Plan, progress: PartProgress) -> str:
    if progress.tick():
        raise progress.stopped()
    began = time.monotonic()
    name = f"{plan.run}-part-{work.part.index:05d}-{uuid.uuid4().hex[:8]}"
    # What is in the shards is in the store before the partition counts as done.
    with plan.store.attempt(name) as attempt:
        progress.sync_with(attempt.sync)
        documents, tasks = _results(work, plan, attempt, progress)
    record = PartRecord(work.part.index, name, documents, tasks).to_json()
    plan.output.write_text(record_name(work.part.index), record)
    told = event("partition_done", seconds=round(time.monotonic() - began, 3), **_sums(tasks.values()))
    log.info("Partition %d is done.", work.part.index, extra=told)
    return record


def _sums(tasks: Collection[Stages]) -> dict[str, int]:
    """What a partition came to, all tasks together, for the log: results kept, rows failed, requests sent."""
    each = [count for stages in tasks for count in stages]
    return {
        "rows": sum(stages[-1].rows_out for stages in tasks if stages),
        "failed": sum(sum(count.failed.values()) for count in each),
        "http_requests": sum(count.notes.get("http_requests", 0) for count in each),
    }


def _results(work: Work, plan: Plan, attempt: Attempt, progress: PartProgress) -> tuple[Stages, dict[str, Stages]]:
    """Write shards and rejects; returns the stages before the tasks, and those of each task."""
    documents, by_task = _inputs(work, plan)
    _write_rejects(plan, work.part, None, documents)
    runners = {
        task.name: _task_runner(task, frame, lines, work.part, plan, attempt, progress)
        for task, frame, lines in with_shared_lines(by_task, plan.recipe.tokenizer)
    }
    leave_thread = partial(progress.leave_thread, plan.partitions_in_hand)
    return documents.stages, side_by_side(runners, stop=progress.stop, while_waiting=leave_thread)


def rehearse(work: Work, plan: Plan, rows: range) -> int:
    """All the work on some rows of a partition of documents, but nothing is asked, and nothing written.

    Answers that the store holds are cleaned. What comes of it is thrown away: it may end the process. Returns how many
    rows there are in the partition.
    """
    frame, _ = _documents(work.part, plan)
    with plan.store.attempt(f"{plan.run}-rehearsal-{uuid.uuid4().hex[:8]}") as attempt:
        hooks = Hooks(attempt=attempt, asks=False)
        for task, each, lines in with_shared_lines(_routed(frame, work, plan, rows)[1], plan.recipe.tokenizer):
            synthesize_task(each, task, plan.recipe, hooks, lines=lines)
    return len(frame)


def _inputs(work: Work, plan: Plan) -> tuple[Outcome, list[tuple[Task, Frame]]]:
    """The outcome of the stages before the tasks, and each task's rows."""
    if plan.columns is None or not work.part.file:
        return Outcome(None, (), ()), [(task, _language_rows(work.part, task, plan)) for task in plan.sample_tasks]
    frame, pieces = _documents(work.part, plan)
    documents, by_task = _routed(frame, work, plan, range(len(frame)))
    located = tuple(_located(rejects, work.part, pieces) for rejects in documents.rejected)
    return documents._replace(rejected=located), by_task


def _routed(frame: Frame, work: Work, plan: Plan, rows: range) -> tuple[Outcome, list[tuple[Task, Frame]]]:
    """Documents at these positions: the outcome of the stages before the tasks, and each task's."""
    repeated, deadly = (_at(positions, len(frame)) for positions in (work.repeated, work.deadly))
    if len(rows) < len(frame):
        of_these = np.array(rows, dtype=np.int64)
        frame, repeated, deadly = frames_of(frame).take(frame, of_these), repeated[of_these], deadly[of_these]
    admitted = admit(frame, duplicated=repeated, deadly=deadly, max_document_bytes=plan.max_document_bytes)
    counted = counted_documents(admitted.kept, plan.recipe.tokenizer)
    routed = route(counted, plan.routes, min_score=plan.min_score, max_score=plan.max_score)
    return chained(admitted, routed.documents), list(routed.by_task)


def _at(positions: Sequence[int], rows: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(rows, dtype=np.bool_)
    mask[list(positions)] = True
    return mask


def _documents(part: Part, plan: Plan) -> tuple[Frame, list[int]]:
    """The documents, and how many of them each piece of the part has."""
    assert plan.columns is not None
    try:
        pieces = read_pieces(part, plan.columns.schema)
    except InputError as error:  # found only where it is read, when other partitions have asked already
        raise JobError(str(error)) from None
    table = joined(pieces)
    renamed = table.rename_columns([plan.columns.renamed[name] for name in table.column_names])
    return frames_on(gpu=plan.gpu).from_table(renamed), [len(rows) for rows in pieces]


def _language_rows(part: Part, task: Task, plan: Plan) -> Frame:
    [samples] = part.pieces
    rows = language_rows(samples.start, samples.stop, task, seed=plan.recipe.config.seed)
    return frames_on(gpu=plan.gpu).from_columns(rows)


def _located(rejects: Frame, part: Part, pieces: list[int]) -> Frame:
    """Rejects of the input with file and row in `detail`: a row without an id can be found by nothing else."""
    frames = frames_of(rejects)
    rows = names_of_rows(part, pieces, frames.positions(rejects).tolist())
    further = frames.host(frames.texts(rejects, columns.DETAIL)).to_pylist()
    details = [row + (f": {words}" if words else "") for row, words in zip(rows, further, strict=True)]
    return frames.attach(rejects, {columns.DETAIL: pa.array(details, pa.large_string())})


def _task_runner(
    task: Task, frame: Frame, lines: LinesOnce | None, part: Part, plan: Plan, attempt: Attempt, progress: PartProgress
) -> Callable[[], Stages]:
    sent = _Sent(task, frame, plan.recipe.config.n)
    asked, prices = asked_of_model(plan.recipe.endpoint.model), plan.caps.prices

    def on_prepared(rows: int) -> None:
        sent.answers = rows
        progress.add({"rows": rows})

    def on_result(results: Results) -> None:
        counts = _counts(results, sent)
        progress.add(counts)
        if prices is not None:
            asked.paid(prices.cost(counts["prompt_tokens"], counts["completion_tokens"]))

    hooks = Hooks(
        priority=part.index,
        on_prepared=on_prepared,
        on_result=on_result,
        attempt=attempt,
        should_stop=progress.tick,
        before_sending=progress.is_stopped,
        shared_as=plan.launch if plan.shares_limits else None,
    )
    return lambda: _write(task, part, plan, synthesize_task(frame, task, plan.recipe, hooks, lines=lines))


class _Sent:
    """About what a task sends in one request, for an endpoint that does not say what it bills.

    answers: how many are to come, once that is known.
    """

    def __init__(self, task: Task, frame: Frame, answers_per_request: int) -> None:
        self._characters_of_all = 0 if task.makes_documents else _characters(frame)
        self._characters_of_each = len(task.prompt) + len(task.system_prompt or "")
        self._answers_per_request = answers_per_request
        self.answers = 0

    @property
    def tokens(self) -> int:
        """An estimate for the prompt of one request."""
        requests = max(1, self.answers // self._answers_per_request)
        return (self._characters_of_each + self._characters_of_all // requests) // CHARACTERS_PER_TOKEN


def _characters(frame: Frame) -> int:
    frames = frames_of(frame)
    return int(pc.sum(pc.utf8_length(frames.host(frames.texts(frame, columns.TEXT))), min_count=0).as_py())


def _counts(results: Results, sent: _Sent) -> dict[str, int]:
    """What a request's results come to; tokens are counted where they were paid for now."""
    new = [one for one in results if isinstance(one, Answer) and not one.reused]
    untold = [len(one.text or "") + len(one.reasoning or "") for one in new if one.completion_tokens is None]
    return {
        **counts_in(results),
        "estimated_prompt_tokens": sent.tokens if any(one.prompt_tokens is None for one in new) else 0,
        "estimated_completion_tokens": sum(untold) // CHARACTERS_PER_TOKEN,
    }


def _write(task: Task, part: Part, plan: Plan, outcome: Outcome) -> Stages:
    schema = shard_schema(
        task, plan.documents_schema, samples=plan.recipe.config.n,
        counted_for_training=plan.recipe.count_with is not None,
    )  # fmt: skip
    table = as_table([outcome.kept], schema)
    plan.output.write_table(shard_name(task.name, part.index, plan.output_format), table, plan.output_format)
    _write_rejects(plan, part, task, outcome)
    return outcome.stages


def _write_rejects(plan: Plan, part: Part, task: Task | None, outcome: Outcome) -> None:
    name = shard_name(f"{REJECTED}/{task.name if task else INPUT}", part.index, "parquet")
    if outcome.rejected:
        plan.output.write_table(name, as_table(outcome.rejected, reject_schema(task, plan.documents_schema)), "parquet")
    else:  # an attempt that broke off, or one whose failures are mended now, may have left some
        plan.output.remove([name])


def shard_name(folder: str, index: int, format: str) -> str:
    """Name of a partition's file in a folder of the output."""
    return f"{folder}/part-{index:05d}.{format}"
