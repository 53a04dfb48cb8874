"""Cuts rows that are over a token budget until they fit, as gently as they can be.

Arrow in, Arrow out; token counts are int64 numpy arrays, and nothing loops over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.blanks import is_blank
from nemocc_dask.text.cuts import Cuts, split_characters, split_sentences, split_words
from nemocc_dask.text.layout import Flags, Integers, changes, running_total, to_flags
from nemocc_dask.text.segments import join, pack

TokenCounter = Callable[[pa.LargeStringArray], Integers]
"""Texts (n,) to token counts int64 (n,), n may be 0; the same text has the same count each time."""


class Pieces(NamedTuple):
    """What rows became once none of them is over the budget, in order.

    texts: (n,).
    token_counts: int64 (n,), tokens of each piece.
    parents: int64 (n,), the row each piece came from, never decreasing; every row has at least one piece.
    """

    texts: pa.LargeStringArray
    token_counts: Integers
    parents: Integers


CHUNKS_PER_BUDGET = 4
"""A word over the budget is first cut into chunks of `max_tokens` / 4 characters, which fit where a character is
at most 4 tokens: nearly always (a byte-level tokenizer needs at most 4), so the halving below is rare."""


class _Budget(NamedTuple):
    max_tokens: int
    count_tokens: TokenCounter


_Level = Callable[[pa.LargeStringArray], Cuts]


def split_overlong(
    texts: pa.LargeStringArray, token_counts: Integers, *, max_tokens: int, count: TokenCounter
) -> Pieces:
    r"""Rows over the budget cut until they fit, as gently as they can be; all others as they are.

    An over-long row is cut into sentences, an over-long sentence into words, an over-long word into characters,
    and neighbours are packed again on each level: words to parts of a sentence, those and whole sentences to
    pieces of the row. White space where a cut was becomes one space inside a piece and goes between pieces;
    nothing else is lost, and where no white space was, none is put.

    texts: (n,); a null is left as it is, whatever its count.
    token_counts: int64 (n,), what `count` says of `texts`.
    max_tokens: the budget of a piece, at least 1; ValueError otherwise.

    A piece's count is that of its parts added up, and 1 for each space put between them; so by the same addition
    two pieces of one row and a separator of a token never fit into one budget, and `pack` does not undo the cut.
    No count is over `max_tokens`, save where a single character is. What a tokenizer says of the joined text is
    mostly less, 0.9 of it on English, and hardly ever more: in 2 of 58,016 cut pieces at a budget of 50 tokens.
    An over-long row of nothing but white space becomes one empty piece of count 0. `texts` itself comes back where
    no row is over-long.

    >>> words = lambda texts: pc.count_substring_regex(texts, r"\S+").to_numpy()
    >>> texts = pa.array(["One two. Three four five six seven. Eight.", "Nine."], pa.large_string())
    >>> split_overlong(texts, words(texts), max_tokens=3, count=words).texts.to_pylist()
    ['One two.', 'Three four', 'five six', 'seven. Eight.', 'Nine.']
    """
    if max_tokens < 1:
        raise ValueError(f"The budget of a piece is at least one token; max_tokens is {max_tokens}.")
    texts, token_counts = _empty_overlong_blanks(texts, token_counts, max_tokens)
    return _refine(texts, token_counts, _levels(max_tokens), _Budget(max_tokens, count))


def _levels(max_tokens: int) -> tuple[_Level, ...]:
    """The cuts from the gentlest to the last resort, one character at a time."""
    widest = max(1, max_tokens // CHUNKS_PER_BUDGET)
    halvings = (widest >> times for times in range(widest.bit_length()))
    return (split_sentences, split_words, *(partial(split_characters, size=size) for size in halvings))


def _refine(texts: pa.LargeStringArray, token_counts: Integers, levels: tuple[_Level, ...], budget: _Budget) -> Pieces:
    """Over-long texts cut by the first level, and what is still over-long by those after it."""
    overlong = _is_overlong(texts, token_counts, budget.max_tokens)
    if not levels or not overlong.any():
        return Pieces(texts, token_counts, np.arange(len(texts)))
    cuts = levels[0](texts.filter(pa.array(overlong)))
    part_counts = np.asarray(budget.count_tokens(cuts.texts), np.int64)
    fitting = _refine(cuts.texts, part_counts, levels[1:], budget)
    return _put_in_place(_repack(fitting, cuts, budget.max_tokens), texts, token_counts, overlong)


def _is_overlong(texts: pa.LargeStringArray, token_counts: Integers, max_tokens: int) -> Flags:
    return (token_counts > max_tokens) & to_flags(texts.is_valid())


def _empty_overlong_blanks(
    texts: pa.LargeStringArray, token_counts: Integers, max_tokens: int
) -> tuple[pa.LargeStringArray, Integers]:
    """Over-long rows of white space alone made empty: cut at white space they would have no piece and vanish."""
    overlong = _is_overlong(texts, token_counts, max_tokens)
    blank = overlong.copy()
    blank[overlong] = to_flags(is_blank(texts.filter(pa.array(overlong))))
    if not blank.any():
        return texts, token_counts
    return pc.if_else(pa.array(blank), pa.scalar("", texts.type), texts), np.where(blank, 0, token_counts)


def _repack(pieces: Pieces, cuts: Cuts, max_tokens: int) -> Pieces:
    """The pieces of all parts of a row packed into pieces of the row.

    Pieces of one part stay apart: they were packed before, by separators of their own.
    """
    rows = cuts.parents[pieces.parents]
    spaced = cuts.spaced[pieces.parents]
    spaces = spaced.astype(np.int64)
    stays_apart = changes(rows) | ~changes(pieces.parents)
    starts = pack(pieces.token_counts, stays_apart, max_tokens=max_tokens, separator_tokens=spaces)
    counts = _sums(pieces.token_counts + spaces, starts) - spaces[starts]
    return Pieces(_join_with_spaces(pieces.texts, spaced, starts), counts, rows[starts])


def _sums(values: Integers, starts: Integers) -> Integers:
    """The sum of each run's values."""
    return np.diff(running_total(values)[np.append(starts, len(values))])


