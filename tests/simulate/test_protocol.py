"""What goes over the wire has OpenAI's shapes, errors included, so the official client can talk to it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from nemocc_dask.simulate import Simulator

from .asking import ask, chat, http

Simulate = Callable[..., Simulator]

OK = [{"role": "user", "content": "Hello there. How are you?"}]
INVALID: dict[str, Any] = {
    "no JSON": b"{",
    "nested beyond reason": b"[" * 100_000,
    "no UTF-8": b"\xff\xfe\xff",
    "no object": [1],
    "no model": {"messages": OK},
    "empty model": {"model": "", "messages": OK},
    "no messages": {"model": "simulated"},
    "empty messages": {"model": "simulated", "messages": []},
    "a message that is text": {"model": "simulated", "messages": ["hello"]},
    "a message without content": {"model": "simulated", "messages": [{"role": "user"}]},
    "an image": {"model": "simulated", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "n of 0": {"model": "simulated", "messages": OK, "n": 0},
    "n beyond reason": {"model": "simulated", "messages": OK, "n": 10**9},
    "n that is true": {"model": "simulated", "messages": OK, "n": True},
    "max_tokens of 0": {"model": "simulated", "messages": OK, "max_tokens": 0},
    "seed that is text": {"model": "simulated", "messages": OK, "seed": "1"},
    "stop that is a number": {"model": "simulated", "messages": OK, "stop": 1},
    "an empty stop": {"model": "simulated", "messages": OK, "stop": [""]},
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_body_is_refused(simulator: Simulator, body: Any) -> None:
    """A body that makes no sense gets 400 in OpenAI's shape, with a sentence, and is counted."""
    answer = ask(simulator, body)
    assert answer.status == 400
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", "invalid_body")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert simulator.stats()["by_status"] == {"400": 1}


def test_streaming_is_refused_by_name(simulator: Simulator) -> None:
    """A streaming request gets 400 and is told that streaming is what is not supported."""
    answer = ask(simulator, chat("Hello", stream=True))
    assert answer.status == 400
    assert "streaming" in answer.error["message"]
    assert ask(simulator, chat("Hello", stream=False)).status == 200


def test_null_fields_are_as_good_as_none(simulator: Simulator) -> None:
    """A client that sends null for what it leaves open is served."""
    unset = dict.fromkeys(("n", "max_tokens", "max_completion_tokens", "stop", "seed", "stream", "temperature"))
    assert len(ask(simulator, {**chat("Hello"), **unset}).contents) == 1


def test_unknown_fields_are_accepted(simulator: Simulator) -> None:
    """Fields that only some servers know, such as top_k, are no error here."""
    assert ask(simulator, chat("Hello", top_k=5, guided_json={}, user="me")).status == 200


def test_content_may_come_in_parts(simulator: Simulator) -> None:
    """A message whose content is a list of text parts is read as their text put together."""
    parts = [{"type": "text", "text": "One sentence. "}, {"type": "text", "text": "Another."}]
    whole, split = (
        ask(simulator, {"model": "simulated", "messages": [{"role": "user", "content": content}]}).contents
        for content in ("One sentence. Another.", parts)
    )
    assert whole == split


def test_half_a_surrogate_does_no_harm(simulator: Simulator) -> None:
    """Text that JSON can carry and UTF-8 cannot is answered like any other."""
    assert ask(simulator, chat("Begin with 'Paraphrased Text:'.", "Broken \ud800 text. Two. Three.")).status == 200


