"""Plain completions: a text that the client rendered itself is answered as the chat would be."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from nemocc_dask.simulate import Simulator
from nemocc_dask.simulate.asked import PLAIN_MAX_TOKENS
from nemocc_dask.simulate.prompt import Prompt, read_text_prompt
from nemocc_dask.simulate.wire import tokens
from nemocc_dask.tasks import TASKS, Task

from .asking import DOCUMENT, SENTENCES, address, adds_up, chat, complete, http

Simulate = Callable[..., Simulator]

TEMPLATES = {
    "ChatML": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "Mistral": "<s>[INST] {}[/INST]",
    "bare": "{}",
}
DISTILL = f"Begin with 'Paraphrased Text:'.\n<document>\n{DOCUMENT}\n</document>"


def texts(answer: Any) -> list[str]:
    """The text of each choice."""
    return [choice["text"] for choice in answer.body["choices"]]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_rendered_prompt_is_understood(simulator: Simulator, task: Task, template: str) -> None:
    """The package's prompts are answered in their own format, whatever a chat template puts around them."""
    messages = task.messages(language="German", code="[DE]", document=DOCUMENT)
    rendered = template.format("\n".join(message["content"] for message in messages))
    answer = complete(simulator, rendered, max_tokens=900)
    assert answer.status == 200
    assert simulator.stats()["by_task"] == {task.name: 1}
    assert task.makes_documents or any(sentence in texts(answer)[0] for sentence in SENTENCES)


def test_a_template_does_not_become_the_document() -> None:
    """What closes the message on the document's last line belongs to the instructions; the last closing tag counts."""
    prompt = read_text_prompt("<s>Do\n<document>\nA.\n</document>\nB.\n</document><|end|>\n<|assistant|>")
    assert prompt == Prompt("<s>Do<|end|>\n<|assistant|>", "A.\n</document>\nB.")
    assert read_text_prompt("<s>Hello") == Prompt("<s>Hello", "<s>Hello")


def test_a_plain_completion_has_its_own_shape(simulator: Simulator) -> None:
    """It has texts and no messages, an object and an id of its own kind, and usage of prompt and answers."""
    body = complete(simulator, DISTILL, max_tokens=400, n=3).body
    assert (body["object"], body["id"].startswith("cmpl-"), body["model"]) == ("text_completion", True, "simulated")
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert all(set(choice) == {"index", "text", "logprobs", "finish_reason"} for choice in body["choices"])
    assert body["usage"]["prompt_tokens"] == tokens(DISTILL)
    assert body["usage"]["completion_tokens"] == sum(tokens(choice["text"]) for choice in body["choices"])


def test_sampling_fields_work_as_in_a_chat(simulator: Simulator) -> None:
    """Stop strings end a text, max_tokens cuts it, and a seed repeats it."""
    whole = texts(complete(simulator, DISTILL, max_tokens=400, seed=1))
    assert texts(complete(simulator, DISTILL, max_tokens=400, seed=1)) == whole
    assert texts(complete(simulator, DISTILL, max_tokens=400, seed=2)) != whole
    stopped = texts(complete(simulator, DISTILL, max_tokens=400, seed=1, stop="barges"))
    assert stopped == [whole[0][: whole[0].index("barges")]]
    short = complete(simulator, DISTILL, max_tokens=5, seed=1)
    assert (texts(short), short.body["choices"][0]["finish_reason"]) == ([whole[0][:20]], "length")


def test_a_text_without_max_tokens_is_short(simulator: Simulator) -> None:
    """As with real servers a request that does not say gets 16 tokens, which a chat does not."""
    answer = complete(simulator, DISTILL)
    assert answer.body["usage"]["completion_tokens"] == PLAIN_MAX_TOKENS == 16
    assert answer.body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("prompt", [None, "", 5, ["Hello"], [1, 2]], ids=str)
def test_a_prompt_has_to_be_a_string(simulator: Simulator, prompt: Any) -> None:
    """Lists and tokens as a prompt get 400 that names the field, and count as requests."""
    answer = complete(simulator, prompt)
    assert (answer.status, answer.error["code"]) == (400, "invalid_body")
    assert "`prompt`" in answer.error["message"]
    assert simulator.stats()["by_status"] == {"400": 1}


def test_faults_limits_and_keys_hold_for_texts_too(simulate: Simulate) -> None:
    """Errors, limits, the key and the model are those of the endpoint, whatever it is asked for."""
    assert complete(simulate(error_rate=1.0), DISTILL).status == 500
    assert complete(simulate(api_key="right"), DISTILL).status == 401
    assert complete(simulate(model="mine"), DISTILL).status == 404
    assert complete(simulate(bad_request_rate=1.0), DISTILL).error["code"] == "invalid_prompt"
    assert texts(complete(simulate(null_rate=1.0), DISTILL)) == [None]
    assert texts(complete(simulate(no_choices_rate=1.0), DISTILL)) == []
    limited = simulate(requests_per_minute=2)
    assert http(address(limited, "v1/chat/completions"), chat("Hello")).status == 200
    assert [complete(limited, DISTILL).status for _ in range(2)] == [200, 429]
    assert adds_up(limited.stats())


def test_garbage_holds_no_text(simulate: Simulate) -> None:
    """Knob garbage_rate: a spoilt plain completion has no text where one belongs."""
    simulator = simulate(garbage_rate=1.0)
    for seed in range(60):
        answer = complete(simulator, DISTILL, seed=seed)
        try:
            assert not isinstance(answer.body["choices"][0]["text"], str)
        except (ValueError, LookupError, TypeError):
            continue
    assert simulator.stats()["by_status"] == {"200": 60}


@pytest.mark.parametrize("where", ["content", "think", "open"])
def test_reasoning_stands_in_the_text(simulate: Simulate, where: str) -> None:
    """A plain completion has no field for reasoning: it stands in the text, and its tag is closed there."""
    (text,) = texts(complete(simulate(reasoning=where), DISTILL, max_tokens=900))
    assert text.startswith("<think>\n") == (where != "open")
    assert text.partition("\n</think>\n\n")[2] == texts(complete(simulate(), DISTILL, max_tokens=900))[0]


def test_the_official_client_is_answered(simulator: Simulator) -> None:
    """The official client gets text and usage as its own types."""
    if find_spec("openai") is None:
        pytest.skip("the official client (openai) is not installed")
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=simulator.base_url, api_key="any") as client:
        made = client.completions.create(model="simulated", prompt=DISTILL, max_tokens=900)
    assert made.choices[0].text.strip().strip("*").startswith("Paraphrased Text:")
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
