"""Documents become segments that fit a task's prompt: filter, split, pack, join, filter. Partition in and out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, StageCount, chained
from nemocc_dask.errors import ColumnNotFoundError
from nemocc_dask.segmenting import (
    SEPARATOR,
    Count,
    Counts,
    Lines,
    LinesOnce,
    Overlong,
    Room,
    Segments,
    cut_lines,
    cut_overlong,
    numbered,
    pack_lines,
)
from nemocc_dask.sieve import Sieve
from nemocc_dask.tasks import Task
from nemocc_dask.text.engine import Frame, Frames, Mask, frames_of
from nemocc_dask.tokens import Messages, TokenCounter


def preprocess(
    frame: Frame,
    task: Task,
    *,
    tokenizer: TokenCounter,
    overlong: Overlong = "split",
    lines: LinesOnce | None = None,
) -> Outcome:
    """Cut documents into the segments a task can be asked about.

    frame: documents with `id`, `text` and, where they have been counted already, `document_token_count`.
    overlong: what becomes of a line longer than a segment may be: cut at sentence, then word boundaries, or dropped.
    lines: `lines_of` this very frame, for several tasks to share; None cuts them anew.

    Kept rows are segments: the document's columns, `text` (the segment), `segment_id`, and both token counts, which are
    those of the texts themselves. No prompt is longer than `task.max_input_tokens` as the endpoint will see it, chat
    template included: what comes near the limit is counted whole. Stages: `filter_documents`, `filter_lines`,
    `filter_segments`. Raises `TaskError` where the prompt leaves no room, and `ColumnNotFoundError`.

    >>> import pandas as pd
    >>> from nemocc_dask.tasks import TASKS
    >>> documents = pd.DataFrame({"id": [7, 8], "text": ["Some words of a document.", "Few."]})
    >>> outcome = preprocess(documents, TASKS["wikipedia_paraphrasing"], tokenizer=TokenCounter())
    >>> len(outcome.kept), outcome.stages[0].rejected
    (1, {'document_too_short': 1})
    """
    if columns.ID not in frame.columns:
        raise ColumnNotFoundError.of(
            columns.ID, frame.columns, where="the documents", remedy="Rename the column that tells them apart."
        )
    documents = counted_documents(frame, tokenizer)
    frames, count = frames_of(documents), _counting(frames_of(documents), tokenizer)
    document_counts = _counts(documents, columns.DOCUMENT_TOKENS)
    too_short = document_counts < task.min_document_tokens
    room = _room(task, tokenizer, frames)

    cut = (lines or lines_of(documents, tokenizer))()
    cut = cut.pick(~too_short[cut.parents], frames)
    longer = int((cut.counts > room.budget).sum())
    cut = cut_overlong(cut, room.budget, frames, count) if overlong == "split" else cut
    too_long = cut.counts > room.budget
    document_counts[cut.parents[too_long]] = -1
    segments = pack_lines(cut.pick(~too_long, frames), document_counts, room, frames, count)
    reasons = {
        "prompt_too_long": ~segments.fits,
        "segment_too_short": segments.fits & (segments.counts < max(1, task.min_segment_tokens)),
    }
    useful = np.flatnonzero(~_any_of(reasons))
    return chained(
        _dropped_documents(documents, too_short),
        _dropped(
            documents, cut, {"line_too_long": too_long}, stage="filter_lines", unit="lines", overlong_lines=longer
        ),
        _dropped(documents, segments, reasons, stage="filter_segments", unit="segments"),
    )._replace(kept=_rows(documents, segments.pick(useful, frames)))


def lines_of(documents: Frame, tokenizer: TokenCounter, *, takers: int = 1) -> LinesOnce:
    """The lines of counted documents, for as many tasks as are asked about these."""
    frames = frames_of(documents)
    return LinesOnce(lambda: cut_lines(frames.texts(documents, columns.TEXT), frames, tokenizer), takers)


def max_segment_tokens(task: Task, tokenizer: TokenCounter) -> int:
    """Most tokens a segment of this task may have: what its prompt, rendered with an empty document, leaves."""
    return task.max_segment_tokens(tokenizer.prompt_words(_prompt_of(task)).tokens)


def counted_documents(frame: Frame, tokenizer: TokenCounter) -> Frame:
    """The frame with line breaks made uniform and `document_token_count`; one that has counts is returned as it is."""
    if columns.DOCUMENT_TOKENS in frame.columns:
        return frame
    frames = frames_of(frame)
    texts = frames.kernels.normalize_newlines(frames.texts(frame, columns.TEXT))
    return frames.attach(frame, {columns.TEXT: texts, columns.DOCUMENT_TOKENS: tokenizer.count(frames.host(texts))})


def filter_prompts(frame: Frame, task: Task, *, tokenizer: TokenCounter) -> Outcome:
    """Reject segments whose whole prompt is longer than the task's `max_input_tokens`, chat template included.

    Stage `filter_prompts`, in segments. What `preprocess` made always passes; null texts do too.
    """
    sieve = Sieve(frame, stage="filter_prompts", unit="segments")
    if task.max_input_tokens is not None:
        texts = pc.fill_null(frames_of(frame).host(frames_of(frame).texts(frame, columns.TEXT)), "")
        sieve.reject(_prompt_tokens(texts, task, tokenizer) > task.max_input_tokens, "prompt_too_long")
    return sieve.outcome()


def split_documents(frame: Frame, *, separator: str = SEPARATOR) -> Frame:
    """One row per part of each document between separators, `segment_id` counting from 0 in each; blank parts stay."""
    frames = frames_of(frame)
    texts = frames.texts(frame, columns.TEXT)
    parts, parents = frames.kernels.split(frames.kernels.normalize_newlines(texts), separator)
    return frames.take(frame, parents, {columns.TEXT: parts, columns.SEGMENT_ID: numbered(parents)})


def join_segments(
    frame: Frame, *, max_tokens: int, separator: str = SEPARATOR, separator_tokens: int = 1, starts: Mask | None = None
) -> Frame:
    """Join neighbouring segments of a document, next-fit, while their own counts and the separators' fit `max_tokens`.

    frame: segments with `id`, `text`, `segment_id`, `segment_token_count`, those of a document one after another.
    starts: bool (n,), True where a row begins a document; None tells by `id` and by where `segment_id` starts again.

    A new `segment_id` counts the joined segments, and skips a number wherever segments are missing between two of them.
    `segment_token_count` is the sum by which they were packed.
    """
    frames = frames_of(frame)
    begins = document_starts(frame) if starts is None else starts
    numbers = _counts(frame, columns.SEGMENT_ID)
    gaps = ~begins & (np.diff(numbers, prepend=numbers[:1]) != 1)
    counts = _counts(frame, columns.SEGMENT_TOKENS)
    runs = frames.kernels.pack(counts, begins | gaps, max_tokens=max_tokens, separator_tokens=separator_tokens)
    joined = {
        columns.TEXT: frames.kernels.join(frames.texts(frame, columns.TEXT), runs, separator=separator),
        columns.SEGMENT_ID: frames.kernels.segment_ids(np.cumsum(begins)[runs], gaps[runs]),
        columns.SEGMENT_TOKENS: _packed_counts(counts, runs, separator_tokens),
    }
    return frames.take(frame, runs, joined)


def document_starts(frame: Frame) -> Mask:
    """bool (n,): True where a row's `id` differs from the row before it, or its `segment_id` does not go on rising.

    So two documents are two even where they share an id.
    """
    codes = frames_of(frame).codes(frame, columns.ID)
    numbers = _counts(frame, columns.SEGMENT_ID)
    starts = np.ones(len(codes), dtype=np.bool_)
    starts[1:] = (np.diff(codes) != 0) | (np.diff(numbers) <= 0)
    return starts


# --- what goes on, and what does not ----------------------------------------------------------------------------------


def _rows(documents: Frame, parts: Lines | Segments) -> Frame:
    """A row for each part of a document, with the document's other columns."""
    made = {columns.TEXT: parts.texts, columns.SEGMENT_ID: parts.numbers, columns.SEGMENT_TOKENS: parts.counts}
    return frames_of(documents).take(documents, parts.parents, made)


