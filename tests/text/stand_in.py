"""Columns of text that are Python lists, so that the arithmetic of the GPU's kernels runs where there is no GPU.

Nothing of cuDF is tried by them. Patterns are given to Python's `re` as cuDF would be given them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa

from nemocc_dask.text.device.patterns import for_cudf
from nemocc_dask.text.layout import Flags, Integers

Texts = list[str | None]


class Lists:
    """`device.columns.Columns` says what each operation does."""

    def from_host(self, texts: pa.LargeStringArray) -> Texts:
        return texts.to_pylist()

    def to_host(self, texts: Texts) -> pa.LargeStringArray:
        return pa.array(texts, pa.large_string())

    def is_null(self, texts: Texts) -> Flags:
        return np.array([text is None for text in texts], bool)

    def matches(self, texts: Texts, pattern: str) -> Flags:
        found = re.compile(for_cudf(pattern)).search
        return np.array([text is not None and found(text) is not None for text in texts], bool)

    def contains(self, texts: Texts, words: str) -> Flags:
        return np.array([text is not None and words in text for text in texts], bool)

    def replace(self, texts: Texts, words: str, by: str) -> Texts:
        return [text and text.replace(words, by) for text in texts]

    def remove(self, texts: Texts, pattern: str) -> Texts:
        return [text and re.sub(for_cudf(pattern), "", text) for text in texts]

    def strip(self, texts: Texts) -> Texts:
        return [text and text.strip() for text in texts]

    def inner(self, texts: Texts) -> Texts:
        return [text and text[1:-1] for text in texts]

    def take(self, texts: Texts, positions: Integers) -> Texts:
        return [texts[position] for position in positions]

    def filter(self, texts: Texts, flags: Flags) -> Texts:
        return [text for text, flag in zip(texts, flags, strict=True) if flag]

    def put(self, texts: Texts, flags: Flags, replacements: Texts) -> Texts:
        new = iter(replacements)
        result = [next(new) if flag else text for text, flag in zip(texts, flags, strict=True)]
        assert not list(new), "as many replacements as rows that they replace"
        return result

    def stack(self, several: Sequence[Texts]) -> Texts:
        return list(chain.from_iterable(several))

    def split(self, texts: Texts, separator: str) -> tuple[Texts, Integers]:
        assert None not in texts and separator
        parts = [text.split(separator) for text in texts]
        return list(chain.from_iterable(parts)), np.array([len(each) for each in parts], np.int64)

    def joined(self, parts: Texts, bounds: Integers, separator: str) -> Texts:
        assert None not in parts and bounds[0] == 0 and bounds[-1] == len(parts)
        return [separator.join(parts[begin:end]) for begin, end in pairwise(bounds)]
