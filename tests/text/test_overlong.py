"""Rows over the budget are cut as gently as can be, and lose nothing but white space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text import overlong, segments

from .documents import (
    array,
    budgets,
    by_parent,
    count_heavy_characters,
    count_quarters,
    count_words,
    counters,
    documents,
    either_place,
    moderately,
    rows_of_text,
    with_single_spaces,
    without_space,
)


@either_place
@given(rows=documents, max_tokens=budgets, count=counters)
@settings(moderately)
def test_no_piece_is_over_the_budget(kernels, place, rows, max_tokens, count):
    """A piece's recorded count is within the budget and no less than its text's, save for a single character."""
    pieces = split_overlong(kernels, place(rows), max_tokens, count)
    recorded, real = pieces.token_counts, count(array(pieces.texts))
    for text, tokens in zip(pieces.texts, recorded.tolist(), strict=True):
        assert tokens <= max_tokens or len(text) == 1
    if count is not count_heavy_characters:  # that one holds a space for a token as well, as the addition does
        assert (real <= recorded).all()
    assert recorded.dtype == pieces.parents.dtype == np.int64


@either_place
@given(rows=documents, max_tokens=budgets, count=counters)
@settings(moderately)
def test_pieces_lose_white_space_alone(kernels, place, rows, max_tokens, count):
    """The pieces of a row are the row in order: only white space is lost, and none is invented."""
    pieces = split_overlong(kernels, place(rows), max_tokens, count)
    for row, group in zip(rows, by_parent(pieces.texts, pieces.parents, len(rows)), strict=True):
        assert group, "every row has a piece"
        if row is not None:
            assert without_space("".join(group)) == without_space(row)
            assert all(with_single_spaces(piece) in with_single_spaces(row) for piece in group)


@either_place
@given(rows=documents, max_tokens=budgets, count=counters)
@settings(moderately)
def test_rows_within_the_budget_stay_as_they_are(kernels, place, rows, max_tokens, count):
    """A row that fits is one piece, letter for letter, with the count it had."""
    counts = count(array(rows))
    pieces = split_overlong(kernels, place(rows), max_tokens, count)
    groups = by_parent(pieces.texts, pieces.parents, len(rows))
    for at in np.flatnonzero(counts <= max_tokens).tolist():
        assert groups[at] == [rows[at]]
        assert pieces.token_counts[pieces.parents == at].tolist() == [counts[at]]


@either_place
@given(rows=st.lists(rows_of_text, max_size=8), max_tokens=budgets, count=counters)
@settings(moderately)
def test_pieces_of_one_row_do_not_fit_together(kernels, place, rows, max_tokens, count):
    """Packing the pieces of one row once more joins none of them, so later packing does not undo the cut."""
    pieces = split_overlong(kernels, place(rows), max_tokens, count)
    starts_row = np.diff(pieces.parents, prepend=-1) > 0
    again = segments.pack(pieces.token_counts, starts_row, max_tokens=max_tokens)
    assert again.tolist() == list(range(len(pieces.texts)))


def split_overlong(kernels, rows, max_tokens, count) -> overlong.Pieces:
    """The pieces of rows, their texts as a list."""
    return kernels.split_overlong(rows, count(array(rows)), max_tokens=max_tokens, count=count)


def test_where_nothing_is_overlong_nothing_is_copied():
    """The very same array comes back where all rows fit."""
    texts = array(["short", None, ""])
    pieces = overlong.split_overlong(texts, count_quarters(texts), max_tokens=5, count=count_quarters)
    assert pieces.texts is texts
    assert pieces.parents.tolist() == [0, 1, 2]


def test_a_line_is_cut_as_gently_as_can_be(kernels):
    """Sentences stay whole where they fit, words where a sentence does not, and small neighbours share a piece."""
    text = "A b. C d e. One two three four five six seven. X. Y."
    pieces = split_overlong(kernels, ["before", text, "after"], 5, count_words)
    assert pieces.texts == [
        "before",
        "A b.",
        "C d e.",
        "One two three",
        "four five six",
        "seven. X. Y.",
        "after",
    ]
    assert pieces.token_counts.tolist() == [1, 2, 3, 5, 5, 5, 1]
    assert pieces.parents.tolist() == [0, 1, 1, 1, 1, 1, 2]


def test_a_line_without_spaces_gets_none(kernels):
    """Chinese sentences are joined as they stood: the pieces end to end are the line."""
    line = "这是第一句话。第二句！“第三句？”" * 20
    pieces = split_overlong(kernels, [line], 30, count_quarters)
    assert "".join(pieces.texts) == line
    assert all(piece[-1] in "。！”" for piece in pieces.texts)
    assert pieces.token_counts.max() <= 30


def test_a_space_between_wide_sentences_is_kept(kernels):
    """White space dropped after a wide stop comes back as one space, and only there."""
    pieces = split_overlong(kernels, ["一。 二。三。" + "四" * 20], 7, count_heavy_characters)
    assert pieces.texts[0] == "一。 二。三。"


def test_a_word_of_ten_thousand_letters_is_cut_by_characters(kernels):
    """A word without a place to cut is cut anywhere, into full pieces, and nothing of it is lost."""
    word = "".join(map(chr, np.random.default_rng(0).integers(0x61, 0x7A, 10_000)))
    pieces = split_overlong(kernels, [f"Look: {word} there."], 100, count_quarters)
    texts = pieces.texts
    assert without_space("".join(texts)) == f"Look:{word}there."
    assert pieces.token_counts.max() <= 100
    assert len(texts) <= 10_000 / 350 + 2, "chunks of 25 letters are 7 toy tokens, 14 of them a full piece"


def test_a_character_over_the_budget_stands_alone(kernels):
    """The one piece that may be over the budget is a single character."""
    pieces = split_overlong(kernels, ["ab是是c"], 3, count_heavy_characters)
    assert pieces.texts == ["ab", "是", "是", "c"]
    assert pieces.token_counts.tolist() == [2, 9, 9, 1]


def test_a_long_row_of_blanks_becomes_one_empty_piece(kernels):
    """A row with nothing but white space to cut keeps a piece, so that no row goes missing."""
    pieces = split_overlong(kernels, ["x", " \t" * 40, "y"], 4, count_quarters)
    assert pieces.texts == ["x", "", "y"]
    assert pieces.token_counts.tolist() == [1, 0, 1]


def test_a_budget_of_nothing_is_refused(kernels):
    """No text fits into no tokens."""
    with pytest.raises(ValueError, match="max_tokens is 0"):
        split_overlong(kernels, ["a"], 0, count_words)


@either_place
@pytest.mark.parametrize("rows", [[], [None], [None, None]])
def test_nothing_and_nulls_are_never_overlong(kernels, place, rows):
    """Zero rows and rows of null alone are legal, and come back as they were."""
    assert split_overlong(kernels, place(rows), 3, count_quarters).texts == rows


def test_a_null_is_never_overlong(kernels):
    """A null passes through whatever count it was given, beside a row that is cut."""
    rows = [None, "one two three"]
    pieces = kernels.split_overlong(rows, np.array([99, 3]), max_tokens=2, count=count_words)
    assert pieces.texts == [None, "one", "two", "three"]
    assert pieces.token_counts.tolist() == [99, 1, 1, 1]
