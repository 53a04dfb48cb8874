"""Sentences, words and numbers are taken out of texts in several languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.simulate.dice import Dice, share
from nemocc_dask.simulate.extract import LONGEST_QUOTE_CHARS, clipped, numbers, sentences, telling, words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It rains. It pours! Why? Because…  So be it.", 5),
        ("Dr. Smith met Mr. J. R. Jones. They spoke.", 2),
        ("Das Haus, z.B. das alte, steht. Es ist ca. 90 Jahre alt.", 2),
        ("Il a dit « non ». ¿Qué pasa? Nada.", 3),
        ("彼は来た。そして「帰る」と言った！終わり", 3),
        ("वह आया। वह गया।", 2),
        ("A title\n\n- one\n- two\r\nthree", 4),
        ("Version 3.11 is out at example.com today.", 1),
        ("He left. then came back.", 1),
    ],
)
def test_sentences_end_where_readers_end_them(text: str, count: int) -> None:
    """Abbreviations, initials and numbers end no sentence; full-width marks and new lines do."""
    assert len(sentences(text)) == count


@given(st.text(alphabet="Ab. !?\n。…”)\r\t1é"))
def test_no_character_but_white_space_is_lost(text: str) -> None:
    """The sentences of a text, put together, are the text without its white space."""
    found = "".join("".join(sentences(text)).split())
    assert found == "".join(text.split()) or not text.split()


def test_lists_leave_out_what_tells_nothing() -> None:
    """Single words and bare marks are no facts, unless there is nothing else; unspaced scripts are text."""
    assert telling(["```", "Home", "It rains a lot.", "彼は昨日ここに来た。"]) == [
        "It rains a lot.",
        "彼は昨日ここに来た。",
    ]
    assert telling(["Home"]) == ["Home"]


@given(st.text())
def test_any_text_has_words_to_ask_about(text: str) -> None:
    """Every text gives at least one sentence, and every sentence at least one word."""
    assert all(words(sentence) and numbers(sentence) is not None for sentence in sentences(text))


@given(st.from_regex(r"([a-zA-Z]{1,30}[-_1 .])*", fullmatch=True))
def test_words_are_the_same_in_any_alphabet(text: str) -> None:
    """What is a word of plain English does not depend on a letter of another alphabet beside it."""
    sentence = f"{text} beside"
    assert words(sentence) == words(f"{sentence} é")


def test_long_sentences_are_clipped_at_a_word() -> None:
    """A quotation is never longer than its bound, and ends at a word where there is one."""
    assert clipped("short") == "short"
    assert clipped("wort " * 100).endswith("wort")
    assert len(clipped("x" * 500)) == LONGEST_QUOTE_CHARS


def test_dice_repeat_and_are_fair() -> None:
    """The same key throws the same numbers, these ones for ever, and shares are spread evenly."""
    assert [Dice(b"key").below(1000) for _ in range(2)] == [885] * 2
    assert Dice(b"key").shuffled(range(6)) == [5, 2, 3, 1, 4, 0]
    assert abs(sum(share(b"%d" % at) for at in range(2000)) / 2000 - 0.5) < 0.02


@given(st.integers(0, 30), st.integers(0, 40), st.binary(max_size=4))
def test_a_choice_of_some_keeps_the_order(total: int, count: int, key: bytes) -> None:
    """Some of a list are different places of it, in order, as many as were asked for or all."""
    chosen = Dice(key).some(range(total), count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(total, count)
