"""Rows to cut and pack, toy tokenizers to count them, and what the tests of cutting share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st

settings.register_profile("segments", deadline=None, max_examples=80)
moderately = settings.get_profile("segments")

# Letters, every kind of stop and closer, white space of all sorts, and what a marker might have been.
PIECES_OF_TEXT = [
    *"abcñ\u00ff\u00fe是否😀e\u0301\x00\ufffd",
    "word",
    *" \t\n\u00a0\u3000\r",
    *'.!?…。！？"”」)',
]
rows_of_text = st.lists(st.sampled_from(PIECES_OF_TEXT), max_size=60).map("".join)
documents = st.lists(st.none() | rows_of_text, max_size=8)
budgets = st.integers(1, 12)


def array(rows: list[str | None]) -> pa.LargeStringArray:
    return pa.array(rows, pa.large_string())


class Inside(list[str | None]):
    """Rows that are to be part of a longer column: what is before and behind them must not be seen."""

    place = slice(2, -1)

    @property
    def longer(self) -> list[str | None]:
        return ["é\r\nb. c", None, *self, "d e\n"]


def inside_a_longer_array(rows: list[str | None]) -> pa.LargeStringArray:
    inside = Inside(rows)
    return array(inside.longer)[inside.place]


either_way = pytest.mark.parametrize("make", [array, inside_a_longer_array])
either_place = pytest.mark.parametrize("place", [list, Inside])


def count_quarters(texts: pa.LargeStringArray) -> np.ndarray:
    """A toy tokenizer: a token for every four bytes of UTF-8, begun ones too."""
    return np.array([-(-len((text or "").encode()) // 4) for text in texts.to_pylist()], np.int64)


def count_words(texts: pa.LargeStringArray) -> np.ndarray:
    """A toy tokenizer that holds any word for one token, so that words are never over-long."""
    return np.array([len((text or "").split()) for text in texts.to_pylist()], np.int64)


def count_heavy_characters(texts: pa.LargeStringArray) -> np.ndarray:
    """A toy tokenizer with up to nine tokens a character, so that single characters can be over-long."""
    weight = {"是": 9, "😀": 6}
    return np.array([sum(weight.get(c, 1) for c in text or "") for text in texts.to_pylist()], np.int64)


counters = st.sampled_from([count_quarters, count_words, count_heavy_characters])


def without_space(text: str) -> str:
    return "".join(text.split())


def with_single_spaces(text: str) -> str:
    return " ".join(text.split())


def by_parent(texts: pa.LargeStringArray | list[str], parents: np.ndarray, rows: int) -> list[list[str]]:
    groups: list[list[str]] = [[] for _ in range(rows)]
    listed = texts if isinstance(texts, list) else texts.to_pylist()
    for text, parent in zip(listed, parents.tolist(), strict=True):
        groups[parent].append(text)
    return groups
