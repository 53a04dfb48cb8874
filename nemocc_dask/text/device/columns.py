"""What the kernels ask of columns of text that lie on a device, and what they do with it again and again.

Flags (bool), positions and lengths (int64) are numpy arrays in host memory: beside the text they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from nemocc_dask.text.layout import Flags, Integers

Texts = Any
"""A column of text on the device, nulls allowed; `len` tells its rows."""


class Columns(Protocol):
    """Columns of text of one library. No operation changes a column that it is given; zero rows are legal.

    Patterns are written as RE2 reads them, in what cuDF reads alike (`device.patterns`).
    """

    def from_host(self, texts: pa.LargeStringArray) -> Texts:
        """The same texts on the device."""

    def to_host(self, texts: Texts) -> pa.LargeStringArray:
        """The same texts in host memory."""

    def is_null(self, texts: Texts) -> Flags:
        """True where a row is null."""

    def matches(self, texts: Texts, pattern: str) -> Flags:
        """True where the pattern is found anywhere in the row; False where the row is null."""

    def contains(self, texts: Texts, words: str) -> Flags:
        """True where the words, taken literally, stand anywhere in the row; False where the row is null."""

    def replace(self, texts: Texts, words: str, by: str) -> Texts:
        """Each row with the words, taken literally, replaced wherever they stand."""

    def remove(self, texts: Texts, pattern: str) -> Texts:
        """Each row without what the pattern matches.

        pattern: has to match in one way only. Where two alternatives or repetitions could end a match at different
        places, engines differ about which it is: the first that fits, or the longest.
        """

    def strip(self, texts: Texts) -> Texts:
        """Each row without white space at its ends, just what `str.strip` takes off."""

    def inner(self, texts: Texts) -> Texts:
        """Each row without its first and its last character."""

    def take(self, texts: Texts, positions: Integers) -> Texts:
        """The rows at these positions, in this order."""

    def filter(self, texts: Texts, flags: Flags) -> Texts:
        """The rows where the flag is True."""

    def put(self, texts: Texts, flags: Flags, replacements: Texts) -> Texts:
        """All rows, those where the flag is True replaced, in order."""

    def stack(self, several: Sequence[Texts]) -> Texts:
        """The rows of all columns, one after another; there has to be one."""

    def split(self, texts: Texts, separator: str) -> tuple[Texts, Integers]:
        """The parts of all rows, one after another, and how many each row has; `texts` has no nulls."""

    def joined(self, parts: Texts, bounds: Integers, separator: str) -> Texts:
        """Row i is `parts[bounds[i]:bounds[i + 1]]` with the separator between; `parts` has no nulls."""


def on_the_host(
    on: Columns, kernel: Callable[[pa.LargeStringArray], pa.LargeStringArray], texts: Texts, flags: Flags
) -> Texts:
    """The rows where the flag is True through a kernel for Arrow and back; all others do not leave the device."""
    if not flags.any():
        return texts
    return on.put(texts, flags, on.from_host(kernel(on.to_host(on.filter(texts, flags)))))


def until_settled(
    on: Columns, texts: Texts, step: Callable[[Texts], Texts], *, applies: Callable[[Texts], Flags]
) -> Texts:
    """`step` on the rows it applies to, again for as long as it applies to what it made of them.

    step: must shorten every row that it applies to, or this would not end.
    """
    where = applies(texts)
    while where.any():
        after = step(on.filter(texts, where))
        texts = on.put(texts, where, after)
        where = within(where, applies(after))
    return texts


def within(flags: Flags, inner: Flags) -> Flags:
    """`flags` with `inner`, which has a flag for each True of it, in place of those.

    >>> import numpy as np
    >>> within(np.array([True, False, True]), np.array([False, True])).tolist()
    [False, False, True]
    """
    both = flags.copy()
    both[flags] = inner
    return both
