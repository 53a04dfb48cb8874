"""Bold and italics, found by arithmetic on runs of stars and underscores instead of by one large pattern.

A run may open emphasis or close it, which the characters beside it decide; a run and the next of its sign are a
pair where the words between them may be emphasised. Pairs go from the innermost out. All of it is numpy over bytes;
patterns see only the words between two runs, which is little text.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nemocc_dask.text.layout import Bytes, Flags, Integers, between, bytes_of, cut_at, offsets_of, to_flags
from nemocc_dask.text.patterns import SPACE, matching_where
from nemocc_dask.text.runs import LETTERS, LONGEST_RUN, STAR, UNDERSCORE, Runs, runs_of_each_sign

HIDDEN = 1
"""Byte that stands for each byte of code, maths, addresses and signs already gone; words may have it anywhere."""
BARRIER = ord("`")
"""Byte that stands for each byte of a comment: no emphasis reaches over it, nor over a lone backtick."""

# What words between signs may be. Those in italics are chosen with more care: lone signs are products and names.
_ASCII_SIGNS = r"""!"#$%&'()*+,./:;<=>?@\[\\\]^_`{|}~-"""
_BRACKETED = r"\([^()*`\n]*\)|\[[^\[\]*`\n]*\]"
_LONE = rf"[^{SPACE}{_ASCII_SIGNS}]"


def _words(first: str, inside: str, last: str) -> str:
    return rf"^(?:(?:{first})(?:{inside})*(?:{last})|{first})$"


_BOLD = _words(
    first=rf"\\[^\n]|[^{SPACE}*`\\),;/=|>]",
    inside=r"\\[^\n]| \* |[^*`\\\n]",
    last=rf"\\[^\n]|[^{SPACE}*`\\(\[/=&]",
)
_STARRED_INSIDE = rf"{_BRACKETED}|\\[^\n]|[^*`()\[\]\\\n=|<>{{}}]"
# An underscore may begin it only where one ends it: `*_old.*` is a glob.
_STARRED = rf"^_(?:{_STARRED_INSIDE})*_$|" + _words(
    first=rf"{_BRACKETED}|-[{LETTERS}]|[\"'#$@]|{_LONE}",
    inside=_STARRED_INSIDE,
    last=rf"{_BRACKETED}|[{LETTERS}]-|[^{SPACE}*`()\[\]\\/=|<>{{}}+&^-]",
)
_QUOTED = r'"[^"_*`\n]*"'
_FIRST = rf"{_BRACKETED}|{_QUOTED}|['#@-]|{_LONE}"
_INSIDE = rf"{_BRACKETED}|[ (]{_QUOTED}|[^_*`()\[\]\\\n=|<>{{}}\"$]"
_LAST = rf"{_BRACKETED}|[ (]{_QUOTED}|[^{SPACE}_*`()\[\]\\/=|<>{{}}\"$+&^]"
# A name with underscores may stand amid other words, but not be the first or last: `_my_name_` is a name itself.
_UNDERSCORED = (
    rf"{_words(_FIRST, _INSIDE, _LAST)}|^(?:{_FIRST})(?:{_INSIDE})* (?:{_INSIDE}|_)* (?:{_INSIDE})*(?:{_LAST})$"
)
# One word between double underscores is an identifier (`__init__`): two of them, or a colon, are asked for.
_TWO_WORDS = rf"^(?:{_FIRST})(?:{_INSIDE})*(?: (?:{_INSIDE})*(?:{_LAST})|:)$"
_WORD_WITH_ENDING = rf"^[{LETTERS}][{LETTERS} ’'-]*[{LETTERS}]$"
_SEVERAL = f"[{SPACE}]"


def may_have_emphasis(texts: pa.LargeStringArray) -> pa.BooleanArray:
    """True where a run that may open emphasis stands before one that may close it, in a line of a row; never null.

    >>> may_have_emphasis(pa.array(["*a*", "2*3*4", "a_b", None], pa.large_string())).to_pylist()
    [True, False, False, False]
    """
    data, offsets = bytes_of(texts), offsets_of(texts) - offsets_of(texts)[0]
    flags = np.zeros(len(texts), bool)
    for runs in runs_of_each_sign(data, data, offsets):
        closers = np.flatnonzero(runs.closes | runs.closes_word)
        openers = np.flatnonzero(runs.opens)
        following = np.append(closers, len(runs.lines))[np.searchsorted(closers, openers, "right")]
        paired = np.append(runs.lines, -1)[following] == runs.lines[openers]
        flags[np.searchsorted(offsets, runs.starts[openers[paired]], "right") - 1] = True
    return pa.array(flags & to_flags(texts.is_valid()))