def _join_with_spaces(texts: pa.LargeStringArray, spaced: Flags, starts: Integers) -> pa.LargeStringArray:
    """`join`, with a space before the elements of `spaced` only, and none before a run."""
    wants_space = spaced.copy()
    wants_space[starts] = False
    space, nothing = pa.scalar(" ", texts.type), pa.scalar("", texts.type)
    prefixes = pc.if_else(pa.array(wants_space), space, nothing)
    return join(pc.binary_join_element_wise(prefixes, texts, nothing), starts, separator="")


def _put_in_place(pieces: Pieces, texts: pa.LargeStringArray, token_counts: Integers, replaced: Flags) -> Pieces:
    """All texts in order, those that are `replaced` by their pieces; `pieces.parents` counts the replaced alone."""
    sources, parents = places(pieces.parents, replaced)
    merged = pa.concat_arrays([texts, pieces.texts]).take(pa.array(sources))
    return Pieces(merged, np.concatenate((token_counts, pieces.token_counts))[sources], parents)


def places(parents: Integers, replaced: Flags) -> tuple[Integers, Integers]:
    """Where to take from, texts and after them their pieces, for all in order; and the text that each came from.

    parents: int64 (pieces,), the text of each piece among those that are replaced.
    replaced: bool (texts,), those of which the pieces take the place.

    >>> sources, owners = places(np.array([0, 0]), np.array([False, True, False]))
    >>> sources.tolist(), owners.tolist()
    ([0, 3, 4, 2], [0, 1, 1, 2])
    """
    kept = np.flatnonzero(~replaced)
    owners = np.concatenate((kept, np.flatnonzero(replaced)[parents]))
    order = np.argsort(owners, kind="stable")
    return np.concatenate((kept, len(replaced) + np.arange(len(parents))))[order], owners[order]
