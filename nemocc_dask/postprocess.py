"""Answers become results: filter, clean step by step, join a document's segments, filter. Partition in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, chained
from nemocc_dask.sieve import Sieve
from nemocc_dask.tasks import Task
from nemocc_dask.tasks.languages import code_of
from nemocc_dask.text.blanks import strip
from nemocc_dask.text.engine import Frame, Mask, Positions, Texts, frames_of
from nemocc_dask.text.layout import to_flags
from nemocc_dask.text.pairs import BETWEEN_PAIRS, earned_pairs
from nemocc_dask.text.plain_pairs import chosen_pairs
from nemocc_dask.tokens import TokenCounter

SEPARATOR = "\n"
"""Results of neighbouring segments are joined by line breaks."""


def postprocess(frame: Frame, task: Task, *, tokenizer: TokenCounter, seed: int | None = 0) -> Outcome:
    """Clean the answers of one task and keep those that are of use.

    frame: answers with the task's output field, `id`, and `segment_id`, `text`, `sample` as `generate` leaves them.
    seed: seed of the choice among question-answer pairs; the choice depends on it, the row and the task alone.

    Kept rows have the cleaned output field and its token counts. Stages: `postprocess`, in answers, and, for tasks that
    read documents, `filter_results`, in results: one per answer, or, where the task joins segments, one per run of
    neighbouring segments. A missing segment ends a run, so nothing is joined over a gap.

    Raises `ColumnNotFoundError`.

    >>> import pandas as pd
    >>> from nemocc_dask.tasks import TASKS
    >>> answers = pd.DataFrame({"id": 7, "segment_id": [0, 1], "text": "Source.", "rephrased": [
    ...     "Here is a paraphrased version: " + "Water boils at a hundred degrees. " * 9, "No marker."]})
    >>> outcome = postprocess(answers, TASKS["wikipedia_paraphrasing"], tokenizer=TokenCounter())
    >>> outcome.stages[0].rejected, outcome.kept["rephrased"].str[:12].tolist()
    ({'marker_missing': 1}, ['Water boils '])
    """
    sieve = _cleaned(frame, task, tokenizer, seed)
    if task.makes_documents:
        return sieve.outcome()
    if not task.joins_segments:
        sieve.next_stage("filter_results", "results")
        return _filtered(sieve, task, tokenizer)
    answers = sieve.outcome()
    results = Sieve(join_answers(answers.kept, task, tokenizer), stage="filter_results", unit="results")
    return chained(answers, _filtered(results, task, tokenizer, answers_joined=len(answers.kept)))


def _filtered(results: Sieve, task: Task, tokenizer: TokenCounter, **notes: int) -> Outcome:
    """Stage `filter_results`: what is too short is dropped last."""
    lengths = tokenizer.count(results.frames.host(results.texts(task.output_field)))
    results.put(columns.REPHRASED_DOCUMENT_TOKENS, lengths)
    results.reject(lengths < task.min_result_tokens, "result_too_short")
    return results.outcome(**notes)


# --- cleaning ---------------------------------------------------------------------------------------------------------


def _cleaned(frame: Frame, task: Task, tokenizer: TokenCounter, seed: int | None) -> Sieve:
    """Stage `postprocess`: too long an answer is dropped first, then each step of the task runs."""
    sieve = Sieve(frame, stage="postprocess", unit="answers")
    cleaning = Cleaning(sieve, task, seed)
    lengths = tokenizer.count(sieve.frames.host(cleaning.answers))
    if not task.makes_documents:
        sieve.put(columns.REPHRASED_SEGMENT_TOKENS, lengths)
    cleaning.reject(lengths > task.max_answer_tokens, "answer_too_long")
    cleaning.reject(cleaning.blank(), "empty")
    for step in task.steps:
        CLEANING[step.name](cleaning, **step.options)
    cleaning.answers = cleaning.kernels.strip(cleaning.answers)
    cleaning.reject(cleaning.blank(), "empty_after_cleaning")
    sieve.put(task.output_field, cleaning.answers)
    return sieve


class Cleaning:
    """What a step works on: `answers` is the output field of the rows that are left, as it now is."""

    def __init__(self, sieve: Sieve, task: Task, seed: int | None) -> None:
        self.task, self.seed, self._sieve = task, seed, sieve
        self.frames = sieve.frames
        self.kernels: Any = self.frames.kernels
        self.answers: Texts = sieve.texts(task.output_field)

    @property
    def frame(self) -> Frame:
        """The rows, whose output field may be that of an earlier step."""
        return self._sieve.frame

    def blank(self) -> Mask:
        """bool (n,), True where nothing is left of an answer."""
        return self.frames.mask(self.kernels.is_blank(self.answers))

    def reject(self, doomed: Mask, reason: str) -> None:
        """Drop the rows where `doomed` is True."""
        if doomed.any():
            self._sieve.put(self.task.output_field, self.answers)
            self._sieve.reject(doomed, reason)
            self.answers = self.frames.pick(self.answers, np.flatnonzero(~doomed))


def _remove_markdown(cleaning: Cleaning) -> None:
    cleaning.answers = cleaning.kernels.remove_markdown(cleaning.answers)


def _remove_quotation(cleaning: Cleaning) -> None:
    cleaning.answers = cleaning.kernels.remove_quotation(cleaning.answers)


def _remove_lines(cleaning: Cleaning, *, pattern: str) -> None:
    cleaning.answers = cleaning.kernels.remove_lines(cleaning.answers, pattern)


def _keep_prefixed(cleaning: Cleaning, *, prefix: str) -> None:
    present = cleaning.kernels.starts_with_marker(cleaning.answers, prefix)
    cleaning.reject(~cleaning.frames.mask(present), "marker_missing")


def _slice_after(cleaning: Cleaning, *, marker: str) -> None:
    cleaning.answers = cleaning.kernels.slice_after_marker(cleaning.answers, marker)


def _normalize_bullets(cleaning: Cleaning) -> None:
    cleaning.answers = cleaning.kernels.normalize_bullets(cleaning.answers)


def _keep_language_code(cleaning: Cleaning) -> None:
    """Reject answers that do not begin with the code of the language they were asked for in."""
    frames = cleaning.frames
    languages = frames.host(frames.texts(cleaning.frame, columns.LANGUAGE)).to_pylist()
    asked = np.array([code_of(language) for language in languages], dtype=object)
    beginnings = pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(frames.host(cleaning.answers)), 0, 4).to_pylist()
    cleaning.reject(np.array(beginnings, dtype=object) != asked, "language_code_missing")


def _keep_pairs(cleaning: Cleaning, *, max_pairs: int) -> None:
    """Keep as many question-answer pairs as the segment's length earns, after the segment's own text."""
    frame, frames = cleaning.frame, cleaning.frames
    sources = strip(pc.fill_null(frames.host(frames.texts(frame, columns.TEXT)), ""))
    lengths = frames.numbers(frame, columns.SEGMENT_TOKENS).astype(np.int64).tolist()
    pairs = chosen_pairs(
        frames.host(cleaning.answers),
        keep=[min(max_pairs, earned_pairs(length)) for length in lengths],
        draws=_row_names(frame, within=f"{cleaning.seed}|{cleaning.task.name}"),
    )
    cleaning.answers = frames.from_host(_after_sources(sources, pairs))
    cleaning.reject(to_flags(pairs.is_null()), "no_pairs")


def _after_sources(sources: pa.LargeStringArray, pairs: pa.LargeStringArray) -> pa.LargeStringArray:
    """Each source, a blank line and its pairs; the pairs alone where the source is empty, null where there are none."""
    nothing, gap = pa.array(["", BETWEEN_PAIRS], pa.large_string())
    gaps = pc.if_else(pc.equal(sources, nothing), nothing, gap)
    return pc.binary_join_element_wise(sources, gaps, pairs, nothing)


def _row_names(frame: Frame, *, within: str) -> list[str]:
    """What tells a row from every other, whatever its partition: document, segment, sample; `within` stands before."""
    ids = frames_of(frame).values(frame, columns.ID)
    numbers = (_whole(frame, columns.SEGMENT_ID).tolist(), _whole(frame, columns.SAMPLE).tolist())
    return [f"{within}|{name!s}|{segment}|{sample}" for name, segment, sample in zip(ids, *numbers, strict=True)]


CLEANING: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "remove_markdown": _remove_markdown,
        "remove_quotation": _remove_quotation,
        "remove_lines": _remove_lines,
        "keep_prefixed": _keep_prefixed,
        "slice_after": _slice_after,
        "normalize_bullets": _normalize_bullets,
        "keep_language_code": _keep_language_code,
        "keep_pairs": _keep_pairs,
    }
)
"""Name of each step in `tasks.steps` → what it does."""


# --- one text per document again --------------------------------------------------------------------------------------


def join_answers(frame: Frame, task: Task, tokenizer: TokenCounter) -> Frame:
    """One row per run of neighbouring segments of a document and sample, source text and result joined in order.

    Counts, attempts and seconds are summed, request ids listed with commas; other columns are the first segment's.
    `segment_id` is the first segment's too, and `segment_token_count` the true count of the joined source.
    """
    frames = frames_of(frame)
    frame, runs = _in_runs(frame)
    joined = {
        columns.TEXT: frames.kernels.join(frames.texts(frame, columns.TEXT), runs, separator=SEPARATOR),
        task.output_field: frames.kernels.join(frames.texts(frame, task.output_field), runs, separator=SEPARATOR),
    }
    if columns.REQUEST_ID in frame.columns:
        joined[columns.REQUEST_ID] = frames.kernels.join(frames.texts(frame, columns.REQUEST_ID), runs, separator=",")
    joined |= {name: _run_sums(frame, name, runs) for name in _SUMMED if name in frame.columns}
    # Counted anew, be it of one segment: segments may have been joined before, and count by the sum of their parts.
    joined[columns.SEGMENT_TOKENS] = tokenizer.count(frames.host(joined[columns.TEXT]))
    return frames.take(frame, runs, joined)


_SUMMED = (
    columns.REPHRASED_SEGMENT_TOKENS,
    columns.PROMPT_TOKENS,
    columns.COMPLETION_TOKENS,
    columns.ATTEMPTS,
    columns.LATENCY_S,
)


def _in_runs(frame: Frame) -> tuple[Frame, Positions]:
    """The rows ordered by document, sample and segment, and the position of the first row of each run of neighbours."""
    frames = frames_of(frame)
    ids, segments, samples = (
        frames.codes(frame, columns.ID),
        _whole(frame, columns.SEGMENT_ID),
        _whole(frame, columns.SAMPLE),
    )
    documents = np.cumsum(_document_starts(ids, segments, samples))
    order = np.lexsort((segments, samples, documents))
    steps = [np.diff(values[order], prepend=-1) for values in (documents, samples, segments)]
    begins = (steps[0] != 0) | (steps[1] != 0) | (steps[2] != 1)
    begins[:1] = True
    ordered = np.array_equal(order, np.arange(len(order)))
    return frame if ordered else frames.take(frame, order), np.flatnonzero(begins)


def _document_starts(ids: Positions, segments: Positions, samples: Positions) -> Mask:
    """True where the id changes, or segment and sample do not go on rising: two documents are two even under one id."""
    starts = np.ones(len(ids), dtype=np.bool_)
    onward = (np.diff(segments) > 0) | ((np.diff(segments) == 0) & (np.diff(samples) > 0))
    starts[1:] = (np.diff(ids) != 0) | ~onward
    return starts


def _run_sums(frame: Frame, column: str, runs: Positions) -> Any:
    """Sum of each run in the column's own type; missing values are left out, a run of none but those stays missing."""
    values = frames_of(frame).numbers(frame, column)
    if len(runs) == 0:
        return _in_type_of(column, np.zeros(0), np.zeros(0, dtype=np.bool_))
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), runs)
    return _in_type_of(column, sums, np.logical_or.reduceat(known, runs))


def _in_type_of(column: str, sums: npt.NDArray[np.float64], known: Mask) -> Any:
    if column == columns.LATENCY_S:
        return sums
    whole = sums.astype(np.int64)
    return pa.array(whole, mask=~known) if columns.LEDGER.get(column) == "Int64" else whole


# --- columns ----------------------------------------------------------------------------------------------------------


def _whole(frame: Frame, column: str) -> Positions:
    """An integer column; zeros where the frame has none, as a frame with one answer per prompt may."""
    if column not in frame.columns:
        return np.zeros(len(frame), dtype=np.int64)
    return frames_of(frame).numbers(frame, column).astype(np.int64)
