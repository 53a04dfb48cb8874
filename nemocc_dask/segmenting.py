"""Lines become segments that fit a task's prompt: the arithmetic of preprocessing, on columns of text.

Lines of a document are cut and counted once, for all tasks that are asked about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nemocc_dask.text.engine import Frames, Mask, Positions, Texts
from nemocc_dask.tokens import SEAM_TOKENS, PromptWords, TokenCounter

SEPARATOR = "\n"
"""Documents are cut at, and segments joined by, line breaks, each of which counts as a token."""

Overlong = Literal["split", "drop"]
Counts = npt.NDArray[np.int64]
Count = Callable[[Texts], Counts]


class Lines(NamedTuple):
    """Lines, or pieces of lines, of some documents, one after another.

    texts: (n,). counts: int64 (n,), tokens of each. parents: int64 (n,), position of its document, never decreasing.
    numbers: int64 (n,), its place in the document; what is missing between two lines leaves a gap.
    exact: bool (n,), False where the count is not the text's own but a sum.
    """

    texts: Texts
    counts: Counts
    parents: Positions
    numbers: Positions
    exact: Mask

    def pick(self, rows: Mask | Positions, frames: Frames) -> Self:
        """The lines at these positions, or where the mask is True."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        return type(self)(frames.pick(self.texts, _positions(rows)), *_each(self[1:], rows))


class Segments(NamedTuple):
    """Segments of some documents, one after another.

    texts: (n,). counts: int64 (n,), the tokens of each text. parents: int64 (n,), position of its document.
    numbers: int64 (n,), its place in the document. fits: bool (n,), whether its whole prompt does.
    """

    texts: Texts
    counts: Counts
    parents: Positions
    numbers: Positions
    fits: Mask

    def pick(self, positions: Positions, frames: Frames) -> Self:
        """The segments at these positions, in this order."""
        return type(self)(frames.pick(self.texts, positions), *_each(self[1:], positions))


class LinesOnce:
    """The lines of some documents, cut and counted by whoever asks first. May be asked from any thread.

    takers: after so many have asked they are forgotten, for the text of a partition is not held while it waits.
    """

    def __init__(self, cut: Callable[[], Lines], takers: int) -> None:
        self._cut, self._takers, self._lock = cut, takers, Lock()
        self._lines: Lines | None = None

    def __call__(self) -> Lines:
        """The lines."""
        with self._lock:
            lines = self._lines or self._cut()
            self._takers -= 1
            self._lines = lines if self._takers > 0 else None
            return lines


def cut_lines(documents: Texts, frames: Frames, tokenizer: TokenCounter) -> Lines:
    r"""The lines of documents that know no line break but `\n`; blank ones stay."""
    texts, parents = frames.kernels.split(documents, SEPARATOR)
    counts = tokenizer.count(frames.host(texts))
    return Lines(texts, counts, parents, numbered(parents), np.ones(len(parents), dtype=np.bool_))


