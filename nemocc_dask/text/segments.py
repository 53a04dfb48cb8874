"""Cuts documents into parts, packs the parts into segments that fit a token budget, and joins them again.

Arrow in, Arrow out: texts are a `pyarrow.LargeStringArray` (one chunk, any offset, nulls allowed), positions and
token counts are int64 numpy arrays. Nothing is changed in place, zero rows are legal everywhere, and no function
loops over rows in Python.

The usual order is `normalize_newlines`, `split`, (count tokens), `split_overlong`, `pack`, `join`, `segment_ids`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
TokenCounter = Callable[[pa.LargeStringArray], Integers]
"""Texts (n,) to token counts int64 (n,), n may be 0; the same text has the same count each time."""


class Parts(NamedTuple):
    """What rows were cut into, in order.

    texts: the parts, (n,), without nulls.
    parents: int64 (n,), the row each part came from, never decreasing.
    """

    texts: pa.LargeStringArray
    parents: Integers


class Pieces(NamedTuple):
    """What rows became once none of them is over the budget, in order.

    texts: (n,).
    token_counts: int64 (n,), tokens of each piece.
    parents: int64 (n,), the row each piece came from, never decreasing; every row has at least one piece.
    """

    texts: pa.LargeStringArray
    token_counts: Integers
    parents: Integers


# ---------------------------------------------------------------------------------------------------- lines


def normalize_newlines(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    r"""Each `\r\n` and each lone `\r` becomes `\n`; the very same array comes back where there is no `\r`.

    >>> normalize_newlines(pa.array(["a\r\nb\rc\n"], pa.large_string())).to_pylist()
    ['a\nb\nc\n']
    """
    if not (_bytes(texts) == ord("\r")).any():  # ten times as fast as Arrow's search
        return texts
    without_pairs = pc.replace_substring(texts, pattern="\r\n", replacement="\n")
    return pc.replace_substring(without_pairs, pattern="\r", replacement="\n")


def split(texts: pa.LargeStringArray, separator: str | bytes) -> Parts:
    r"""The parts of each row between separators, empty ones too, so that joining gives the row again exactly.

    An empty row has one empty part, a null row has none. An empty separator raises ValueError.

    >>> parts = split(pa.array(["a\n\nb", None, ""], pa.large_string()), "\n")
    >>> parts.texts.to_pylist(), parts.parents.tolist()
    (['a', '', 'b', ''], [0, 0, 0, 2])
    """
    lists = pc.split_pattern(texts, pattern=separator)
    return Parts(lists.flatten(), pc.list_parent_indices(lists).to_numpy())


# ------------------------------------------------------------------------------- sentences, words, characters

SPACED_STOPS = ".!?…؟۔।"
"""End a sentence where white space follows: "3.14" and "example.org" are no ends."""
WIDE_STOPS = "。！？"
"""End a sentence wherever they stand: the scripts that use them put no space between sentences."""
CLOSERS = "\"'”’»›)]}」』）】》〉"
"""Belong to the sentence whose stop they follow."""
WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What `str.isspace` takes for white space."""

# Bytes that occur in no UTF-8 text, hence no text can be mistaken for a mark.
_CUT = b"\xff"
_UNSPACED = b"\xfe"


def _any_of(characters: str) -> bytes:
    """A pattern for any of the characters. Classes do not do: RE2 takes Arrow's binary type byte by byte."""
    return b"(?:" + b"|".join(re.escape(character.encode()) for character in characters) + b")"


_WIDE_END = b"(" + _any_of(WIDE_STOPS) + b"+" + _any_of(CLOSERS) + b"*)"
_SPACED_END = (
    b"(" + _any_of(SPACED_STOPS + WIDE_STOPS) + _any_of(CLOSERS) + b"*)"
    b"(?:" + _CUT + _UNSPACED + b")?" + _any_of(WHITE_SPACE) + b"+"
)
_BETWEEN_WORDS = _any_of(WHITE_SPACE) + b"+"
_BLANK = rb"\A" + _any_of(WHITE_SPACE) + rb"*\z"


class _Cuts(NamedTuple):
    """`Parts`, and for each whether white space was dropped between it and the part before it in its row."""

    texts: pa.LargeStringArray
    parents: Integers
    spaced: Flags


