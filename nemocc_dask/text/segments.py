"""Cuts documents into parts, packs the parts into segments that fit a token budget, and joins them again.

Arrow in, Arrow out: texts are a `pyarrow.LargeStringArray` (one chunk, any offset, nulls allowed), positions and
token counts are int64 numpy arrays. Nothing is changed in place, zero rows are legal everywhere, and no function
loops over rows in Python.

The usual order is `normalize_newlines`, `split`, (count tokens), `split_overlong`, `pack`, `join`, `segment_ids`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.layout import Flags, Integers, Parts, bytes_of, changes, joined, running_total


def normalize_newlines(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    r"""Each `\r\n` and each lone `\r` becomes `\n`; the very same array comes back where there is no `\r`.

    >>> normalize_newlines(pa.array(["a\r\nb\rc\n"], pa.large_string())).to_pylist()
    ['a\nb\nc\n']
    """
    if not (bytes_of(texts) == ord("\r")).any():  # ten times as fast as Arrow's search
        return texts
    without_pairs = pc.replace_substring(texts, pattern="\r\n", replacement="\n")
    return pc.replace_substring(without_pairs, pattern="\r", replacement="\n")


def split(texts: pa.LargeStringArray, separator: str | bytes) -> Parts:
    r"""The parts of each row between separators, empty ones too, so that joining gives the row again exactly.

    An empty row has one empty part, a null row has none. An empty separator raises ValueError.

    >>> parts = split(pa.array(["a\n\nb", None, ""], pa.large_string()), "\n")
    >>> parts.texts.to_pylist(), parts.parents.tolist()
    (['a', '', 'b', ''], [0, 0, 0, 2])
    """
    lists = pc.split_pattern(texts, pattern=separator)
    return Parts(lists.flatten(), pc.list_parent_indices(lists).to_numpy())


def pack(
    token_counts: Integers,
    starts_group: Flags,
    *,
    max_tokens: int | Integers,
    separator_tokens: int | Integers = 1,
) -> Integers:
    """Where each run begins when neighbours are put together for as long as they fit (next-fit).

    A run i..j-1 fits if ``sum(token_counts[i:j]) + sum(separator_tokens[i+1:j]) <= max_tokens``. Each group is
    packed from its first element on, each run as long as it can be; an element that is over the budget by itself
    is a run by itself.

    token_counts: int64 (n,), none negative.
    starts_group: bool (n,), True where an element must not be put together with the one before it: a new
        document, or something is missing in between. The first element starts a group whatever is said.
    max_tokens: one budget, or int64 (n,): that of a run which begins at the element.
    separator_tokens: tokens of what joins an element to the one before it; one number, or int64 (n,).

    Returns int64 (runs,): the position of each run's first element, increasing.

    >>> pack(np.array([2, 2, 2, 9, 1]), np.array([True, False, False, False, True]), max_tokens=5).tolist()
    [0, 2, 3, 4]
    """
    separators = np.broadcast_to(np.asarray(separator_tokens, np.int64), token_counts.shape)
    budgets = np.broadcast_to(np.asarray(max_tokens, np.int64), token_counts.shape)
    spent = running_total(token_counts + separators)
    heads = np.flatnonzero(_with_first(starts_group))
    ends = np.append(heads[1:], len(token_counts))
    starts_run = np.zeros(len(token_counts), bool)
    # One step for all groups at once: as many steps as the longest group has runs.
    while heads.size:
        starts_run[heads] = True
        affordable = spent[heads] + separators[heads] + budgets[heads]
        heads = np.maximum(np.searchsorted(spent, affordable, side="right") - 1, heads + 1)
        inside = heads < ends
        heads, ends = heads[inside], ends[inside]
    return np.flatnonzero(starts_run)


def join(texts: pa.LargeStringArray, starts: Integers, *, separator: str) -> pa.LargeStringArray:
    r"""One text for each run: the elements from one start up to the next, joined by the separator.

    starts: int64 (runs,), strictly increasing, as `pack` returns them.

    Raises ValueError where `texts` holds a null: what it should be in a joined text is the caller's to say.
    The very same array comes back where every run has one element.

    >>> join(pa.array(["a", "b", "c"], pa.large_string()), np.array([0, 2]), separator="\n").to_pylist()
    ['a\nb', 'c']
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null. Drop or fill them before joining.")
    if len(starts) == len(texts):
        return texts
    return joined(texts, np.append(starts, len(texts)), separator)


def segment_ids(parents_of_runs: Integers, gap_before: Flags) -> Integers:
    """The number of each run in its document; two runs' numbers differ by one if nothing is missing between them.

    Numbers begin at 0 in each document and go up by one a run, by two where there is a gap before the run. A gap
    before a document's first run leaves it at 0.

    parents_of_runs: int64 (n,), the document of each run; a change begins a new document.
    gap_before: bool (n,), True where something between the run and the one before it was left out.

    >>> segment_ids(np.array([7, 7, 7, 8]), np.array([False, False, True, False])).tolist()
    [0, 1, 3, 0]
    """
    heads = np.flatnonzero(changes(parents_of_runs))
    numbers = np.cumsum(1 + np.asarray(gap_before, np.int64))
    lengths = np.diff(np.append(heads, len(numbers)))
    return numbers - np.repeat(numbers[heads], lengths)


def _with_first(flags: Flags) -> Flags:
    """The same flags with the first one set."""
    return np.concatenate((np.ones(len(flags[:1]), bool), flags[1:]))
