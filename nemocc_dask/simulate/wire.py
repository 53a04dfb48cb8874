"""The chat completions protocol: a request's bytes to a checked record, and every shape that is sent back."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nemocc_dask.simulate.knobs import Knobs
from nemocc_dask.simulate.prompt import Message

FINGERPRINT = "nemocc-dask-simulated-not-an-llm"
NO_LLM = "A simulation, not a language model: its answers are sentences of the document it was sent."
MOST_N = 128
"""OpenAI's own bound on `n`."""
BYTES_A_TOKEN = 4
"""The simulation's token: a rule of thumb for English, so that it needs no tokenizer."""


class RefusedError(Exception):
    """A request that gets an error at once, in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, kind: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind=kind, code=code)

    @classmethod
    def invalid(cls, message: str) -> RefusedError:
        """The body makes no sense."""
        return cls(400, message, kind="invalid_request_error", code="invalid_body")

    @classmethod
    def key(cls) -> RefusedError:
        """The key is missing or wrong."""
        message = "The simulated endpoint asks for a key; send it as `Authorization: Bearer KEY`."
        return cls(401, message, kind="invalid_request_error", code="invalid_api_key")

    @classmethod
    def model(cls, asked: str, known: str) -> RefusedError:
        """It has another model."""
        message = f"There is no model {asked!r} here; the simulated endpoint has {known!r}."
        return cls(404, message, kind="invalid_request_error", code="model_not_found")

    @classmethod
    def path(cls, method: str, path: str) -> RefusedError:
        """Nothing is served there."""
        message = f"{method} {path} is not there. The simulated endpoint answers POST /v1/chat/completions."
        return cls(404, message, kind="invalid_request_error", code="not_found")


def error_body(message: str, *, kind: str, code: str | None) -> bytes:
    """OpenAI's shape of an error."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """What the simulation reads of a request; other fields are accepted, and make it another request."""

    model: str
    messages: tuple[Message, ...]
    n: int
    max_tokens: int | None
    stop: tuple[str, ...]
    seed: int | None

    def text(self) -> bytes:
        """All messages, as bytes that tell different chats apart."""
        said = "\0".join(f"{message.role}\0{message.content}" for message in self.messages)
        return said.encode("utf-8", "surrogatepass")


def read_request(raw: bytes) -> ChatRequest:
    """The request in `raw`; raises `RefusedError` (400), naming the field that is wrong."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise RefusedError.invalid("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise RefusedError.invalid("The body has to be a JSON object.")
    if body.get("stream"):
        raise RefusedError.invalid("The simulated endpoint does not support streaming; leave out `stream`.")
    newer_name = body.get("max_completion_tokens")
    return ChatRequest(
        model=_text(body.get("model"), "model"),
        messages=_messages(body.get("messages")),
        n=_whole(body.get("n", 1), "n", least=1, most=MOST_N) or 1,
        max_tokens=_whole(body.get("max_tokens") if newer_name is None else newer_name, "max_tokens", least=1),
        stop=_stops(body.get("stop")),
        seed=_whole(body.get("seed"), "seed"),
    )


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise RefusedError.invalid(f"`{field}` has to be a string that is not empty.")
    return value


def _whole(value: Any, field: str, *, least: float = -math.inf, most: float = math.inf) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedError.invalid(f"`{field}` is {json.dumps(value)[:100]}; it has to be a whole number in its range.")
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise RefusedError.invalid("`stop` has to be a string or a list of strings, none of them empty.")
    return tuple(stops)


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise RefusedError.invalid("`messages` has to be a list with at least one message.")
    return tuple(_message(message) for message in value)


def _message(value: Any) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise RefusedError.invalid("A message has to be an object with a `role` and a `content`.")
    content = value.get("content")
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    if not isinstance(content, str):
        raise RefusedError.invalid("A message's `content` has to be a string or a list of text parts.")
    return Message(role=value["role"], content=content)


def _part(value: Any) -> str:
    if not isinstance(value, dict) or value.get("type") != "text" or not isinstance(value.get("text"), str):
        raise RefusedError.invalid("A part of a message's `content` has to be {'type': 'text', 'text': ...}.")
    return str(value["text"])


@dataclass(frozen=True)
class Choice:
    """One answer and why it ended."""

    content: str
    finish_reason: str


def tokens(text: str) -> int:
    """About how many tokens a text has: its UTF-8 bytes by `BYTES_A_TOKEN`, rounded up.

    >>> tokens("naïve"), tokens("")
    (2, 0)
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_A_TOKEN)


def limited(content: str, *, stop: Sequence[str], max_tokens: int | None) -> Choice:
    """The content up to the first stop string, and up to `max_tokens`, whichever comes first.

    >>> limited("One. Two.", stop=["Two"], max_tokens=9), limited("One. Two.", stop=[], max_tokens=1)
    (Choice(content='One. ', finish_reason='stop'), Choice(content='One.', finish_reason='length'))
    """
    ends = [at for at in map(content.find, stop) if at >= 0]
    kept = content[: min(ends)] if ends else content
    if max_tokens is None or tokens(kept) <= max_tokens:
        return Choice(kept, "stop")
    cut = kept.encode("utf-8", "surrogatepass")[: max_tokens * BYTES_A_TOKEN]
    return Choice(cut.decode("utf-8", "ignore"), "length")


def completion(identity: str, model: str, choices: Sequence[Choice], usage: dict[str, int] | None) -> dict[str, Any]:
    """A chat completion, complete enough for the official client; without `usage` where it is None."""
    body: dict[str, Any] = {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(index, choice) for index, choice in enumerate(choices)],
        "system_fingerprint": FINGERPRINT,
    }
    return body if usage is None else {**body, "usage": usage}


def _choice(index: int, choice: Choice) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": choice.content, "refusal": None},
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }


def model_list(knobs: Knobs) -> dict[str, Any]:
    """The answer to GET /v1/models, which says what this is."""
    model = {
        "id": knobs.model,
        "object": "model",
        "created": 0,
        "owned_by": "nemocc-dask",
        "description": NO_LLM,
    }
    return {"object": "list", "data": [model]}