def split_sentences(texts: pa.LargeStringArray) -> Parts:
    """The sentences of each row, without the white space between them.

    A sentence ends after one of `SPACED_STOPS` and any `CLOSERS` where white space follows, and after `WIDE_STOPS`
    and any `CLOSERS` in any case. An abbreviation counts as an end: these are places to cut a line that is too
    long, and neighbours that fit are joined again. Rows without text have no parts.

    >>> split_sentences(pa.array(["“Is it?” It is 3.5. 是。否。", None], pa.large_string())).texts.to_pylist()
    ['“Is it?”', 'It is 3.5.', '是。', '否。']
    """
    cuts = _cut_sentences(texts)
    return Parts(cuts.texts, cuts.parents)


def split_words(texts: pa.LargeStringArray) -> Parts:
    """The words of each row: whatever stands between white space (Unicode's). Rows without words have no parts.

    >>> split_words(pa.array([" two  words", " "], pa.large_string())).texts.to_pylist()
    ['two', 'words']
    """
    # Not Arrow's own utf8_split_whitespace: it reads past a buffer that is full to the last byte (pyarrow 26), and
    # now and then leaves the white space at the very end on the last word.
    marked = pc.replace_substring_regex(texts.view(pa.large_binary()), pattern=_BETWEEN_WORDS, replacement=_CUT)
    parts = split(marked, _CUT)
    filled = _is_filled(parts.texts)
    return Parts(parts.texts.filter(pa.array(filled)).view(pa.large_string()), parts.parents[filled])


def split_characters(texts: pa.LargeStringArray, size: int) -> Parts:
    """Each row in chunks of `size` code points, the last one shorter; an empty or null row has none.

    The chunks share the bytes of `texts`. Raises ValueError where `size` is below 1.

    >>> split_characters(pa.array(["añb", ""], pa.large_string()), 2).texts.to_pylist()
    ['añ', 'b']
    """
    if size < 1:
        raise ValueError(f"A chunk has at least one character; size is {size}.")
    rows = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
    present = texts.drop_null()
    characters, first_characters = _character_positions(present)
    chunks = -(-np.diff(first_characters) // size)
    parents = np.repeat(np.arange(len(present)), chunks)
    heads = first_characters[parents] + size * _position_in_group(chunks)
    offsets = np.append(characters[heads], characters[-1])
    return Parts(_over_the_same_bytes(present, offsets), rows[parents])


def _cut_sentences(texts: pa.LargeStringArray) -> _Cuts:
    parts = split(_mark_sentence_ends(texts.view(pa.large_binary())), _CUT)
    spaced = ~_to_flags(pc.starts_with(parts.texts, pattern=_UNSPACED))
    sentences = pc.replace_substring(parts.texts, pattern=_UNSPACED, replacement=b"").view(pa.large_string())
    filled = _is_filled(sentences)
    return _Cuts(sentences.filter(pa.array(filled)), parts.parents[filled], spaced[filled])


def _mark_sentence_ends(texts: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """A `_CUT` between sentences in place of white space; `_UNSPACED` follows it where there was none."""
    wide = pc.replace_substring_regex(texts, pattern=_WIDE_END, replacement=rb"\1" + _CUT + _UNSPACED)
    return pc.replace_substring_regex(wide, pattern=_SPACED_END, replacement=rb"\1" + _CUT)


def _cut_words(texts: pa.LargeStringArray) -> _Cuts:
    words = split_words(texts)
    return _Cuts(*words, spaced=np.ones(len(words.parents), bool))


def _cut_characters(texts: pa.LargeStringArray, size: int) -> _Cuts:
    chunks = split_characters(texts, size)
    return _Cuts(*chunks, spaced=np.zeros(len(chunks.parents), bool))


def _character_positions(texts: pa.LargeStringArray) -> tuple[Integers, Integers]:
    """Where each character begins in the data buffer, with the end of the last one; and each row's first of them.

    `texts` has no nulls, so its rows lie in the buffer without gaps.
    """
    offsets = _offsets(texts)
    begins = np.flatnonzero((_bytes(texts) & 0xC0) != 0x80) + offsets[0]
    return np.append(begins, offsets[-1]), np.searchsorted(begins, offsets)


def _offsets(texts: pa.LargeStringArray) -> Integers:
    """int64 (n + 1,): where each row begins in the data buffer, and where the last one ends."""
    if not len(texts):
        return np.zeros(1, np.int64)  # Arrow may leave out the buffers of an empty array
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _bytes(texts: pa.LargeStringArray) -> NDArray[np.uint8]:
    """The rows' UTF-8 end to end, with whatever lies beneath nulls; not copied."""
    offsets = _offsets(texts)
    return np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]


def _over_the_same_bytes(texts: pa.LargeStringArray, offsets: Integers) -> pa.LargeStringArray:
    data = texts.buffers()[2] or pa.py_buffer(b"")
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), data)


