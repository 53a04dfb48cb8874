"""Runs of stars and underscores, and what each may do by the characters beside it: numpy over bytes of UTF-8."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from nemocc_dask.text.layout import Bytes, Flags, Integers
from nemocc_dask.text.patterns import SPACE

STAR, UNDERSCORE = ord("*"), ord("_")
LONGEST_RUN = 3
"""More signs than these are a rule, or a gap to fill in."""
LETTERS = (
    "0-9A-Za-zªµºÀ-ÖØ-öø-ɏ\u0300-\u037d\u037f-\u0588\u0590-\u060b\u0610-\u061a"
    "\u0620-\u0669\u066e-\u06d3\u06d5-\u0963\u0966-\u0dff\u10a0-\u10ff\u1e00-\u1fff"
)
"""Letters of scripts that put space between words. A star right after one of them opens nothing: `2*3`."""
ALL_LETTERS = LETTERS + "\u0e00-\u109f\u1100-\u1dff\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\uac00-\ud7a3"
"""Thai, Chinese, Japanese and Korean too: bold may stand inside words there, an underscore may not."""


def _table(members: str) -> Flags:
    """bool (65536,): which code points are in a class written as inside a pattern's brackets, without escapes."""
    table = np.zeros(1 << 16, bool)
    for first, last, single in re.findall("(.)-(.)|(.)", members, re.DOTALL):
        table[ord(first or single) : ord(last or single) + 1] = True
    return table


_IS_SPACE, _IS_LETTER, _IS_ANY_LETTER = _table(SPACE), _table(LETTERS), _table(ALL_LETTERS)
# A sign beside a backtick is inside of code, nearly always: what it may do outside is not worth looking.
_NO_STAR_OPENS_AFTER = _table(LETTERS + ")]}^`")
_NO_UNDERSCORE_OPENS_AFTER = _table(ALL_LETTERS + ")]}./\\@#$&=^~%<>:`")
_NO_STAR_CLOSES_BEFORE, _NO_UNDERSCORE_CLOSES_BEFORE = _table(LETTERS + "`"), _table(ALL_LETTERS + "`")
_BEFORE_WILDCARD, _AFTER_WILDCARD = _table("./"), _table("0-9A-Za-z.?+)|($\"'_")
_LOWER, _OPENS_WORD = _table("a-z"), _table(SPACE + "([\"'“‘«")
_IS_NAME = _table("0-9A-Za-z")[:256]
_TIES_TO_LETTER = _table(".@/([=")


class Runs(NamedTuple):
    """Runs of one sign, in order; each array is (n,).

    starts, ends: places of the first byte, and of the first one after.
    lines: rises from line to line and from row to row.
    opens, closes: what the characters beside it allow.
    closes_word: it may close bold in the middle of a word: `**API**s`.
    closes_words: it closes only what has several words, for one would be a file's name: `*foo*.txt`.
    begins_word: white space, a bracket or a quotation mark precedes it.
    """

    starts: Integers
    ends: Integers
    lines: Integers
    opens: Flags
    closes: Flags
    closes_word: Flags
    closes_words: Flags
    begins_word: Flags

    def where(self, wanted: Flags) -> Runs:
        """Those of them that are wanted."""
        return Runs(
            *(self.starts[wanted], self.ends[wanted], self.lines[wanted]),
            *(self.opens[wanted], self.closes[wanted], self.closes_word[wanted]),
            *(self.closes_words[wanted], self.begins_word[wanted]),
        )


def runs_of_each_sign(signs: Bytes, data: Bytes, offsets: Integers) -> tuple[Runs, Runs]:
    """Runs of stars and of underscores in `signs`; the characters beside them are looked up in `data`.

    signs: uint8 (bytes,), the texts end to end with what is no prose hidden. data: the same, with nothing hidden.
    offsets: int64 (texts + 1,), where each text begins, and where the last one ends.

    >>> data = np.frombuffer(b"*a* b_c", np.uint8)
    >>> stars, underscores = runs_of_each_sign(data, data, np.array([0, 7]))
    >>> stars.starts.tolist(), stars.opens.tolist(), len(underscores.starts)
    ([0, 2], [True, False], 0)
    """
    places = _outside_names(data, np.flatnonzero((signs == STAR) | (signs == UNDERSCORE)), offsets)
    rows = np.searchsorted(offsets, places, "right") - 1
    heads = np.flatnonzero(
        (np.diff(places, prepend=-2) != 1) | (np.diff(signs[places], prepend=0) != 0) | (np.diff(rows, prepend=-1) != 0)
    )
    tails = np.append(heads[1:], len(places)) - 1
    starts, ends, rows = places[heads], places[tails[: len(heads)]] + 1, rows[heads]
    lines = rows + np.searchsorted(np.flatnonzero(data == ord("\n")), starts)
    before = _points_before(data, starts, starts == offsets[rows])
    after = _points_after(data, ends, ends == offsets[rows + 1])
    touching = np.flatnonzero((starts[1:] == ends[:-1]) & (rows[1:] == rows[:-1]))
    # Beside a run of the other sign it counts what stands beyond that: `x_*y*_z` is in the middle of a word.
    beyond = _points_after(data, ends + 1, ends + 1 >= offsets[rows + 1])
    before[touching + 1] = before[touching]
    after[touching], beyond[touching] = after[touching + 1], beyond[touching + 1]
    is_star = signs[starts] == STAR
    context = np.stack((starts, ends, lines, before, after, beyond))
    return _stars(*context[:, is_star]), _underscores(*context[:, ~is_star])


