"""Pairs read in a whole column at once are those that the parser reads row by row."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text.pairs import choose_pairs, format_pairs, parse_pairs
from nemocc_dask.text.plain_pairs import chosen_pairs
from tests.text.test_pairs import CASES, NOTES, PREAMBLES, TWO_PAIRS

BEFORE = "- Question: a? Answer: b\n"
NOT_PLAIN = [
    "Question: What is the answer? Answer: c",
    "Question: The answer is what? Answer: c",
    "Question: a, Answer: b. Answer: c",
    "Question: a. Answer: b. Answer: c",
    "Question: a anſwer: b Answer: c",
    "Question: an answer\nAnswer: c",
    "Question: a answer: b\nAnswer: c",
    "Question: a — Answer: c",
    "Question: a* Answer: c",
    "Question: a?  - Answer: c",
    "Question: a?\u3000Answer: c",
    "Question: a” Answer: c. Answer: d",
    "Question: a? Answer:**c",
    "Question:** a? Answer: c",
    "**Question: a?** Answer: c",
    "Question: a?\n**Answer: c**",
    "Question: a? Answer: b\nmore of it",
    "Question: a? Answer: b\nAnswer: c",
    "Question: a?\nor not?\nAnswer: b",
    "Question: a?\nAnswer: b\nmore",
    "Question: a? Answer: b\n---",
    "Question: a? Answer: b\n\nNote: c",
    "Question: a?\nQuestion: b?\nAnswer: c",
    "Question: a?\n\nQuestion: b? Answer: c",
    "Question: a?",
    "Question: a?\nAnswer: b\nQ: c\nA: d",
    "Question: Answer: b",
    "Question:Answer: b",
    "Question:\nAnswer: b",
    "Question: a? Answer:",
    "Question: a?\nAnswer: \n\nQuestion: c? Answer: d",
    "Question: \x85a\u2003? Answer: \u3000b\xa0\n",
    "QUESTION: a? ANSWER: b",
    "1. quiz\nQuestion 2: a? Answer: b",
    "Answer: a\n",
    " \n\t\n",
]
PIECES = [
    *(BEFORE, "Question: c?\nAnswer: d\n", "1. Question: e Answer: f\n", "\n", " \n", "Here it is\n", "quiz\n"),
    *("Question: g?", "Question: ", "Answer: h", " Answer: ", "answer", "Ans", "wer: ", "anſwer", "?", "*", "—"),
    *("- ", "\r", "\xa0", "\u2003", "Q: a\n", "A: b\n", "Note: i\n", "- Answer: j\n", "x", "é", ":"),
]


def by_parser(text: str, keep: int, draw: str) -> str | None:
    return format_pairs(choose_pairs(parse_pairs(text), keep=keep, draw=draw)) or None


def assert_as_by_parser(texts: list[str], keep: int = 8) -> None:
    draws = [f"0|diverse_qa|{row}" for row in range(len(texts))]
    column = pa.array(["Question: before", *texts, "Answer: after"], pa.large_string()).slice(1, len(texts))
    chosen = chosen_pairs(column, keep=[keep] * len(texts), draws=draws)
    chosen.validate(full=True)
    assert chosen.to_pylist() == [by_parser(text, keep, draw) for text, draw in zip(texts, draws, strict=True)]


@pytest.mark.parametrize("keep", [-1, 0, 1, 8])
def test_known_layouts(keep: int) -> None:
    """A column of all layouts and all that is no pair gives for each row what the parser gives."""
    layouts = [preamble + text for preamble in PREAMBLES for text in TWO_PAIRS]
    assert_as_by_parser([*layouts, *CASES, *(f"{layout}\n\n{note}" for layout in layouts for note in NOTES)], keep)


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_nearly_plain(text: str) -> None:
    """A row that looks plain and is not is the parser's, alone, after a pair and before one."""
    assert_as_by_parser([text, BEFORE + text, f"{text}\n{BEFORE}"])


@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_rows(texts: list[str]) -> None:
    """Whatever the rows are, no row is read otherwise than by the parser, and none changes another."""
    assert_as_by_parser(texts)


@pytest.mark.parametrize("pairs", [1, 8, 15, 16, 17, 33])
def test_many_pairs(pairs: int) -> None:
    """However many pairs a row has, those that its draw chooses are kept, in the order of the draw."""
    assert_as_by_parser(["".join(f"Question: {number}? Answer: {number}.\n" for number in range(pairs))] * 3)


def test_words_end_with_their_row() -> None:
    """A label is not made of the end of one row and the beginning of the next."""
    assert_as_by_parser(["Question: a? Ans", "wer: b", "- Quest", "ion: a? Answer: b", "Question: a? Answer", ": c"])


def test_no_rows() -> None:
    """No rows give no rows; rows without a pair are null."""
    assert_as_by_parser([])
    assert_as_by_parser(["", "no pair", ""])
