"""Questions and answers in the layouts that models use nearly always, read in all rows of a column at once.

A row is plain where each line is blank, says `- Question: ... Answer: ...` or one half of that, or stands before the
first question. What `pairs.parse_pairs` makes of such a row is certain, so arithmetic over bytes finds it here; every
other row is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.text.blanks import is_blank, strip
from nemocc_dask.text.layout import (
    Bytes,
    Flags,
    Integers,
    between,
    byte_table,
    bytes_of,
    changes,
    cut_at,
    joined,
    offsets_of,
    running_total,
    to_flags,
)
from nemocc_dask.text.pairs import (
    BETWEEN_PAIRS,
    RANK_BYTES,
    RANKED_AT_ONCE,
    choose_pairs,
    format_pairs,
    parse_pairs,
    ranking_digest,
)
from nemocc_dask.text.patterns import matches
from nemocc_dask.text.segments import normalize_newlines

# Nothing that might be emphasis stands beside a label: where that ends is for the parser to find out.
_LABELLED = "^ {0,4}(?:[-*+•] |[0-9]{1,3}[.)] )?%s:(?:[^*_]|$)"
_QUESTION, _ANSWER = _LABELLED % "Question", _LABELLED % "Answer"
_ANSWER_INSIDE = "^ Answer:(?:[^*_]|$)"
_MAY_BE_QUESTION = "^[^A-Za-z]*[Qq]"

# Kinds of lines: a whole pair, a question alone, an answer alone, surely no question, and what may be anything.
_BOTH, _ASKS, _ANSWERS, _OTHER, _UNSURE, _BLANK = range(6)
_EDGE = _BLANK  # blank lines are left out before it is asked what follows what: here it is the edge of a row
_MAY_FOLLOW = np.zeros((6, 6), bool)
"""Row: a kind, or the edge. Column: what may be the next line."""
_MAY_FOLLOW[[_EDGE, _OTHER], _OTHER] = True
_MAY_FOLLOW[[[_EDGE], [_OTHER], [_BOTH], [_ANSWERS]], [_BOTH, _ASKS]] = True
_MAY_FOLLOW[_ASKS, _ANSWERS] = True
_MAY_FOLLOW[[_BOTH, _ANSWERS], _EDGE] = True


_ENDS_SENTENCE = byte_table(b"?.!)]\"'")
# The parser counts some of these to the label. Which characters beyond ASCII it does is not asked here.
_MAY_BE_DRESS = byte_table(bytes(range(0x21)) + b">#*_+-" + bytes(range(0x80, 0x100)))


class _Pairs(NamedTuple):
    """Pairs of plain rows, in order; neither half of any is blank.

    questions, answers: (pairs,). rows: int64 (pairs,), the row of each. plain: bool, one for each of all rows.
    """

    questions: pa.LargeStringArray
    answers: pa.LargeStringArray
    rows: Integers
    plain: Flags


def chosen_pairs(texts: pa.LargeStringArray, *, keep: Sequence[int], draws: Sequence[str]) -> pa.LargeStringArray:
    """What `choose_pairs` takes of the pairs that `parse_pairs` reads in each row, as text; null where that is none.

    texts: (n,), without nulls. keep, draws: (n,), what `choose_pairs` is told of each row.

    >>> texts = pa.array(["- Question: What rusts? Answer: Iron.", "No pair."], pa.large_string())
    >>> chosen_pairs(texts, keep=[8, 8], draws=["0|a", "0|b"]).to_pylist()
    ['Question: What rusts?\\nAnswer: Iron.', None]
    """
    texts = normalize_newlines(texts)
    pairs = _plain_pairs(texts)
    rows, chosen = _chosen(pairs, np.array(keep, np.int64), draws)
    others = np.flatnonzero(~pairs.plain)
    parsed = [
        format_pairs(choose_pairs(parse_pairs(text), keep=keep[row], draw=draws[row])) or None
        for text, row in zip(texts.take(pa.array(others)).to_pylist(), others.tolist(), strict=True)
    ]
    found = pa.concat_arrays([chosen, pa.array(parsed, pa.large_string())])
    places = np.full(len(texts), -1)
    places[np.concatenate((rows, others))] = np.arange(len(found))
    return found.take(pa.array(places, mask=places < 0))


def _chosen(pairs: _Pairs, keep: Integers, draws: Sequence[str]) -> tuple[Integers, pa.LargeStringArray]:
    """The plain rows that keep a pair, and the text of what each of them keeps."""
    heads = np.flatnonzero(changes(pairs.rows))
    rows, counts = pairs.rows[heads], np.diff(np.append(heads, len(pairs.rows)))
    places = np.arange(len(pairs.rows)) - np.repeat(heads, counts)  # of each pair among those of its row
    digests = b"".join(ranking_digest(draws[row]) for row in rows.tolist())
    ranks = np.frombuffer(digests, f">u{RANK_BYTES}").reshape(-1, RANKED_AT_ONCE)
    order = np.lexsort((ranks[np.repeat(np.arange(len(rows)), counts), places], pairs.rows))
    kept = np.clip(keep[rows], 0, counts)
    first = pa.array(order[places < np.repeat(kept, counts)])
    texts = _formatted(pairs.questions.take(first), pairs.answers.take(first))
    return rows[kept > 0], joined(texts, running_total(kept[kept > 0]), BETWEEN_PAIRS)


def _formatted(questions: pa.LargeStringArray, answers: pa.LargeStringArray) -> pa.LargeStringArray:
    """Each pair as `format_pairs` writes it."""
    before_question, before_answer, nothing = pa.array(["Question: ", "\nAnswer: ", ""], pa.large_string())
    return pc.binary_join_element_wise(before_question, questions, before_answer, answers, nothing)


# --- what is plain ----------------------------------------------------------------------------------------------------


def _plain_pairs(texts: pa.LargeStringArray) -> _Pairs:
    data, offsets = bytes_of(texts), offsets_of(texts) - offsets_of(texts)[0]
    bounds = _line_bounds(data, offsets)
    ends, rows = bounds[1:], np.searchsorted(offsets, bounds[:-1], "right") - 1
    kinds, labels_end = _kinds(cut_at(data, bounds), bounds[:-1])
    words, counts = _answer_words(data, bounds)
    named = np.flatnonzero((kinds == _ASKS) & (counts > 0))
    inside = _are_labels(data, words[named], counts[named], ends[named])
    kinds[named] = np.where(inside, _BOTH, _UNSURE)
    plain = _plain_rows(kinds, rows, len(texts))
    # In plain rows as many lines ask as answer, in turns, so both have one order.
    asks = np.flatnonzero(plain[rows] & ((kinds == _BOTH) | (kinds == _ASKS)))
    answers = np.flatnonzero(plain[rows] & ((kinds == _BOTH) | (kinds == _ANSWERS)))
    questions_end = np.where(kinds == _BOTH, words - len(" "), ends)[asks]
    answers_begin = np.where(kinds == _BOTH, words + len("Answer:"), labels_end)[answers]
    questions = strip(between(data, labels_end[asks], questions_end))
    answered = strip(between(data, answers_begin, ends[answers]))
    return _whole(_Pairs(questions, answered, rows[asks], plain))


def _whole(pairs: _Pairs) -> _Pairs:
    """Without those of which one half is blank, as the parser drops them."""
    whole = (np.diff(offsets_of(pairs.questions)) > 0) & (np.diff(offsets_of(pairs.answers)) > 0)
    if whole.all():
        return pairs
    wanted = pa.array(whole)
    return _Pairs(pairs.questions.filter(wanted), pairs.answers.filter(wanted), pairs.rows[whole], pairs.plain)


def _line_bounds(data: Bytes, offsets: Integers) -> Integers:
    """Where each line begins, and where the last one ends; a row's last line break is followed by no line."""
    begins = np.zeros(len(data) + 1, bool)
    begins[1:] = data == ord("\n")
    begins[offsets] = True
    return np.flatnonzero(begins)


