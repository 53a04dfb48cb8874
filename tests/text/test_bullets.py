"""Knowledge lists of any layout become one fact a line."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text import bullets

BULLETS = ["-", "*", "+", "•", "–", "—", "·", "▪", "◦", "‣", "1.", "12)", "(123)"]
LISTS = {
    "Here is the list:\n1. a\n2. b": "a\nb",
    "Here is the list:\na\nb": "a\nb",
    "Sure! Here are the facts:\n\n- a": "a",
    "Sure, this is what I found.\n- a": "a",
    "Here are some facts.\n- a": "a",
    "The following is known.\n- a": "a",
    "Knowledge list\n- a": "a",
    "**Facts**\n- a": "a",
    "Iron is old.\n- a": "Iron is old.\na",
    "Surely iron is old.\n- a": "Surely iron is old.\na",
    "- a\n\nDates:\n- b\n**Places:**\n- c": "a\nb\nc",
    "## Dates\n- a\n## Places\n- b": "a\nb",
    "- a\n  goes on\n\n  and on\n- b": "a goes on and on\nb",
    "- a\nb": "a\nb",
    "- a\n\u3000b": "a b",
    "- a\n  - b\n    c": "a\nb c",
    "  - a\r\n  - b\r\n": "a\nb",
    "- - a\n* 1. b\n-\n- -": "a\nb",
    "-\n  a": "a",
    "- Dates:\n  - a": "a",
    "- Here is a fact\n- b": "Here is a fact\nb",
    "  Iron is old.\n- a": "Iron is old.\na",
    "•a\n•b": "a\nb",
    "-5 °C was measured\n1.5 million\n1945. War": "-5 °C was measured\n1.5 million\n1945. War",
    "- -5 °C was measured\n- 1.5 million": "-5 °C was measured\n1.5 million",
    "  One paragraph.\n\n  Another.": "One paragraph.\nAnother.",
    "- at 10:30\n- ratio 1:2.": "at 10:30\nratio 1:2.",
    "Here is the list:": "",
    "": "",
    " \n ": "",
}
FACT = st.text(alphabet="abc12 .é文-", min_size=1, max_size=10).map(lambda words: f"x{words}x")


@pytest.mark.parametrize("text", LISTS)
def test_one_fact_a_line(kernels, text: str) -> None:
    """Bullets, preamble, headings and blank lines go; facts stay, whole and in order; and that is final."""
    assert kernels.normalize_bullets([text]) == [LISTS[text]]
    assert kernels.normalize_bullets([LISTS[text]]) == [LISTS[text]]


@pytest.mark.parametrize("bullet", BULLETS)
@pytest.mark.parametrize("indent", ["", "  ", "\t"])
def test_every_bullet_goes(kernels, bullet: str, indent: str) -> None:
    """Whatever the bullet, the first fact is not lost."""
    text = f"{indent}{bullet} Iron rusts.\n{bullet}\tGold does not."
    assert kernels.normalize_bullets([text]) == ["Iron rusts.\nGold does not."]


@given(
    facts=st.lists(FACT, min_size=1, max_size=5),
    bullet=st.sampled_from(BULLETS),
    blank=st.sampled_from(["\n", "\n\n", "\r\n"]),
)
@settings(max_examples=100, deadline=None)
def test_facts_come_back(kernels, facts: list[str], bullet: str, blank: str) -> None:
    """A list written in any bullet gives the facts it was written from."""
    text = "Here is the list:\n" + blank.join(f"{bullet} {fact}" for fact in facts)
    assert kernels.normalize_bullets([text]) == ["\n".join(facts)]


BEGINNINGS = [
    "-",
    "+",
    "*",
    " ",
    "  ",
    "\t",
    "\xa0",
    "\u2003",
    "\x1c",
    "–",
    "•",
    "1",
    "1.",
    "12) ",
    "(3) ",
    "(",
    ".",
    "a",
]


@given(
    lines=st.lists(st.lists(st.sampled_from([*BEGINNINGS, "é", "A b", ":", "："]), max_size=6).map("".join), max_size=9)
)
@settings(max_examples=150, deadline=None)
def test_lines_tell_by_their_bytes_what_patterns_tell(lines: list[str]) -> None:
    """Each line by itself loses what the pattern of bullets matches, though few lines are looked at by it."""
    bare = [re.sub(bullets.BULLETS.replace("$", r"\Z"), "", line).strip() for line in lines]
    facts = ["" if re.search(r"[:：][*_ \t]*\Z", line) else line for line in bare]
    assert bullets.normalize_bullets(pa.array(lines, pa.large_string())).to_pylist() == facts