def test_an_unknown_model_is_not_found(simulate: Simulate) -> None:
    """A model it does not claim to have gets 404 model_not_found, and the message names the one it has."""
    answer = ask(simulate(model="mine"), chat("Hello"))
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "'mine'" in answer.error["message"]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_required_key_is_required(simulate: Simulate, key: str | None) -> None:
    """Without the right key chats and models get 401, and no message repeats a key."""
    simulator = simulate(api_key="right")
    for answer in (ask(simulator, chat("Hello"), key=key), http(f"{simulator.base_url}/models", key=key)):
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert "right" not in answer.error["message"]
    assert ask(simulator, chat("Hello"), key="right").status == 200
    assert http(f"{simulator.base_url}/models", key="right").status == 200


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/embeddings", "/", "/v2/chat/completions"])
def test_other_paths_are_not_there(simulator: Simulator, path: str) -> None:
    """What is not served gets 404 in OpenAI's shape, with the path that is; it is no chat and not counted."""
    answer = http(simulator.base_url.removesuffix("/v1") + path, {"model": "simulated", "prompt": "x"})
    assert answer.status == 404
    assert f"POST {path} is not there" in answer.error["message"]
    assert "/v1/chat/completions" in answer.error["message"]
    assert "/v1/completions" in answer.error["message"]
    assert simulator.stats()["requests"] == 0


def test_it_says_what_it_is(simulate: Simulate) -> None:
    """The list of models, its health and every answer's fingerprint say that this is no language model."""
    simulator = simulate(model="mine")
    (model,) = http(f"{simulator.base_url}/models").body["data"]
    health = http(simulator.base_url.removesuffix("v1") + "health").body
    assert model["id"] == "mine"
    assert "not a language model" in model["description"]
    assert health["status"] == "ok"
    assert "not-an-llm" in ask(simulator, {"model": "mine", "messages": OK}).body["system_fingerprint"]


def test_a_completion_has_every_field(simulator: Simulator) -> None:
    """An answer has the fields that clients rely on, and an id of its own each time."""
    one, other = (ask(simulator, chat("Hello")).body for _ in range(2))
    assert set(one) == {"id", "object", "created", "model", "choices", "system_fingerprint", "usage"}
    assert one["object"] == "chat.completion"
    assert one["id"].startswith("chatcmpl-")
    assert one["id"] != other["id"]
    assert one["choices"][0]["message"]["role"] == "assistant"


@pytest.fixture
def openai() -> Any:
    """The official client's package."""
    if find_spec("openai") is None:
        pytest.skip("the official client (openai) is not installed")
    return pytest.importorskip("openai")


def test_the_official_client_is_answered(openai: Any, simulator: Simulator) -> None:
    """The official client gets choices, usage and models as its own types, without a complaint."""
    with openai.OpenAI(base_url=simulator.base_url, api_key="any") as client:
        made = client.chat.completions.create(n=2, **chat("Begin with 'Paraphrased Text:'.", max_tokens=900))
        assert [choice.finish_reason for choice in made.choices] == ["stop", "stop"]
        assert made.choices[0].message.content != made.choices[1].message.content
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
        assert [model.id for model in client.models.list()] == ["simulated"]


def test_the_official_client_knows_its_errors(openai: Any, simulate: Simulate) -> None:
    """Each error reaches the official client as the exception it has for it."""

    def error_of(body: dict[str, Any] | None = None, **knobs: Any) -> Any:
        base_url = simulate(**knobs).base_url
        with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
            with pytest.raises(openai.APIError) as caught:
                client.chat.completions.create(**(body or chat("Hello")))
            return caught.type

    assert error_of(api_key="right") is openai.AuthenticationError
    assert error_of(model="mine") is openai.NotFoundError
    assert error_of(bad_request_rate=1.0) is openai.BadRequestError
    assert error_of(error_rate=1.0) is openai.InternalServerError
    assert error_of(error_rate=1.0, error_status=429) is openai.RateLimitError
    assert error_of(cut_rate=1.0) is openai.APIConnectionError


def test_the_official_client_retries(openai: Any, simulate: Simulate) -> None:
    """The official client's own retry after a 429 with Retry-After gets its answer."""
    simulator = simulate(rate_limit_per_s=1)
    with openai.OpenAI(base_url=simulator.base_url, api_key="any", max_retries=3) as client:
        for _ in range(2):
            assert client.chat.completions.create(**chat("Hello")).choices[0].message.content
    assert simulator.stats()["by_status"] == {"200": 2, "429": 1}