def _kinds(lines: pa.LargeStringArray, starts: Integers) -> tuple[Integers, Integers]:
    """What each line says by its beginning, and where its label ends: 0 where it has none that is plain."""
    kinds, labels_end = np.full(len(lines), _ASKS), np.zeros(len(lines), np.int64)
    asks = to_flags(matches(lines, _QUESTION))
    labels_end[asks] = _after_colon(lines.filter(pa.array(asks)), starts[asks])
    rest = lines.filter(pa.array(~asks))
    answers, blank = to_flags(matches(rest, _ANSWER)), to_flags(is_blank(rest))
    unsure = to_flags(matches(rest, _MAY_BE_QUESTION))
    kinds[~asks] = np.select((answers, blank, unsure), (_ANSWERS, _BLANK, _UNSURE), _OTHER)
    of_answers = np.flatnonzero(~asks)[answers]
    labels_end[of_answers] = _after_colon(rest.filter(pa.array(answers)), starts[of_answers])
    return kinds, labels_end


def _after_colon(lines: pa.LargeStringArray, starts: Integers) -> Integers:
    places: Integers = starts + pc.find_substring(lines, ":").to_numpy() + 1
    return places


def _answer_words(data: Bytes, bounds: Integers) -> tuple[Integers, Integers]:
    """Where `answer`, in any case, first stands in each line, and how often it does. What may be one counts as one."""
    lower = data | 0x20
    places = np.flatnonzero(lower == ord("w"))  # the rarest of its letters
    places = places[(places >= len("ans")) & (places < len(data) - len("er"))]
    # Python reads ſ as s, too. It is two bytes, the last of which is 0xBF: what precedes that is not looked at.
    for step, letter in ((1, "e"), (2, "r"), (-1, "s"), (-2, "n"), (-3, "a")):
        said = lower[places + step] == ord(letter)
        places = places[said | (data[places - 1] == 0xBF) if step < 0 else said]
    lines = np.searchsorted(bounds, places, "right") - 1
    first, heads = np.zeros(len(bounds) - 1, np.int64), changes(lines)
    first[lines[heads]] = places[heads] - len("ans")
    return first, np.bincount(lines, minlength=len(bounds) - 1)


def _are_labels(data: Bytes, words: Integers, counts: Integers, ends: Integers) -> Flags:
    """Is the first of `counts` times that a question's line says `answer` surely the label of its answer?

    The parser prefers one after a sentence, then one on a later line, of which plain rows have none here, then any.
    """
    before = data[words - 2]
    preferred = _ENDS_SENTENCE[before] | ((counts == 1) & ~_MAY_BE_DRESS[before])
    labels: Flags = preferred & to_flags(matches(between(data, words - 1, ends), _ANSWER_INSIDE))
    return labels


def _plain_rows(kinds: Integers, rows: Integers, row_count: int) -> Flags:
    """bool, one per row: has it pairs, and is each of its lines of a kind that may follow the one above?"""
    asks = (kinds == _BOTH) | (kinds == _ASKS)
    pairs = np.bincount(rows[asks], minlength=row_count)
    written = kinds != _BLANK
    kinds, rows = kinds[written], rows[written]
    first = changes(rows)
    last = np.append(first, True)[1:]
    above = np.where(first, _EDGE, np.append(_EDGE, kinds)[:-1])
    plain = (pairs > 0) & (pairs <= RANKED_AT_ONCE)
    plain[rows[~_MAY_FOLLOW[above, kinds] | (last & ~_MAY_FOLLOW[kinds, _EDGE])]] = False
    return plain