def _outside_names(data: Bytes, places: Integers, offsets: Integers) -> Integers:
    """The places without those of most underscores, which stand alone between two ASCII letters or digits."""
    before, after = data[places - 1], data[np.minimum(places + 1, len(data) - 1)]
    outside = (data[places] != UNDERSCORE) | ~_IS_NAME[before] | ~_IS_NAME[after]
    for edges in (offsets[:-1], offsets[1:] - 1):  # what stands beside these is another row's
        near = np.minimum(np.searchsorted(places, edges), max(len(places) - 1, 0))
        outside[near[places[near] == edges] if len(places) else near[:0]] = True
    found: Integers = places[outside]
    return found


def _stars(
    starts: Integers, ends: Integers, lines: Integers, before: Integers, after: Integers, beyond: Integers
) -> Runs:
    sizes, spaced = ends - starts, _IS_SPACE[before] & _IS_SPACE[after]
    wildcard = (sizes == 1) & _BEFORE_WILDCARD[before] & _AFTER_WILDCARD[after]
    short = sizes <= LONGEST_RUN
    runs = Runs(
        starts,
        ends,
        lines,
        opens=short & ~_NO_STAR_OPENS_AFTER[before] & ~_IS_SPACE[after] & ~wildcard,
        closes=short & ~_IS_SPACE[before] & ~_NO_STAR_CLOSES_BEFORE[after],
        closes_word=(sizes == 2) & _IS_LETTER[before] & _LOWER[after],
        closes_words=(sizes == 1) & (after == ord(".")) & _IS_LETTER[beyond],
        begins_word=_OPENS_WORD[before],
    )
    return runs.where(~(spaced & (sizes == 1)))  # `5 * 3`, which may be in bold


def _underscores(
    starts: Integers, ends: Integers, lines: Integers, before: Integers, after: Integers, beyond: Integers
) -> Runs:
    tied = _TIES_TO_LETTER[after] & (_IS_ANY_LETTER[beyond] | (beyond == STAR))
    short, never = ends - starts <= LONGEST_RUN, np.zeros(len(starts), bool)
    runs = Runs(
        starts,
        ends,
        lines,
        opens=short & ~_NO_UNDERSCORE_OPENS_AFTER[before] & ~_IS_SPACE[after],
        closes=short & ~_IS_SPACE[before] & ~_NO_UNDERSCORE_CLOSES_BEFORE[after] & ~tied,
        closes_word=never,
        closes_words=never,
        begins_word=never,
    )
    return runs.where(~(_IS_ANY_LETTER[before] & _IS_ANY_LETTER[after]))  # `my_name`


def _points_before(data: Bytes, places: Integers, at_edge: Flags) -> Integers:
    """The code point that ends before each place; a line break at the edge of a row, 65535 beyond 16 bits."""
    points = np.where(at_edge, ord("\n"), data[places - 1] if len(data) else 0).astype(np.int64)
    wide = np.flatnonzero(points >= 0x80)
    third, second, first = (data[places[wide] - back].astype(np.int64) for back in (3, 2, 1))
    two = (second & 0x1F) << 6 | first & 0x3F
    three = (third & 0x0F) << 12 | (second & 0x3F) << 6 | first & 0x3F
    points[wide] = np.where(second >= 0xC0, two, np.where(third >= 0xE0, three, 0xFFFF))
    return points


def _points_after(data: Bytes, places: Integers, at_edge: Flags) -> Integers:
    """The code point that begins at each place; a line break at the edge of a row, 65535 beyond 16 bits."""
    last = len(data) - 1
    points = np.where(at_edge, ord("\n"), data[np.minimum(places, last)] if len(data) else 0).astype(np.int64)
    wide = np.flatnonzero(points >= 0x80)
    second, third = (data[np.minimum(places[wide] + on, last)].astype(np.int64) & 0x3F for on in (1, 2))
    first = points[wide]
    two, three = (first & 0x1F) << 6 | second, (first & 0x0F) << 12 | second << 6 | third
    points[wide] = np.where(first < 0xE0, two, np.where(first < 0xF0, three, 0xFFFF))
    return points
