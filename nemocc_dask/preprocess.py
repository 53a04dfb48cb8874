"""Documents become segments that fit a task's prompt: filter, split, pack, join, filter. Partition in and out."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, chained
from nemocc_dask.sieve import Sieve
from nemocc_dask.tasks import Task
from nemocc_dask.text.engine import Frame, Mask, frames_of
from nemocc_dask.tokens import TokenCounter

SEPARATOR = "\n"
"""Documents are cut at, and segments joined by, line breaks."""

Overlong = Literal["split", "drop"]
Counts = npt.NDArray[np.int64]


def preprocess(frame: Frame, task: Task, *, tokenizer: TokenCounter, overlong: Overlong = "split") -> Outcome:
    """Cut documents into the segments a task can be asked about.

    frame: documents with `id`, `text` and, where they have been counted already, `document_token_count`.
    overlong: what becomes of a line longer than a segment may be: cut at sentence, then word boundaries, or dropped.

    Kept rows are segments: the document's columns, `text` (the segment), `segment_id`, and both token counts. Stages:
    `filter_documents`, `filter_lines`, `filter_segments`. Raises `TaskError` where the prompt leaves no room, and
    `ColumnNotFoundError`.

    >>> import pandas as pd
    >>> from nemocc_dask.tasks import TASKS
    >>> documents = pd.DataFrame({"id": [7, 8], "text": ["Some words of a document.", "Few."]})
    >>> outcome = preprocess(documents, TASKS["wikipedia_paraphrasing"], tokenizer=TokenCounter())
    >>> len(outcome.kept), outcome.stages[0].rejected
    (1, {'document_too_short': 1})
    """
    budget = max_segment_tokens(task, tokenizer)
    documents = filter_tokens(
        counted_documents(frame, tokenizer), columns.DOCUMENT_TOKENS, stage="filter_documents", unit="documents",
        min_tokens=task.min_document_tokens, name="document",
    )  # fmt: skip
    lines = _fitting_lines(documents.kept, budget, tokenizer, overlong)
    segments = _counted_segments(join_segments(lines.kept, max_tokens=budget), tokenizer)
    filtered = filter_tokens(
        segments, columns.SEGMENT_TOKENS, stage="filter_segments", unit="segments",
        min_tokens=max(1, task.min_segment_tokens), name="segment",
    )  # fmt: skip
    return chained(documents, lines, filtered)


def max_segment_tokens(task: Task, tokenizer: TokenCounter) -> int:
    """Most tokens a segment of this task may have: what its prompt, rendered with an empty document, leaves."""
    return task.max_segment_tokens(tokenizer.count_prompt(task.messages(document="")))


def counted_documents(frame: Frame, tokenizer: TokenCounter) -> Frame:
    """The frame with line breaks made uniform and `document_token_count`; one that has counts is returned as it is."""
    if columns.DOCUMENT_TOKENS in frame.columns:
        return frame
    frames = frames_of(frame)
    texts = frames.kernels.normalize_newlines(frames.texts(frame, columns.TEXT))
    return frames.attach(frame, {columns.TEXT: texts, columns.DOCUMENT_TOKENS: tokenizer.count(texts)})


def filter_tokens(
    frame: Frame,
    count_column: str,
    *,
    stage: str,
    unit: str,
    name: str,
    min_tokens: int | None = None,
    max_tokens: int | None = None,
) -> Outcome:
    """Reject rows with fewer or more tokens than the inclusive bounds, as `NAME_too_short` or `NAME_too_long`."""
    sieve = Sieve(frame, stage=stage, unit=unit)
    if min_tokens is not None:
        sieve.reject(_counts(sieve.frame, count_column) < min_tokens, f"{name}_too_short")
    if max_tokens is not None:
        sieve.reject(_counts(sieve.frame, count_column) > max_tokens, f"{name}_too_long")
    return sieve.outcome()


def split_documents(frame: Frame, *, separator: str = SEPARATOR) -> Frame:
    """One row per part of each document between separators, `segment_id` counting from 0 in each; blank parts stay."""
    frames = frames_of(frame)
    texts = frames.texts(frame, columns.TEXT)
    parts, parents = frames.kernels.split(frames.kernels.normalize_newlines(texts), separator)
    firsts = np.searchsorted(parents, np.arange(len(frame)))
    numbers = np.arange(len(parents), dtype=np.int64) - firsts[parents]
    return frames.take(frame, parents, {columns.TEXT: parts, columns.SEGMENT_ID: numbers})


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


def _fitting_lines(documents: Frame, budget: int, tokenizer: TokenCounter, overlong: Overlong) -> Outcome:
    """The lines of the documents, none above the budget. Stage `filter_lines`."""
    lines = split_documents(documents)
    frames = frames_of(lines)
    texts = frames.texts(lines, columns.TEXT)
    counts = tokenizer.count(texts)
    longer = counts > budget
    if overlong == "split" and longer.any():
        lines = _cut(lines, *frames.kernels.split_overlong(texts, counts, max_tokens=budget, count=tokenizer.count))
    else:
        lines = frames.attach(lines, {columns.SEGMENT_TOKENS: counts})
    sieve = Sieve(lines, stage="filter_lines", unit="lines")
    sieve.reject(_counts(lines, columns.SEGMENT_TOKENS) > budget, "line_too_long")
    return sieve.outcome(overlong_lines=int(longer.sum()))


def _cut(lines: Frame, pieces: pa.LargeStringArray, counts: Counts, parents: Counts) -> Frame:
    """The lines, some of them now several rows, numbered from 0 in each document again."""
    first_of_document = (np.diff(parents, prepend=-1) != 0) & (_counts(lines, columns.SEGMENT_ID)[parents] == 0)
    starts = np.flatnonzero(first_of_document)
    numbers = np.arange(len(parents), dtype=np.int64) - np.repeat(starts, np.diff(np.append(starts, len(parents))))
    cut = {columns.TEXT: pieces, columns.SEGMENT_TOKENS: counts, columns.SEGMENT_ID: numbers}
    return frames_of(lines).take(lines, parents, cut)


def _counted_segments(segments: Frame, tokenizer: TokenCounter) -> Frame:
    """Joined segments with their true counts: what they were packed by is a sum, and a tokenizer may merge across."""
    frames = frames_of(segments)
    return frames.attach(segments, {columns.SEGMENT_TOKENS: tokenizer.count(frames.texts(segments, columns.TEXT))})


def _packed_counts(counts: Counts, runs: Counts, separator_tokens: int) -> Counts:
    if len(runs) == 0:
        return np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.append(runs, len(counts)))
    return np.asarray(np.add.reduceat(counts, runs) + separator_tokens * (lengths - 1), dtype=np.int64)


def _counts(frame: Frame, column: str) -> Counts:
    return frames_of(frame).numbers(frame, column).astype(np.int64)
