"""The sampling fields of a request do what they do elsewhere, and answers repeat."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.wire import limited, tokens

from .asking import DOCUMENT, ask, chat

DISTILL = "Begin with 'Paraphrased Text:'."


def test_the_same_body_gets_the_same_answer(simulate: Callable[..., Simulator]) -> None:
    """An answer depends on the body alone: not on the moment, the fault seed, or what was asked before."""
    one, other = simulate(), simulate(seed=9, latency_s=0.01)
    first = ask(one, chat(DISTILL, seed=3)).contents
    ask(other, chat("Something else"))
    assert ask(other, chat(DISTILL, seed=3)).contents == first == ask(one, chat(DISTILL, seed=3)).contents


def test_another_seed_gets_another_selection(simulator: Simulator) -> None:
    """Twenty seeds give twenty answers, all of them taken from the same document."""
    assert len({ask(simulator, chat(DISTILL, seed=seed)).contents[0] for seed in range(20)}) >= 19


def test_without_a_seed_the_knob_is_the_seed(simulate: Callable[..., Simulator]) -> None:
    """A request that sends no seed is answered as one that sends the endpoint's own."""
    assert ask(simulate(seed=7), chat(DISTILL)).contents == ask(simulate(), chat(DISTILL, seed=7)).contents


def test_n_answers_differ(simulator: Simulator) -> None:
    """A request for six answers gets six different ones with indices 0 to 5, and pays for all of them."""
    answer = ask(simulator, chat(DISTILL, n=6))
    assert len(set(answer.contents)) == 6
    assert [choice["index"] for choice in answer.body["choices"]] == list(range(6))
    assert answer.body["usage"]["completion_tokens"] == sum(map(tokens, answer.contents))


@pytest.mark.parametrize(("max_n", "got"), [(0, 5), (1, 1), (3, 3), (9, 5)])
def test_an_endpoint_may_ignore_n(simulate: Callable[..., Simulator], max_n: int, got: int) -> None:
    """Knob max_n bounds how many answers come, as some servers do without a word."""
    assert len(ask(simulate(max_n=max_n), chat(DISTILL, n=5)).contents) == got


def test_an_answer_ends_before_the_first_stop_string(simulator: Simulator) -> None:
    """One stop string or several: the earliest in the answer ends it, and the reason is stop."""
    whole = ask(simulator, chat("Hello", DOCUMENT)).contents[0]
    for stop in ("barges", ["town", "barges"]):
        answer = ask(simulator, chat("Hello", DOCUMENT, stop=stop))
        assert answer.contents == [whole[: whole.index("barges")]]
        assert answer.body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_max_tokens(simulator: Simulator, field: str) -> None:
    """A longer answer is cut to max_tokens with the reason length, a beginning of the whole answer."""
    whole = ask(simulator, chat(DISTILL)).contents[0]
    answer = ask(simulator, {**chat(DISTILL), field: 8})
    assert answer.contents == [whole[:32]]
    assert answer.body["choices"][0]["finish_reason"] == "length"
    assert answer.body["usage"]["completion_tokens"] == 8


@given(st.text(), st.integers(1, 20), st.lists(st.text(min_size=1, max_size=2), max_size=3))
def test_limits_hold_for_any_text(content: str, max_tokens: int, stop: list[str]) -> None:
    """What is kept is a beginning of the answer, within max_tokens, without stop strings, its reason true."""
    kept, reason = limited(content, stop=stop, max_tokens=max_tokens)
    unlimited, _ = limited(content, stop=stop, max_tokens=None)
    assert content.startswith(kept)
    assert tokens(kept) <= max_tokens
    assert not any(mark in kept for mark in stop)
    assert reason == ("stop" if kept == unlimited else "length")


@given(st.text())
def test_a_token_is_four_bytes(text: str) -> None:
    """The number of tokens is the number of UTF-8 bytes by four, rounded up."""
    assert tokens(text) == math.ceil(len(text.encode()) / 4)


def test_usage_counts_what_was_sent_and_made(simulator: Simulator) -> None:
    """Usage is the tokens of all messages and of all answers, and the statistics add it up."""
    body = chat(DISTILL)
    body["messages"].insert(0, {"role": "system", "content": "Être utile."})
    answers = [ask(simulator, body) for _ in range(3)]
    usage = answers[0].body["usage"]
    assert usage["prompt_tokens"] == sum(tokens(message["content"]) for message in body["messages"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert simulator.stats()["prompt_tokens"] == 3 * usage["prompt_tokens"]
    assert simulator.stats()["completion_tokens"] == 3 * usage["completion_tokens"]


def test_usage_can_be_left_out(simulate: Callable[..., Simulator]) -> None:
    """Knob no_usage: answers come without usage, as some servers send them, and are counted all the same."""
    silent = simulate(no_usage=True)
    assert "usage" not in ask(silent, chat(DISTILL)).body
    assert silent.stats()["completion_tokens"] > 0
