"""Cuts rows into sentences, words or characters; nothing is lost but white space, and no row is looped over."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.layout import Flags, Integers, bytes_of, offsets_of, to_flags
from nemocc_dask.text.patterns import SPACES
from nemocc_dask.text.segments import split

SPACED_STOPS = ".!?…؟۔।"
"""End a sentence where white space follows: "3.14" and "example.org" are no ends."""
WIDE_STOPS = "。！？"
"""End a sentence wherever they stand: the scripts that use them put no space between sentences."""
CLOSERS = "\"'”’»›)]}」』）】》〉"
"""Belong to the sentence whose stop they follow."""

# Bytes that occur in no UTF-8 text, hence no text can be mistaken for a mark.
_CUT = b"\xff"
_UNSPACED = b"\xfe"


def _any_of(characters: str) -> bytes:
    """A pattern for any of the characters. Classes do not do: RE2 takes Arrow's binary type byte by byte."""
    return b"(?:" + b"|".join(re.escape(character.encode()) for character in characters) + b")"


_WIDE_END = b"(" + _any_of(WIDE_STOPS) + b"+" + _any_of(CLOSERS) + b"*)"
_SPACED_END = (
    b"(" + _any_of(SPACED_STOPS + WIDE_STOPS) + _any_of(CLOSERS) + b"*)"
    b"(?:" + _CUT + _UNSPACED + b")?" + _any_of(SPACES) + b"+"
)
_BETWEEN_WORDS = _any_of(SPACES) + b"+"


class Cuts(NamedTuple):
    """What rows were cut into, in order.

    texts: the parts, (n,), without nulls.
    parents: int64 (n,), the row each part came from, never decreasing.
    spaced: bool (n,), whether white space was dropped between a part and the one before it in its row.
    """

    texts: pa.LargeStringArray
    parents: Integers
    spaced: Flags


def split_sentences(texts: pa.LargeStringArray) -> Cuts:
    """The sentences of each row, without the white space between them.

    A sentence ends after one of `SPACED_STOPS` and any `CLOSERS` where white space follows, and after `WIDE_STOPS`
    and any `CLOSERS` in any case. An abbreviation counts as an end: these are places to cut a line that is too
    long, and neighbours that fit are joined again. Rows without text have no parts.

    >>> split_sentences(pa.array(["“Is it?” It is 3.5. 是。否。", None], pa.large_string())).texts.to_pylist()
    ['“Is it?”', 'It is 3.5.', '是。', '否。']
    """
    parts = split(_mark_sentence_ends(texts.view(pa.large_binary())), _CUT)
    spaced = ~to_flags(pc.starts_with(parts.texts, pattern=_UNSPACED))
    sentences = pc.replace_substring(parts.texts, pattern=_UNSPACED, replacement=b"")
    return _filled(Cuts(sentences.view(pa.large_string()), parts.parents, spaced))


def split_words(texts: pa.LargeStringArray) -> Cuts:
    """The words of each row: whatever stands between white space (Unicode's). Rows without words have no parts.

    >>> split_words(pa.array([" two  words", " "], pa.large_string())).texts.to_pylist()
    ['two', 'words']
    """
    # Not Arrow's own utf8_split_whitespace: it reads past a buffer that is full to the last byte (pyarrow 26), and
    # now and then leaves the white space at the very end on the last word.
    marked = pc.replace_substring_regex(texts.view(pa.large_binary()), pattern=_BETWEEN_WORDS, replacement=_CUT)
    parts = split(marked, _CUT)
    return _filled(Cuts(parts.texts.view(pa.large_string()), parts.parents, np.ones(len(parts.parents), bool)))


def split_characters(texts: pa.LargeStringArray, size: int) -> Cuts:
    """Each row in chunks of `size` code points, the last one shorter; an empty or null row has none.

    The chunks share the bytes of `texts`. Raises ValueError where `size` is below 1.

    >>> split_characters(pa.array(["añb", ""], pa.large_string()), 2).texts.to_pylist()
    ['añ', 'b']
    """
    if size < 1:
        raise ValueError(f"A chunk has at least one character; size is {size}.")
    rows = np.flatnonzero(to_flags(texts.is_valid()))
    present = texts.drop_null()
    characters, first_characters = _character_positions(present)
    chunks = -(-np.diff(first_characters) // size)
    parents = np.repeat(np.arange(len(present)), chunks)
    heads = first_characters[parents] + size * _position_in_group(chunks)
    offsets = np.append(characters[heads], characters[-1])
    return Cuts(_over_the_same_bytes(present, offsets), rows[parents], np.zeros(len(parents), bool))


def _filled(cuts: Cuts) -> Cuts:
    """Those that are not empty."""
    filled = to_flags(pc.greater(pc.binary_length(cuts.texts), 0))
    return Cuts(cuts.texts.filter(pa.array(filled)), cuts.parents[filled], cuts.spaced[filled])


def _mark_sentence_ends(texts: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """A `_CUT` between sentences in place of white space; `_UNSPACED` follows it where there was none."""
    wide = pc.replace_substring_regex(texts, pattern=_WIDE_END, replacement=rb"\1" + _CUT + _UNSPACED)
    return pc.replace_substring_regex(wide, pattern=_SPACED_END, replacement=rb"\1" + _CUT)


def _character_positions(texts: pa.LargeStringArray) -> tuple[Integers, Integers]:
    """Where each character begins in the data buffer, with the end of the last one; and each row's first of them.

    `texts` has no nulls, so its rows lie in the buffer without gaps.
    """
    offsets = offsets_of(texts)
    begins = np.flatnonzero((bytes_of(texts) & 0xC0) != 0x80) + offsets[0]
    return np.append(begins, offsets[-1]), np.searchsorted(begins, offsets)


def _over_the_same_bytes(texts: pa.LargeStringArray, offsets: Integers) -> pa.LargeStringArray:
    data = texts.buffers()[2] or pa.py_buffer(b"")
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), data)


def _position_in_group(sizes: Integers) -> Integers:
    """0, 1, 2, ... anew for each group, laid end to end; sizes are the groups' lengths."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
