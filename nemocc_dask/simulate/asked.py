"""What was asked for: a request's bytes to a checked record, the same one for chats and for plain prompts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nemocc_dask.simulate.prompt import Message, Prompt, read_prompt, read_text_prompt
from nemocc_dask.simulate.refusals import RefusedError
from nemocc_dask.simulate.structured import WantedJson, wanted_json
from nemocc_dask.simulate.wire import tokens

MOST_N = 128
"""OpenAI's own bound on `n`."""
PLAIN_MAX_TOKENS = 16
"""Of a plain completion whose request does not say, as OpenAI and vLLM have it; a chat has no such bound."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the simulation reads of a request; other fields are accepted, and make it another request.

    messages: of a chat; the text of a plain completion as one message of the user.
    plain: whether it is a completion of a text and not of a chat.
    old_name: whether the field `max_tokens` was sent, whatever it said.
    json: the JSON that is wanted as an answer, None where text is.
    """

    model: str
    messages: tuple[Message, ...]
    n: int
    max_tokens: int | None
    stop: tuple[str, ...]
    seed: int | None
    plain: bool = False
    old_name: bool = False
    json: WantedJson | None = None

    def text(self) -> bytes:
        """All messages, as bytes that tell different chats apart."""
        said = "\0".join(f"{message.role}\0{message.content}" for message in self.messages)
        return said.encode("utf-8", "surrogatepass")

    def prompt(self) -> Prompt:
        """The instructions and the document."""
        return read_text_prompt(self.messages[0].content) if self.plain else read_prompt(self.messages)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all that was sent."""
        return sum(tokens(message.content) for message in self.messages)


def read_chat(raw: bytes) -> Asked:
    """The chat in `raw`; raises `RefusedError` (400), naming the field that is wrong."""
    body = _object(raw)
    newer_name = body.get("max_completion_tokens")
    return Asked(
        messages=_messages(body.get("messages")),
        max_tokens=_whole(body.get("max_tokens") if newer_name is None else newer_name, "max_tokens", least=1),
        old_name=body.get("max_tokens") is not None,
        json=wanted_json(body.get("response_format")),
        **_common(body),
    )


def read_plain(raw: bytes) -> Asked:
    """The plain completion in `raw`; raises `RefusedError` (400), naming the field that is wrong."""
    body = _object(raw)
    return Asked(
        messages=(Message("user", _text(body.get("prompt"), "prompt")),),
        max_tokens=_whole(body.get("max_tokens"), "max_tokens", least=1) or PLAIN_MAX_TOKENS,
        plain=True,
        **_common(body),
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise RefusedError.invalid("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise RefusedError.invalid("The body has to be a JSON object.")
    if body.get("stream"):
        raise RefusedError.invalid("The simulated endpoint does not support streaming; leave out `stream`.")
    return body


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": _text(body.get("model"), "model"),
        "n": _whole(body.get("n", 1), "n", least=1, most=MOST_N) or 1,
        "stop": _stops(body.get("stop")),
        "seed": _whole(body.get("seed"), "seed"),
    }


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
