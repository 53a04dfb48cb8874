"""What becomes of a document on its way to segments, done slowly, with any of Curator's habits put on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from differences import Comparison, Habit, Habits, Texts, compare

from nemocc_dask import Task, TokenCounter
from nemocc_dask.preprocess import max_segment_tokens
from nemocc_dask.text.overlong import split_overlong

OVERLONG, BOS, SUM, RETURNS = "overlong", "bos", "sum", "returns"
HABITS: Mapping[str, Habit] = {
    OVERLONG: Habit("12", "a line over the budget is dropped and its neighbours joined as if adjacent"),
    BOS: Habit("13", "the tokens that a tokenizer puts round a text are counted for every line"),
    SUM: Habit("13", "a segment's count is that of its lines and separators, not that of its text"),
    RETURNS: Habit("14", "`\\r\\n` leaves `\\r` on lines"),
}
SEPARATOR = "\n"
SEPARATOR_TOKENS = 1
"""Ours is one token. Curator adds the separator's length in characters, which for this one is the same."""


class Piece(NamedTuple):
    """A line, or part of one, with its count."""

    text: str
    tokens: int


class Segmenting:
    """The slow way from a document to its segments, for one task and tokenizer.

    special_tokens: how many the tokenizer puts round each text it is given to encode.
    """

    def __init__(self, task: Task, counter: TokenCounter, *, special_tokens: int) -> None:
        self.task, self.counter, self.special_tokens = task, counter, special_tokens
        self.budget = max_segment_tokens(task, counter)

    def segments(self, text: str, habits: Habits) -> Texts:
        """The segments of one document."""
        special = self.special_tokens if BOS in habits else 0
        if RETURNS not in habits:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self._count([text])[0] + special < self.task.min_document_tokens:
            return ()
        joined = self._packed(self._pieces(text.split(SEPARATOR), habits, special))
        least = max(1, self.task.min_segment_tokens)
        return tuple(text for text, sums in joined if self._long(text, sums, habits) >= least)

    def _pieces(self, lines: list[str], habits: Habits, special: int) -> list[Piece]:
        """The lines that fit, or all of them with those that do not cut up."""
        counts = self._count(lines)
        if OVERLONG not in habits:
            texts = pa.array(lines, pa.large_string())
            cut = split_overlong(texts, np.array(counts), max_tokens=self.budget, count=self.counter.count)
            lines, counts = cut.texts.to_pylist(), cut.token_counts.tolist()
        pieces = (Piece(line, count + special) for line, count in zip(lines, counts, strict=True))
        return [piece for piece in pieces if piece.tokens <= self.budget]

    def _packed(self, pieces: list[Piece]) -> list[tuple[str, int]]:
        """Neighbours put together while they fit, with the counts they were put together by."""
        runs: list[list[Piece]] = []
        for piece in pieces:
            if runs and self._sum([*runs[-1], piece]) <= self.budget:
                runs[-1].append(piece)
            else:
                runs.append([piece])
        return [(SEPARATOR.join(piece.text for piece in run), self._sum(run)) for run in runs]

    @staticmethod
    def _sum(run: list[Piece]) -> int:
        return sum(piece.tokens for piece in run) + SEPARATOR_TOKENS * (len(run) - 1)

    def _long(self, text: str, sums: int, habits: Habits) -> int:
        return sums if SUM in habits else self._count([text])[0]

    def _count(self, texts: list[str]) -> list[int]:
        counts: list[int] = self.counter.count(pa.array(texts, pa.large_string())).tolist()
        return counts


def compare_segments(
    documents: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, segmenting: Segmenting
) -> Comparison:
    """Documents by id, segments by the id of their document and in order. Ids are not repeated in `documents`."""
    texts = dict(zip(documents["id"], documents["text"], strict=True))

    def model(habits: Habits, keys: Collection[object]) -> dict[object, Texts]:
        return {key: segmenting.segments(texts[key], habits) for key in keys}

    habits = [name for name in HABITS if name != BOS or segmenting.special_tokens]
    return compare(by_document(ours), by_document(theirs), model, habits)


def by_document(segments: pd.DataFrame) -> dict[object, Texts]:
    """The texts of each document's segments."""
    ordered = segments.sort_values("segment_id", kind="stable")
    return {key: tuple(group) for key, group in ordered.groupby("id", sort=False)["text"]}