def without_emphasis(texts: pa.LargeStringArray, hidden: Bytes) -> pa.LargeStringArray:
    """The texts without the signs of emphasis.

    texts: (n,), without nulls.
    hidden: the texts' bytes end to end, `HIDDEN` or `BARRIER` for those of what is no prose; it is changed.

    >>> texts = pa.array(["**a** *b*", "2*3"], pa.large_string())
    >>> without_emphasis(texts, bytes_of(texts).copy()).to_pylist()
    ['a b', '2*3']
    """
    data, offsets = bytes_of(texts), offsets_of(texts) - offsets_of(texts)[0]
    stars, underscores = runs_of_each_sign(hidden, data, offsets)
    # Stars first: they hide their signs, and what is in bold may be in underscores as well.
    gone = np.sort(np.concatenate((_take_pairs(stars, hidden, STAR), _take_pairs(underscores, hidden, UNDERSCORE))))
    if not len(gone):
        return texts
    stays = np.ones(len(data), bool)
    stays[gone] = False
    bounds = offsets - np.searchsorted(gone, offsets)
    return cut_at(data[stays], bounds)


# --- pairs ------------------------------------------------------------------------------------------------------------


def _take_pairs(runs: Runs, hidden: Bytes, sign: int) -> Integers:
    """Places of the signs of all pairs, innermost first; they are hidden as they go."""
    gone = [np.zeros(0, np.int64)]
    untried = np.ones(len(runs.starts), bool)
    while len(pairs := _emphasised(runs, untried, hidden, sign)):
        opening, closing = runs.ends[pairs], runs.starts[pairs + 1]
        sizes = np.minimum(opening - runs.starts[pairs], runs.ends[pairs + 1] - closing)
        for step in range(LONGEST_RUN):
            wide = sizes > step
            gone += [opening[wide] - 1 - step, closing[wide] + step]
        hidden[np.concatenate(gone[-2 * LONGEST_RUN :])] = HIDDEN
        runs.ends[pairs] -= sizes
        runs.starts[pairs + 1] += sizes
        stays = runs.ends > runs.starts
        untried = _beside_change(pairs, len(stays))[stays]
        runs = runs.where(stays)
    return np.concatenate(gone)


def _beside_change(pairs: Integers, count: int) -> Flags:
    """True for what was in a pair and for all that may have got a new neighbour by it."""
    near = np.zeros(count + 2, bool)
    for distance in (-1, 0, 1, 2):
        near[pairs + distance] = True  # -1 is the spare place at the end
    return near[:count]


def _emphasised(runs: Runs, untried: Flags, hidden: Bytes, sign: int) -> Integers:
    """The runs that are a pair with the next one; none of which is the other half of one before."""
    sizes = runs.ends - runs.starts
    longer = np.maximum(sizes[:-1], sizes[1:])
    fits = (sizes[:-1] == sizes[1:]) | (longer == LONGEST_RUN)
    endings = runs.closes_word[1:] & runs.begins_word[:-1] & (sizes[:-1] == sizes[1:])
    may_be = untried[:-1] & runs.opens[:-1] & fits & (runs.closes[1:] | endings) & (runs.lines[:-1] == runs.lines[1:])
    pairs = np.flatnonzero(may_be)
    if not len(pairs):
        return pairs
    words = between(hidden, runs.ends[pairs], runs.starts[pairs + 1])
    strong = np.minimum(sizes[pairs], sizes[pairs + 1]) > 1
    in_word, several = ~runs.closes[pairs + 1], runs.closes_words[pairs + 1]
    if sign == STAR:
        good = _matching(words, (strong & ~in_word, _BOLD), (in_word, _WORD_WITH_ENDING), (~strong, _STARRED))
        good &= ~several | _matching(words, (several, _SEVERAL))
    else:
        good = _matching(words, (strong, _TWO_WORDS), (~strong, _UNDERSCORED))
    return _every_other(pairs[good])


def _matching(words: pa.LargeStringArray, *asked: tuple[Flags, str]) -> Flags:
    """bool (n,): does a text match the pattern that is asked of it? False where none is."""
    good = np.zeros(len(words), bool)
    for where, pattern in asked:
        good = np.where(where, matching_where(words, pattern, where), good)
    return good


def _every_other(pairs: Integers) -> Integers:
    """The first, third, ... of each series of neighbours: each other one begins where the one before ends."""
    places = np.arange(len(pairs))
    begins = np.diff(pairs, prepend=-2) != 1
    chosen: Integers = pairs[(places - np.maximum.accumulate(np.where(begins, places, 0))) % 2 == 0]
    return chosen