def _is_filled(texts: pa.LargeStringArray) -> Flags:
    return _to_flags(pc.greater(pc.binary_length(texts), 0))


def _to_flags(booleans: pa.BooleanArray) -> Flags:
    """Arrow keeps eight booleans in a byte, numpy one: this copies."""
    return np.asarray(booleans.to_numpy(zero_copy_only=False), bool)


def _position_in_group(sizes: Integers) -> Integers:
    """0, 1, 2, ... anew for each group, laid end to end; sizes are the groups' lengths."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


# ---------------------------------------------------------------------------------------------- pack and join


def pack(
    token_counts: Integers,
    starts_group: Flags,
    *,
    max_tokens: int,
    separator_tokens: int | Integers = 1,
) -> Integers:
    """Where each run begins when neighbours are put together for as long as they fit (next-fit).

    A run i..j-1 fits if ``sum(token_counts[i:j]) + sum(separator_tokens[i+1:j]) <= max_tokens``. Each group is
    packed from its first element on, each run as long as it can be; an element that is over the budget by itself
    is a run by itself.

    token_counts: int64 (n,), none negative.
    starts_group: bool (n,), True where an element must not be put together with the one before it: a new
        document, or something is missing in between. The first element starts a group whatever is said.
    separator_tokens: tokens of what joins an element to the one before it; one number, or int64 (n,).

    Returns int64 (runs,): the position of each run's first element, increasing.

    >>> pack(np.array([2, 2, 2, 9, 1]), np.array([True, False, False, False, True]), max_tokens=5).tolist()
    [0, 2, 3, 4]
    """
    separators = np.broadcast_to(np.asarray(separator_tokens, np.int64), token_counts.shape)
    spent = np.concatenate(([0], np.cumsum(token_counts + separators)))
    heads = np.flatnonzero(_with_first(starts_group))
    ends = np.append(heads[1:], len(token_counts))
    starts_run = np.zeros(len(token_counts), bool)
    # One step for all groups at once: as many steps as the longest group has runs.
    while heads.size:
        starts_run[heads] = True
        affordable = spent[heads] + separators[heads] + max_tokens
        heads = np.maximum(np.searchsorted(spent, affordable, side="right") - 1, heads + 1)
        inside = heads < ends
        heads, ends = heads[inside], ends[inside]
    return np.flatnonzero(starts_run)


def join(texts: pa.LargeStringArray, starts: Integers, *, separator: str) -> pa.LargeStringArray:
    r"""One text for each run: the elements from one start up to the next, joined by the separator.

    starts: int64 (runs,), strictly increasing, as `pack` returns them.

    Raises ValueError where `texts` holds a null: what it should be in a joined text is the caller's to say.
    The very same array comes back where every run has one element.

    >>> join(pa.array(["a", "b", "c"], pa.large_string()), np.array([0, 2]), separator="\n").to_pylist()
    ['a\nb', 'c']
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null. Drop or fill them before joining.")
    if len(starts) == len(texts):
        return texts
    # Arrow joins lists with 32-bit offsets only: 2**31 elements at most, whatever their bytes.
    bounds = pa.array(np.append(starts, len(texts)).astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(bounds, texts), pa.scalar(separator, texts.type))


def segment_ids(parents_of_runs: Integers, gap_before: Flags) -> Integers:
    """The number of each run in its document; two runs' numbers differ by one if nothing is missing between them.

    Numbers begin at 0 in each document and go up by one a run, by two where there is a gap before the run. A gap
    before a document's first run leaves it at 0.

    parents_of_runs: int64 (n,), the document of each run; a change begins a new document.
    gap_before: bool (n,), True where something between the run and the one before it was left out.

    >>> segment_ids(np.array([7, 7, 7, 8]), np.array([False, False, True, False])).tolist()
    [0, 1, 3, 0]
    """
    heads = np.flatnonzero(_changes(parents_of_runs))
    numbers = np.cumsum(1 + np.asarray(gap_before, np.int64))
    lengths = np.diff(np.append(heads, len(numbers)))
    return numbers - np.repeat(numbers[heads], lengths)


