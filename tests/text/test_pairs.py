"""Pairs are read from whatever layout, and nothing that is no pair becomes one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text.pairs import choose_pairs, earned_pairs, format_pairs, parse_pairs

PREAMBLES = [
    "",
    "Here are the questions and answers based on the provided text:\n",
    "Sure!\n\n# Questions and answers\n\n",
]
TWO_PAIRS = [
    "- Question: What rusts? Answer: Iron.\n- Question: What not? Answer: Gold.",
    "- Question: What rusts?\nAnswer: Iron.\n- Question: What not?\nAnswer: Gold.",
    "- Question: What rusts?\n- Answer: Iron.\n- Question: What not?\n- Answer: Gold.",
    "1. Question: What rusts? Answer: Iron.\n2. Question: What not? Answer: Gold.",
    "1) Question: What rusts?\n   Answer: Iron.\n\n2) Question: What not?\n   Answer: Gold.",
    "* Question: What rusts?\n  * Answer: Iron.\n* Question: What not?\n  * Answer: Gold.",
    "Q: What rusts?\nA: Iron.\n\nQ: What not?\nA: Gold.",
    "Q: What rusts? A: Iron.\nQ: What not? A: Gold.",
    "Q1: What rusts?\nA1: Iron.\nQ2: What not?\nA2: Gold.",
    "**Q:** What rusts?\n**Answer:** Iron.\n**Q:** What not?\n**Answer:** Gold.",
    "**Question:** What rusts?\n**Answer:** Iron.\n\n**Question:** What not?\n**Answer:** Gold.",
    "**Question 1:** What rusts? **Answer:** Iron.\n**Question 2:** What not? **Answer:** Gold.",
    "**Question 1**: What rusts?\n**Answer 1**: Iron.\n---\n**Question 2**: What not?\n**Answer 2**: Gold.",
    "**1. Question:** What rusts?\n**Answer:** Iron.\n**2. Question:** What not?\n**Answer:** Gold.",
    "**Question: What rusts?**\nAnswer: Iron.\n**Question: What not?** Answer: Gold.",
    "### Question 1\nWhat rusts?\n### Answer\nIron.\n\n### Question 2\nWhat not?\n### Answer\nGold.",
    "question: What rusts? answer: Iron.\nQUESTION: What not?\nANSWER: Gold.",
    "Question: What rusts?\r\nAnswer: Iron.\r\n\r\nQuestion: What not?\r\nAnswer: Gold.\r\n",
    "Question (open): What rusts? Answer: Iron.\n\n## More\n\n2.\nQuestion (yes/no): What not? Answer: Gold.",
    "Question:\nWhat rusts?\n\nAnswer:\nIron.\n\nQuestion:\nWhat not?\n\nAnswer:\n\nGold.",
]
NOTES = [
    "Note: made up.",
    "**Note:** made up.",
    "I hope this helps!",
    "Let me know.",
    "These questions vary.",
    "(Feel free to ask.)",
]
CASES: dict[str, list[tuple[str, str]]] = {
    "Question: Which?\nA) x\nB: y\nA: z\nAnswer: B) y": [("Which?\nA) x\nB: y\nA: z", "B) y")],
    "Question: W?\nAnswer: one\n\ntwo\n\nQuestion: X?\nAnswer: c\nd\n\nIn sum": [
        ("W?", "one\n\ntwo"),
        ("X?", "c\nd"),
    ],
    "Question: W?\nAnswer: Step 1: a\n  Step 2: b": [("W?", "Step 1: a\n  Step 2: b")],
    "Question: What is the answer: A or B?\nAnswer: B": [("What is the answer: A or B?", "B")],
    "Question: W? Answer: a. The answer: 5. The question: why. Answer: 6": [
        ("W?", "a. The answer: 5. The question: why. Answer: 6")
    ],
    "Question: a?\nQuestion: b?\nAnswer: c": [("b?", "c")],
    "Answer: a\nQuestion: b?\nAnswer: c": [("b?", "c")],
    "Question: a?\nAnswer: b\n\nAnswer: orphan\n\nQuestion: c?\nAnswer: d": [("a?", "b"), ("c?", "d")],
    "Question: a? Answer:\nQuestion: c? Answer: d": [("c?", "d")],
    "Question: Answer: a": [],
    "Question: a? An option A: b": [],
    "Question: a?": [],
    "Questions: a? Answer: b": [],
    "The question is open. Answer: b": [],
    "": [],
}
PLAIN = st.text(alphabet="abc, ?.é文", min_size=1, max_size=12).map(lambda words: f"x{words}x")
PAIRS = st.lists(st.tuples(PLAIN, PLAIN), max_size=6)


@pytest.mark.parametrize("preamble", PREAMBLES)
@pytest.mark.parametrize("text", TWO_PAIRS)
def test_layouts(preamble: str, text: str) -> None:
    """Two pairs are two pairs in whatever bullets, numbers, emphasis, headings, lines and preamble."""
    assert parse_pairs(preamble + text) == [("What rusts?", "Iron."), ("What not?", "Gold.")]


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("blank", ["\n", "\n\n"])
def test_a_trailing_note_is_no_answer(note: str, blank: str) -> None:
    """What follows the last answer after a blank line, or reads like a note, is not glued to it."""
    assert parse_pairs(f"Question: a?\nAnswer: b\nc{blank}{note}\nmore") == [("a?", "b\nc")]


@pytest.mark.parametrize("text", CASES)
def test_what_is_a_pair(text: str) -> None:
    """Words that look like labels inside running text split nothing, and halves of pairs are none."""
    assert parse_pairs(text) == CASES[text]


@given(pairs=PAIRS)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(pairs: list[tuple[str, str]]) -> None:
    """Pairs of one line each come back from their own text."""
    assert parse_pairs(format_pairs(pairs)) == pairs


@given(
    text=st.lists(
        st.sampled_from(
            [
                "Question",
                "Answer",
                "Q",
                "A",
                ":",
                "1",
                ". ",
                "*",
                "**",
                "#",
                " ",
                "\n",
                "\r",
                "? ",
                "x",
                "Note:",
                "- ",
                "_",
            ]
        ),
        max_size=30,
    ).map("".join)
    | st.text()
)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read(text: str) -> None:
    """No text raises, and no pair has an empty or untrimmed half."""
    for half in (half for pair in parse_pairs(text) for half in pair):
        assert half
        assert half == half.strip()


@pytest.mark.parametrize(
    "text",
    ["*" * 10**5, " " * 10**5, "Q: " * 30_000, "Question: x?" + " *" * 50_000, "Question: x\n" * 10_000],
)
def test_long_runs_end(text: str) -> None:
    """No run of signs or labels keeps the parser busy."""
    assert isinstance(parse_pairs(text), list)


def test_chosen_pairs() -> None:
    """A choice depends on what it is drawn by alone, has no pair twice, and leaves the list it was given."""
    pairs = [(str(number), "a") for number in range(20)]
    chosen = choose_pairs(pairs, keep=5, draw="3")
    assert chosen == choose_pairs(pairs, keep=5, draw="3")
    assert chosen != choose_pairs(pairs, keep=5, draw="4")
    assert len(set(chosen)) == 5
    assert set(chosen) < set(pairs)
    assert pairs == sorted(pairs, key=lambda pair: int(pair[0]))


def test_every_pair_is_drawn_as_often() -> None:
    """Over many rows each of forty pairs, more than one digest ranks, comes first and is kept about equally often."""
    pairs = [(str(number), "a") for number in range(40)]
    drawn = [choose_pairs(pairs, keep=10, draw=f"0|diverse_qa|{row}") for row in range(4000)]
    firsts, kept = Counter(chosen[0] for chosen in drawn), Counter(pair for chosen in drawn for pair in chosen)
    assert all(50 < firsts[pair] < 160 for pair in pairs)  # 100 expected, 6 standard deviations
    assert all(830 < kept[pair] < 1170 for pair in pairs)  # 1000 expected


@pytest.mark.parametrize(("keep", "kept"), [(0, 0), (-1, 0), (1, 1), (9, 2)])
def test_never_more_than_there_are(keep: int, kept: int) -> None:
    """Asking for more pairs than there are gives all of them; for none, none."""
    assert len(choose_pairs([("a", "b"), ("c", "d")], keep=keep, draw="0")) == kept


@pytest.mark.parametrize(("tokens", "pairs"), [(0, 1), (14, 1), (29, 1), (30, 2), (150, 10), (1000, 66)])
def test_earned_pairs(tokens: int, pairs: int) -> None:
    """Ten pairs for each 150 tokens, and one at least."""
    assert earned_pairs(tokens) == pairs