def cut_overlong(lines: Lines, budget: int, frames: Frames, count: Count) -> Lines:
    """Lines over the budget cut at sentence, then word boundaries; very rarely a piece is still over it."""
    longer = lines.counts > budget
    if not longer.any():
        return lines
    texts, counts, origins = frames.kernels.split_overlong(lines.texts, lines.counts, max_tokens=budget, count=count)
    parents = lines.parents[origins]
    # Also the single piece of a line whose words count less than it does itself.
    return Lines(texts, counts, parents, numbered(parents), exact=~longer[origins])


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a task's prompt has room for.

    words: what it says besides its document. budget: what that leaves for a segment, by the sum of its lines.
    prompt_tokens: counts the whole prompts round some segments. max_prompt_tokens: most that one may have.
    """

    words: PromptWords
    budget: int
    prompt_tokens: Count
    max_prompt_tokens: int

    def excess(self, segments: Texts, counts: Counts, frames: Frames) -> Counts:
        """Tokens by which the prompt round each segment is too long; zero or less where it fits.

        Prompts that may come near the limit are counted whole, as the endpoint will see them.
        """
        if self.words.places is None:
            return self.prompt_tokens(segments) - self.max_prompt_tokens
        excess = self.words.tokens + self.words.places * (counts + SEAM_TOKENS) - self.max_prompt_tokens
        near = np.flatnonzero(excess > 0)
        if len(near):
            excess[near] = self.prompt_tokens(frames.pick(segments, near)) - self.max_prompt_tokens
        return excess


def pack_lines(lines: Lines, document_counts: Counts, room: Room, frames: Frames, count: Count) -> Segments:
    """Neighbouring lines of each document put together, next-fit, while their prompt has room.

    document_counts: int64, tokens of each document as a whole, which a segment of all its lines has too; -1 where
    lines of it are missing.

    Lines are packed by the sum of their counts and one for each line break. A tokenizer may make more of the whole than
    of its parts: where a prompt is too long, its segment ends some lines earlier and its document's lines are packed
    again. Only a segment of a single line can be left that does not fit.
    """
    known = document_counts.copy()
    known[lines.parents[~lines.exact]] = -1  # cut, a document is no longer the sum of its lines and line breaks
    budgets = np.full(len(lines.counts), room.budget, dtype=np.int64)
    done: list[Segments] = []
    while True:
        runs, gaps = _runs(lines, budgets, frames)
        packed = _segments(lines, runs, gaps, known, frames, count)
        excess = room.excess(packed.texts, packed.counts, frames)
        packed = packed._replace(fits=excess <= 0)
        again = ~packed.fits & (_lengths(runs, lines) > 1)
        if not again.any():
            done.append(packed)
            return _in_order(done, frames)
        budgets[runs[again]] = _smaller(_sums(lines, runs), packed.counts, excess)[again]
        unsettled = np.zeros(len(document_counts), dtype=np.bool_)
        unsettled[packed.parents[again]] = True
        done.append(packed.pick(np.flatnonzero(~unsettled[packed.parents]), frames))
        of_those = unsettled[lines.parents]
        lines, budgets = lines.pick(of_those, frames), budgets[of_those]


def _runs(lines: Lines, budgets: Counts, frames: Frames) -> tuple[Positions, Mask]:
    """Where each segment begins, and for each line whether something is missing before it in its document."""
    begins = np.diff(lines.parents, prepend=-1) != 0
    gaps = ~begins & (np.diff(lines.numbers, prepend=-1) != 1)
    return frames.kernels.pack(lines.counts, begins | gaps, max_tokens=budgets), gaps


def _segments(lines: Lines, runs: Positions, gaps: Mask, known: Counts, frames: Frames, count: Count) -> Segments:
    texts = frames.kernels.join(lines.texts, runs, separator=SEPARATOR)
    parents = lines.parents[runs]
    counts = _counted_before(lines, runs, known)
    new = np.flatnonzero(counts < 0)
    if len(new):
        counts[new] = count(frames.pick(texts, new))
    numbers = frames.kernels.segment_ids(parents, gaps[runs])
    return Segments(texts, counts, parents, numbers, np.ones(len(runs), dtype=np.bool_))


def _counted_before(lines: Lines, runs: Positions, known: Counts) -> Counts:
    """Tokens of the segments that are a line or a whole document, -1 for the others."""
    lengths, parents = _lengths(runs, lines), lines.parents[runs]
    whole = lengths == np.bincount(lines.parents, minlength=len(known))[parents]
    counts = np.where(whole, known[parents], -1)
    alone = (lengths == 1) & lines.exact[runs]
    return np.where(alone, lines.counts[runs], counts)


def _smaller(sums: Counts, counts: Counts, excess: Counts) -> Counts:
    """The sums by which segments may be packed whose tokens are to be fewer by the excess: less in proportion."""
    in_proportion: Counts = sums * (counts - excess) // np.maximum(counts, 1)
    return np.minimum(sums - 1, in_proportion)


def _sums(lines: Lines, runs: Positions) -> Counts:
    """By what each segment was packed: its lines' counts and one for each line break between them."""
    return np.asarray(np.add.reduceat(lines.counts, runs) + _lengths(runs, lines) - 1, dtype=np.int64)


def _lengths(runs: Positions, lines: Lines) -> Counts:
    return np.diff(runs, append=len(lines.counts))


def _in_order(several: list[Segments], frames: Frames) -> Segments:
    """The segments of all, those of a document where it stands among the others."""
    if len(several) == 1:
        return several[0]
    numbers: list[Any] = [np.concatenate(each) for each in zip(*(one[1:] for one in several), strict=True)]
    together = Segments(frames.stack([one.texts for one in several]), *numbers)
    return together.pick(np.argsort(together.parents, kind="stable"), frames)


def _positions(rows: Mask | Positions) -> Positions:
    return np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64, copy=False)


def _each(columns: Iterable[Any], rows: Any) -> Iterator[Any]:
    return (column[rows] for column in columns)


def numbered(parents: Positions) -> Positions:
    """The place of each element among those of its parent, from 0; `parents` never decreases.

    >>> numbered(np.array([4, 4, 7])).tolist()
    [0, 1, 0]
    """
    begins = np.flatnonzero(np.diff(parents, prepend=-1))
    return np.arange(len(parents)) - np.repeat(begins, np.diff(begins, append=len(parents)))
