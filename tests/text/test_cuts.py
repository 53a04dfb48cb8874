"""Sentences, words and characters against slow, obvious ones written row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text.cuts import split_characters, split_sentences, split_words

from .documents import array, by_parent, documents, either_way, moderately, without_space


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ("He said “No.” (Why?) Then left.", ["He said “No.”", "(Why?)", "Then left."]),
        ("Pi is 3.14 at example.org.", ["Pi is 3.14 at example.org."]),
        ("Wait... what?! Yes.", ["Wait...", "what?!", "Yes."]),
        ("是。否！“真？”好", ["是。", "否！", "“真？”", "好"]),
        ("是。\u3000否。 x", ["是。", "否。", "x"]),
        ("ÿ. þ。ÿþ", ["ÿ.", "þ。", "ÿþ"]),
        ("A.\n\u00a0 B", ["A.", "B"]),
        ("क्या। हाँ। نعم؟ لا", ["क्या।", "हाँ।", "نعم؟", "لا"]),
        ("  ", ["  "]),
        ("", []),
        (None, []),
    ],
)
def test_sentences_end_where_they_should(text, sentences):
    """Sentences end after a stop and white space, after a wide stop in any case, and not within a number."""
    assert split_sentences(array([text])).texts.to_pylist() == sentences


@either_way
@given(rows=documents)
@settings(moderately)
def test_sentences_lose_white_space_alone(make, rows):
    """Each row's sentences are the row without some white space, none of them is empty, and rows stay in order."""
    parts = split_sentences(make(rows))
    groups = by_parent(parts.texts, parts.parents, len(rows))
    assert [without_space("".join(group)) for group in groups] == [without_space(row or "") for row in rows]
    assert all(sentence for group in groups for sentence in group)
    assert (np.diff(parts.parents) >= 0).all()


@either_way
@given(rows=documents)
@settings(moderately)
def test_words_are_those_of_plain_python(make, rows):
    """Each row's words are those of str.split, whatever the white space."""
    parts = split_words(make(rows))
    assert by_parent(parts.texts, parts.parents, len(rows)) == [(row or "").split() for row in rows]


@pytest.mark.parametrize("space", [" ", "\n", "\u00a0", "\u3000"])
def test_white_space_at_the_end_of_a_full_buffer_is_dropped(space):
    """The last word is clean wherever Arrow's buffer ends: its own splitting at white space reads past a full one."""
    for length in range(130):
        text = "a\n" + "x" * length + space
        assert split_words(array([text])).texts.to_pylist() == text.split()


@either_way
@given(rows=documents, size=st.integers(1, 5))
@settings(moderately)
def test_characters_come_in_chunks_of_one_size(make, rows, size):
    """Each row's chunks are its slices of `size` code points, never a part of one."""
    parts = split_characters(make(rows), size)
    expected = [[row[at : at + size] for at in range(0, len(row), size)] if row else [] for row in rows]
    assert by_parent(parts.texts, parts.parents, len(rows)) == expected
    parts.texts.validate(full=True)


def test_chunks_of_nothing_are_refused():
    """A chunk has at least one character."""
    with pytest.raises(ValueError, match="size is 0"):
        split_characters(array(["a"]), 0)


def test_the_bytes_beneath_a_null_are_no_characters():
    """A null row has no chunks, even where Arrow's buffer holds bytes for it."""
    offsets = pa.py_buffer(np.array([0, 2, 5, 7]))
    texts = pa.LargeStringArray.from_buffers(3, offsets, pa.py_buffer(b"abXXXcd"), pa.py_buffer(b"\x05"))
    parts = split_characters(texts, 2)
    assert (parts.texts.to_pylist(), parts.parents.tolist()) == (["ab", "cd"], [0, 2])


@either_way
@pytest.mark.parametrize("rows", [[], [None], [None, None]])
def test_nothing_and_nulls_are_cut_into_nothing(make, rows):
    """Zero rows and rows of null alone are legal, and types are the usual ones."""
    texts = make(rows)
    for cuts in (split_sentences(texts), split_words(texts), split_characters(texts, 3)):
        assert [len(column) for column in cuts] == [0, 0, 0]
        assert cuts.texts.type == pa.large_string()
