"""The JSON of the chat-completions protocol, both ways: pure functions that no body can make raise."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from nemocc_dask.errors import SettingError
from nemocc_dask.llm.results import ChatRequest
from nemocc_dask.llm.retry import Trouble
from nemocc_dask.settings import GenerationConfig

SAMPLING_FIELDS = tuple(name for name in GenerationConfig.model_fields if name != "extra_kwargs")
"""Settings that reach the wire under their own names."""

REQUEST_KEY_CHARACTERS = 32
"""128 bits of SHA-256: among 10^12 requests two share a key with a chance below 10^-14."""

INT64_MAX = 2**63 - 1


def request_body(model: str, request: ChatRequest) -> dict[str, Any]:
    """The fields of the HTTP body: model, messages, every sampling field that is not None, then
    `extra_kwargs`.

    The seed on the wire is `sampling.seed + sample`; no seed stays no seed.

    >>> from nemocc_dask.llm.results import Message
    >>> sampling = GenerationConfig(seed=7, stop="END", temperature=None, top_p=None, extra_kwargs={"a": 1})
    >>> body = request_body("m", ChatRequest((Message("user", "Hi"),), sampling, sample=2))
    >>> body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}],
    ...          "n": 1, "seed": 9, "stop": ["END"], "a": 1}
    True
    """
    sampling = request.sampling
    messages = [{"role": role, "content": content} for role, content in request.messages]
    body: dict[str, Any] = {"model": model, "messages": messages}
    body.update((name, value) for name in SAMPLING_FIELDS if (value := getattr(sampling, name)) is not None)
    if sampling.seed is not None:
        body["seed"] = sampling.seed + request.sample
    if sampling.stop is not None:
        body["stop"] = list(sampling.stop)
    return body | sampling.extra_kwargs


def request_key(model: str, request: ChatRequest, choice: int = 0) -> str:
    """Identity of answer number `choice` of a request: 32 hexadecimal characters, the same on every host.

    It is made of the body as it would be sent for that one answer alone (so `n` is left out and the seed is
    that answer's own) and of the sample number: an answer got with n=1 is found again when n=3 is asked for
    later. Neither the endpoint's address nor the key has a part in it.

    >>> from nemocc_dask.llm.results import Message
    >>> three = ChatRequest((Message("user", "Hi"),), GenerationConfig(n=3))
    >>> request_key("m", three, choice=2) == request_key("m", three.rest(2))
    True
    >>> request_key("m", three) == request_key("other", three)
    False
    """
    alone = replace(request, sample=request.sample + choice)
    body = request_body(model, alone)
    body.pop("n", None)
    canonical = to_json({"request": body, "sample": alone.sample}, sort_keys=True)
    return hashlib.sha256(canonical).hexdigest()[:REQUEST_KEY_CHARACTERS]


def to_json(fields: dict[str, Any], *, sort_keys: bool = False) -> bytes:
    """JSON in ASCII, without spaces; half a surrogate pair in a text is written as an escape and harms
    nothing.

    Raises `SettingError` where `extra_kwargs`, the only fields of unknown type, hold what JSON cannot.
    """
    try:
        return json.dumps(fields, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(
            f"GenerationConfig: extra_kwargs cannot be written as JSON: {error}. "
            "Use strings, finite numbers, booleans, None, lists and dictionaries with string keys."
        ) from None


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable response: at least one choice, each a text and a finish reason.

    model, prompt_tokens, completion_tokens: None where the endpoint does not say, or says nonsense.
    """

    choices: list[tuple[str | None, str | None]]
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def parse_reply(status: int, payload: bytes) -> Reply | Trouble:
    """Reads the body of a successful response; choices without a readable message are left out.

    `bad_body`: no JSON object, or none of its choices has a message whose content is a string or null.
    `no_choices`: an object whose list of choices is missing or empty.

    >>> parse_reply(200, b'{"choices": [{"message": {"content": "Hi"}}]}').choices
    [('Hi', None)]
    >>> parse_reply(200, b"<html>").reason, parse_reply(200, b"{}").reason
    ('bad_body', 'no_choices')
    """
    body = from_json(payload)
    if not isinstance(body, dict):
        return Trouble("bad_body", status, error_words(payload))
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return Trouble("no_choices", status, error_words(payload))
    readable = [parsed for choice in choices if (parsed := _parse_choice(choice)) is not None]
    if not readable:
        return Trouble("bad_body", status, error_words(payload))
    usage = _as_dict(body.get("usage"))
    return Reply(
        choices=readable,
        model=_text(body.get("model")) or None,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _parse_choice(choice: Any) -> tuple[str | None, str | None] | None:
    message = _as_dict(choice).get("message")
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        return None
    return _text(content), _text(choice.get("finish_reason"))


def error_code(payload: bytes) -> str | None:
    """The `error.code` of an error body, where it is a string.

    >>> error_code(b'{"error": {"code": "model_not_found", "message": "No such model"}}')
    'model_not_found'
    """
    return _text(_as_dict(_as_dict(from_json(payload)).get("error")).get("code"))


def error_words(payload: bytes) -> str:
    """What an endpoint says in its own words: the message of the usual shapes of error bodies, else the body
    itself.

    >>> error_words(b'{"error": {"message": "Too long"}}'), error_words(b"Oops")
    ('Too long', 'Oops')
    """
    body = _as_dict(from_json(payload))
    error = body.get("error")
    for words in (_as_dict(error).get("message"), error, body.get("message"), body.get("detail")):
        if isinstance(words, str) and words:
            return words
    return payload.decode("utf-8", "replace")


def from_json(payload: bytes) -> Any:
    """The parsed body, or None where it is no JSON (which is then no dictionary either)."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """A string that encodes as UTF-8: a cut-off answer may end in half a surrogate, which Arrow refuses."""
    if not isinstance(value, str):
        return None
    if value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= INT64_MAX else None