def _dropped_documents(documents: Frame, too_short: Mask) -> Outcome:
    """Stage `filter_documents`; those that go on are counted, and not copied."""
    frame = frames_of(documents).keep(documents, too_short)
    sieve = Sieve(frame, stage="filter_documents", unit="documents", passed=len(documents) - len(frame))
    sieve.reject(np.ones(len(frame), dtype=np.bool_), "document_too_short")
    return sieve.outcome()


def _dropped(
    documents: Frame, parts: Lines | Segments, reasons: Mapping[str, Mask], *, stage: str, unit: str, **notes: int
) -> Outcome:
    """The parts that each reason's mask, bool (n,), names; those that go on are counted, and not copied."""
    gone = _any_of(reasons)
    if not gone.any():
        count = StageCount(stage=stage, unit=unit, rows_in=len(gone), rows_out=len(gone), notes=notes)
        return Outcome(None, (), (count,))
    left = np.flatnonzero(gone)
    frame = _rows(documents, parts.pick(left, frames_of(documents)))
    sieve = Sieve(frame, stage=stage, unit=unit, passed=len(gone) - len(left))
    for reason, mask in reasons.items():
        sieve.reject(mask[left], reason)
        left = left[~mask[left]]
    return sieve.outcome(**notes)


def _any_of(masks: Mapping[str, Mask]) -> Mask:
    return np.asarray(np.logical_or.reduce(list(masks.values())), dtype=np.bool_)


# --- counts -----------------------------------------------------------------------------------------------------------


def _room(task: Task, tokenizer: TokenCounter, frames: Frames) -> Room:
    words = tokenizer.prompt_words(_prompt_of(task))
    return Room(
        words=words,
        budget=task.max_segment_tokens(words.tokens),
        prompt_tokens=lambda texts: _prompt_tokens(frames.host(texts), task, tokenizer),
        max_prompt_tokens=task.max_input_tokens or 0,
    )


def _prompt_tokens(documents: pa.LargeStringArray, task: Task, tokenizer: TokenCounter) -> Counts:
    return tokenizer.count_prompts(_prompt_of(task), documents)


def _prompt_of(task: Task) -> Messages:
    return lambda document: task.messages(document=document)


def _counting(frames: Frames, tokenizer: TokenCounter) -> Count:
    return lambda texts: tokenizer.count(frames.host(texts))


def _packed_counts(counts: Counts, runs: Counts, separator_tokens: int) -> Counts:
    if len(runs) == 0:
        return np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.append(runs, len(counts)))
    return np.asarray(np.add.reduceat(counts, runs) + separator_tokens * (lengths - 1), dtype=np.int64)


def _counts(frame: Frame, column: str) -> Counts:
    return frames_of(frame).numbers(frame, column).astype(np.int64)
