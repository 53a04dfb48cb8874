"""Splitting, packing and joining against slow, obvious ones written row by row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text import segments

from .documents import array, budgets, by_parent, count_quarters, documents, either_place, moderately, rows_of_text


def packed_by_hand(counts: list[int], starts_group: list[bool], max_tokens: int) -> list[list[int]]:
    """Next-fit, an element at a time; a separator is one token."""
    runs: list[list[int]] = []
    used = 0
    for position, (tokens, starts) in enumerate(zip(counts, starts_group, strict=True)):
        if runs and not starts and used + 1 + tokens <= max_tokens:
            runs[-1].append(position)
            used += 1 + tokens
        else:
            runs.append([position])
            used = tokens
    return runs


@either_place
@given(rows=documents)
@settings(moderately)
def test_newlines_are_those_of_plain_python(kernels, place, rows):
    """Newlines are normalised exactly as replacing the pair first and the lone one then would."""
    expected = [None if row is None else row.replace("\r\n", "\n").replace("\r", "\n") for row in rows]
    assert kernels.normalize_newlines(place(rows)) == expected


def test_without_carriage_returns_nothing_is_copied():
    """Texts that need no mending come back as the very same array."""
    texts = array(["a\nb", None, ""])
    assert segments.normalize_newlines(texts) is texts


@either_place
@given(rows=documents, separator=st.sampled_from(["\n", " ", "是", ".。"]))
@settings(moderately)
def test_split_is_that_of_plain_python(kernels, place, rows, separator):
    """Each row's parts are those of str.split, empty ones too, and a null row has none."""
    parts = kernels.split(place(rows), separator)
    expected = [[] if row is None else row.split(separator) for row in rows]
    assert by_parent(parts.texts, parts.parents, len(rows)) == expected
    assert parts.parents.dtype == np.int64


@either_place
@given(rows=st.lists(rows_of_text, max_size=8))
@settings(moderately)
def test_joining_what_was_split_gives_the_rows_again(kernels, place, rows):
    """Split and join are exact opposites, blank lines and empty rows included."""
    parts = kernels.split(place(rows), "\n")
    starts = np.flatnonzero(np.diff(parts.parents, prepend=-1))
    assert kernels.join(parts.texts, starts, separator="\n") == rows


def test_an_empty_separator_is_refused(kernels):
    """There is no splitting at nothing."""
    with pytest.raises(ValueError, match="separator"):
        kernels.split(["a"], "")


elements = st.lists(st.tuples(rows_of_text, st.integers(0, 9), st.booleans()), max_size=40)


@given(elements=elements, max_tokens=budgets)
@settings(moderately)
def test_packing_and_joining_are_those_done_by_hand(kernels, elements, max_tokens):
    """Runs and joined texts are those of the obvious loop with a separator of one token."""
    texts, counts, starts_group = [list(column) for column in zip(*elements, strict=True)] or [[], [], []]
    runs = packed_by_hand(counts, starts_group, max_tokens)
    starts = segments.pack(np.array(counts, np.int64), np.array(starts_group, bool), max_tokens=max_tokens)
    assert starts.tolist() == [run[0] for run in runs]
    assert starts.dtype == np.int64
    joined = kernels.join(texts, starts, separator="\n")
    assert joined == ["\n".join(texts[position] for position in run) for run in runs]


@given(elements=elements, max_tokens=budgets, separators=st.lists(st.integers(0, 3), min_size=40, max_size=40))
@settings(moderately)
def test_a_run_stays_in_budget_and_in_its_group(elements, max_tokens, separators):
    """No run of several elements is over the budget or reaches over a group's start, and each is as long as can be."""
    counts = np.array([tokens for _, tokens, _ in elements], np.int64)
    starts_group = np.array([starts for *_, starts in elements], bool)
    costs = np.array(separators[: len(counts)], np.int64)
    starts = segments.pack(counts, starts_group, max_tokens=max_tokens, separator_tokens=costs).tolist()
    for begin, end in pairwise([*starts, len(counts)]):
        used = counts[begin:end].sum() + costs[begin + 1 : end].sum()
        assert used <= max_tokens or end == begin + 1
        assert not starts_group[begin + 1 : end].any()
        if end < len(counts) and not starts_group[end]:
            assert used + costs[end] + counts[end] > max_tokens


@given(rows=st.lists(rows_of_text, min_size=1, max_size=8), max_tokens=budgets, data=st.data())
@settings(moderately)
def test_segments_do_not_depend_on_how_rows_are_batched(kernels, rows, max_tokens, data):
    """Documents segmented together and in two slices of the same array give the same segments."""
    cut = data.draw(st.integers(0, len(rows)))
    together = segmented(kernels, rows, max_tokens)
    assert segmented(kernels, rows[:cut], max_tokens) + segmented(kernels, rows[cut:], max_tokens) == together


def segmented(kernels, rows: list[str], max_tokens: int) -> list[tuple[str, int]]:
    lines = kernels.split(kernels.normalize_newlines(rows), "\n")
    counts = count_quarters(array(lines.texts))
    pieces = kernels.split_overlong(lines.texts, counts, max_tokens=max_tokens, count=count_quarters)
    owners = lines.parents[pieces.parents]
    starts_document = np.diff(owners, prepend=-1) > 0
    starts = segments.pack(pieces.token_counts, starts_document, max_tokens=max_tokens)
    numbers = segments.segment_ids(owners[starts], np.zeros(len(starts), bool))
    joined = kernels.join(pieces.texts, starts, separator="\n")
    return list(zip(joined, numbers.tolist(), strict=True))


def test_a_null_is_not_joined(kernels):
    """A null among the texts is refused, even where nothing would be joined to it."""
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        kernels.join(["a", None], np.array([0, 1]), separator="\n")


def test_runs_of_one_are_not_copied():
    """Joining copies nothing where every run has one element."""
    texts = array(["a", "b"])
    assert segments.join(texts, np.array([0, 1]), separator="\n") is texts


def test_segment_ids_skip_a_number_at_a_gap():
    """Neighbours' numbers differ by one if nothing is missing between them, and each document begins at 0."""
    documents_of_runs = np.array([3, 3, 3, 4, 9, 9])
    gap_before = np.array([True, False, True, False, True, True])
    numbers = segments.segment_ids(documents_of_runs, gap_before)
    assert numbers.tolist() == [0, 1, 3, 0, 0, 2]
    assert numbers.dtype == np.int64


@either_place
@pytest.mark.parametrize("rows", [[], [None], [None, None]])
def test_nothing_and_nulls_go_through_every_kernel(kernels, place, rows):
    """Zero rows and rows of null alone are legal."""
    parts = kernels.split(place(rows), "\n")
    assert (len(parts.texts), len(parts.parents)) == (0, 0)
    assert kernels.normalize_newlines(place(rows)) == rows
    nothing = segments.pack(np.zeros(0, np.int64), np.zeros(0, bool), max_tokens=3)
    assert nothing.tolist() == segments.segment_ids(nothing, np.zeros(0, bool)).tolist() == []
    assert kernels.join([], nothing, separator="\n") == []
