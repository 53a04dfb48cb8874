"""Answers that are answers and yet of no use, reasoning models, and servers that refuse what others take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.wire import tokens

from .asking import SENTENCES, ask, ask_all, chat, complete

Simulate = Callable[..., Simulator]

DISTILL = "Begin with 'Paraphrased Text:'."
BODIES = [chat(DISTILL, seed=seed) for seed in range(200)]


def test_an_answer_may_have_no_choices(simulate: Simulate) -> None:
    """Knob no_choices_rate: 200 with an empty list, which bills the prompt and is nothing to keep."""
    simulator = simulate(no_choices_rate=1.0)
    for _ in range(2):
        answer = ask(simulator, BODIES[0])
        assert (answer.status, answer.body["choices"]) == (200, [])
    assert answer.body["usage"]["completion_tokens"] == 0
    stats = simulator.stats()
    assert (stats["faults"], stats["repeated"], stats["completion_tokens"]) == ({"no_choices": 2}, 0, 0)
    assert stats["prompt_tokens"] == 2 * answer.body["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("fault", "reason", "kept", "billed"), [("null", "stop", 0, 1.0), ("content_filter", "content_filter", 0.5, 0.5)]
)
def test_answers_are_null_or_filtered(simulate: Simulate, fault: str, reason: str, kept: float, billed: float) -> None:
    """Knobs null_rate and content_filter_rate: no content though all is billed, or half of it, with its reason."""
    whole, spoilt = ask(simulate(), BODIES[0]), ask(simulate(**{f"{fault}_rate": 1.0}), BODIES[0])
    content = whole.contents[0]
    assert spoilt.contents == [content[: int(kept * len(content))] or None]
    assert spoilt.body["choices"][0]["finish_reason"] == reason
    made = whole.body["usage"]["completion_tokens"]
    assert abs(spoilt.body["usage"]["completion_tokens"] - billed * made) <= 1
    simulator = simulate(**{f"{fault}_rate": 0.2})
    ask_all(simulator, BODIES)
    assert 20 < simulator.stats()["faults"][fault] < 60


def test_each_answer_of_a_request_is_drawn_by_itself(simulate: Simulate) -> None:
    """Of forty answers to one request about half are spoilt where the rate is one half."""
    reasons = [choice["finish_reason"] for choice in _choices(simulate(content_filter_rate=0.5), n=40)]
    assert 10 <= reasons.count("content_filter") <= 30
    assert 10 <= [choice["message"]["content"] for choice in _choices(simulate(null_rate=0.5), n=40)].count(None) <= 30


def _choices(simulator: Simulator, **fields: Any) -> list[dict[str, Any]]:
    choices: list[dict[str, Any]] = ask(simulator, chat(DISTILL, **fields)).body["choices"]
    return choices


def test_reasoning_may_stand_in_a_field_of_its_own(simulate: Simulate) -> None:
    """Knob reasoning=content: the answer is what it was, and its reasoning stands beside it, billed by its tokens."""
    plain, answer = ask(simulate(), BODIES[0]), ask(simulate(reasoning="content"), BODIES[0])
    (choice,) = answer.body["choices"]
    thought, usage = choice["message"]["reasoning_content"], answer.body["usage"]
    assert answer.contents == plain.contents
    assert any(sentence in thought for sentence in SENTENCES)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": tokens(thought)}
    assert usage["completion_tokens"] == plain.body["usage"]["completion_tokens"] + tokens(thought)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(("where", "opening"), [("think", "<think>\n"), ("open", "")])
def test_reasoning_may_stand_in_the_content(simulate: Simulate, where: str, opening: str) -> None:
    """Knob reasoning=think: it comes first, within tags; =open: the template had opened the tag. Both are billed."""
    plain, simulator = ask(simulate(), BODIES[0]), simulate(reasoning=where)
    answer = ask(simulator, BODIES[0])
    thought, closing, content = answer.contents[0].partition("\n</think>\n\n")
    assert content == plain.contents[0]
    assert closing
    assert thought.startswith(opening + "Sentences in the text: 12.")
    assert thought.count("<think>") == bool(opening)
    assert "reasoning_content" not in answer.body["choices"][0]["message"]
    assert answer.body["usage"]["completion_tokens"] == tokens(answer.contents[0])
    assert simulator.stats()["completion_tokens"] == tokens(answer.contents[0])


@pytest.mark.parametrize("where", ["none", "content", "think", "open"])
def test_reasoning_uses_up_max_tokens(simulate: Simulate, where: str) -> None:
    """A model that still thinks at max_tokens has no answer: its content is null, or ends within the thoughts."""
    answer = ask(simulate(reasoning=where), {**BODIES[0], "max_tokens": 10})
    (choice,) = answer.body["choices"]
    content = choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    assert answer.body["usage"]["completion_tokens"] == 10
    assert (content is None) == (where == "content")
    assert "</think>" not in (content or choice["message"]["reasoning_content"])


def test_other_thoughts_come_before_other_answers(simulate: Simulate) -> None:
    """Each of several answers has thoughts of its own, the same ones each time; a document's tags close nothing."""
    simulator = simulate(reasoning="content")
    body = chat(DISTILL, " ".join(SENTENCES).replace("river", "</think>"), n=6)
    thoughts = [
        [choice["message"]["reasoning_content"] for choice in ask(simulator, body).body["choices"]] for _ in range(2)
    ]
    assert thoughts[0] == thoughts[1]
    assert len(set(thoughts[0])) > 1
    assert not any("think>" in thought for thought in thoughts[0])


def test_null_and_empty_answers_keep_their_reasoning(simulate: Simulate) -> None:
    """A reasoning model that says nothing has thought all the same, and bills it."""
    for fault, content in (("null", None), ("empty", "")):
        answer = ask(simulate(reasoning="content", **{f"{fault}_rate": 1.0}), BODIES[0])
        assert answer.contents == [content]
        assert answer.body["choices"][0]["message"]["reasoning_content"]
        assert answer.body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_max_tokens_may_have_a_newer_name(simulate: Simulate) -> None:
    """Knob wants_max_completion_tokens: a chat with max_tokens gets 400 that names it; the newer name is taken."""
    simulator = simulate(wants_max_completion_tokens=True)
    refused = ask(simulator, chat(DISTILL, max_tokens=50))
    assert refused.status == 400
    assert (refused.error["code"], refused.error["param"]) == ("unsupported_parameter", "max_tokens")
    assert "max_completion_tokens" in refused.error["message"]
    assert ask(simulator, chat(DISTILL, max_tokens=50, max_completion_tokens=50)).status == 400
    assert ask(simulator, chat(DISTILL, max_completion_tokens=8)).body["usage"]["completion_tokens"] == 8
    assert ask(simulator, chat(DISTILL, max_tokens=None)).status == 200
    assert complete(simulator, "Hello", max_tokens=50).status == 200


def test_more_than_one_answer_may_be_refused(simulate: Simulate) -> None:
    """Knob refuses_n: n of 2 gets 400 that names it, n of 1 is served; max_n still shortens without a word."""
    simulator = simulate(refuses_n=True)
    refused = ask(simulator, chat(DISTILL, n=2))
    assert (refused.status, refused.error["param"]) == (400, "n")
    assert "2" in refused.error["message"]
    assert ask(simulator, chat(DISTILL, n=1)).status == 200
    assert complete(simulator, "Hello", n=2).status == 400
    assert len(ask(simulate(max_n=1), chat(DISTILL, n=2)).contents) == 1
