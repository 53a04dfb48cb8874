"""Patterns that RE2, Python's `re` and cuDF read alike, and how the cleaning kernels apply them.

Each cleaning kernel takes a `pa.LargeStringArray` of one chunk and gives one of the same length back. A null stays
null, a row never looks at its neighbours, nothing gets longer, and doing it twice is doing it once.

Patterns have their classes spelled out, no lookaround and no flags. The three readers disagree about ``\\s``,
``\\w`` and ``\\b`` outside ASCII, hence `SPACE` and `any_case`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.layout import Flags, to_flags

SPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space as the inside of a character class; the characters that `str.strip` takes off."""
SPACES = "".join(chr(point) for point in range(0x3001) if chr(point).isspace())
"""The same characters one by one, for trimming."""


def any_case(words: str) -> str:
    """A pattern for `words` in any mixture of letter cases, any white space where they have some.

    >>> any_case("No.1")
    '[nN][oO]\\\\.1'
    """
    return f"[{SPACE}]+".join("".join(map(_either_case, word)) for word in words.split())


def _either_case(letter: str) -> str:
    cases = {letter.lower(), letter.upper()}
    # The upper case of some letters is two letters long (ß), which no class can hold.
    if len(cases) == 1 or any(len(case) != 1 for case in cases):
        return re.escape(letter)
    return f"[{letter.lower()}{letter.upper()}]"


def matches(texts: pa.LargeStringArray, pattern: str) -> pa.BooleanArray:
    """True where the pattern is found anywhere in the row; false, not null, where the row is null.

    >>> matches(pa.array(["ab", None], pa.large_string()), "b").to_pylist()
    [True, False]
    """
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def matching_where(texts: pa.LargeStringArray, pattern: str, where: Flags) -> Flags:
    """bool (n,): True where the pattern is found; it is looked for only where `where` is True, and False elsewhere.

    >>> matching_where(pa.array(["ab", "b"], pa.large_string()), "b", np.array([False, True])).tolist()
    [False, True]
    """
    found = np.zeros(len(texts), bool)
    if where.any():
        found[where] = to_flags(matches(texts.filter(pa.array(where)), pattern))
    return found


def until_settled(
    texts: pa.LargeStringArray,
    step: Callable[[pa.LargeStringArray], pa.LargeStringArray],
    *,
    applies: Callable[[pa.LargeStringArray], pa.BooleanArray],
) -> pa.LargeStringArray:
    """`step` on the rows it applies to, again on those it changed, until it changes none.

    step: must shorten every row that it changes, or this would not end.
    applies: bool for each row, without nulls; True at least where `step` would change the row.

    >>> texts = pa.array(["((a))", "(b", None], pa.large_string())
    >>> peel = lambda rows: pc.replace_substring_regex(rows, "^[(](.*)[)]$", r"\\1")
    >>> until_settled(texts, peel, applies=lambda rows: matches(rows, "^[(]")).to_pylist()
    ['a', '(b', None]
    """
    where = applies(texts)
    while where.true_count:
        before = texts.filter(where)
        after = step(before)
        texts = pc.replace_with_mask(texts, where, after)
        where = pc.replace_with_mask(where, where, pc.and_(pc.not_equal(after, before), applies(after)))
    return texts