def _changes(ids: Integers) -> Flags:
    """True for the first element and for each that differs from the one before it."""
    return np.concatenate((np.ones(len(ids[:1]), bool), ids[1:] != ids[:-1]))


def _with_first(flags: Flags) -> Flags:
    """The same flags with the first one set."""
    return np.concatenate((np.ones(len(flags[:1]), bool), flags[1:]))


# ------------------------------------------------------------------------------------- rows over the budget

CHUNKS_PER_BUDGET = 4
"""A word over the budget is first cut into chunks of `max_tokens` / 4 characters, which fit where a character is
at most 4 tokens: nearly always (a byte-level tokenizer needs at most 4), so the halving below is rare."""


class _Budget(NamedTuple):
    max_tokens: int
    count_tokens: TokenCounter


_Level = Callable[[pa.LargeStringArray], _Cuts]


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
    mostly less, 0.9 of it on English, and hardly ever more: in 2 of 58,016 cut pieces at a budget of 50 tokens. An over-long row of nothing but white space becomes one empty
    piece of count 0. `texts` itself comes back where no row is over-long.

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
    return (_cut_sentences, _cut_words, *(partial(_cut_characters, size=size) for size in halvings))


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
    return (token_counts > max_tokens) & _to_flags(texts.is_valid())


def _empty_overlong_blanks(
    texts: pa.LargeStringArray, token_counts: Integers, max_tokens: int
) -> tuple[pa.LargeStringArray, Integers]:
    """Over-long rows of white space alone made empty: cut at white space they would have no piece and vanish."""
    overlong = np.flatnonzero(_is_overlong(texts, token_counts, max_tokens))
    candidates = texts.take(pa.array(overlong)).view(pa.large_binary())
    blank = np.zeros(len(texts), bool)
    blank[overlong] = _to_flags(pc.match_substring_regex(candidates, pattern=_BLANK))
    if not blank.any():
        return texts, token_counts
    return pc.if_else(pa.array(blank), pa.scalar("", texts.type), texts), np.where(blank, 0, token_counts)


def _repack(pieces: Pieces, cuts: _Cuts, max_tokens: int) -> Pieces:
    """The pieces of all parts of a row packed into pieces of the row.

    Pieces of one part stay apart: they were packed before, by separators of their own.
    """
    rows = cuts.parents[pieces.parents]
    spaced = cuts.spaced[pieces.parents]
    spaces = spaced.astype(np.int64)
    stays_apart = _changes(rows) | ~_changes(pieces.parents)
    starts = pack(pieces.token_counts, stays_apart, max_tokens=max_tokens, separator_tokens=spaces)
    counts = _sums(pieces.token_counts + spaces, starts) - spaces[starts]
    return Pieces(_join_with_spaces(pieces.texts, spaced, starts), counts, rows[starts])


def _sums(values: Integers, starts: Integers) -> Integers:
    """The sum of each run's values."""
    upto = np.concatenate(([0], np.cumsum(values)))
    return np.diff(upto[np.append(starts, len(values))])


def _join_with_spaces(texts: pa.LargeStringArray, spaced: Flags, starts: Integers) -> pa.LargeStringArray:
    """`join`, with a space before the elements of `spaced` only, and none before a run."""
    wants_space = spaced.copy()
    wants_space[starts] = False
    space, nothing = pa.scalar(" ", texts.type), pa.scalar("", texts.type)
    prefixes = pc.if_else(pa.array(wants_space), space, nothing)
    return join(pc.binary_join_element_wise(prefixes, texts, nothing), starts, separator="")


def _put_in_place(pieces: Pieces, texts: pa.LargeStringArray, token_counts: Integers, replaced: Flags) -> Pieces:
    """All texts in order, those that are `replaced` by their pieces; `pieces.parents` counts the replaced alone."""
    kept = np.flatnonzero(~replaced)
    parents = np.concatenate((kept, np.flatnonzero(replaced)[pieces.parents]))
    order = np.argsort(parents, kind="stable")
    sources = np.concatenate((kept, len(texts) + np.arange(len(pieces.texts))))[order]
    merged = pa.concat_arrays([texts, pieces.texts]).take(pa.array(sources))
    return Pieces(merged, np.concatenate((token_counts, pieces.token_counts))[sources], parents[order])
