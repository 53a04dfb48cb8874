"""Replies as JSON: pure functions that no body can make raise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from nemocc_dask.llm.retry import Trouble

INT64_MAX = 2**63 - 1

THINK, END_OF_THINKING = "<think>", "</think>"
"""How a reasoning model sets its thoughts off where its server leaves them in the text."""


class Choice(NamedTuple):
    """One answer in a reply: its text, why it ended, and what the model thought before it."""

    text: str | None
    finish_reason: str | None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable response: at least one choice.

    model and the counts of tokens: None where the endpoint does not say, or says nonsense.
    """

    choices: list[Choice]
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None = None

    @property
    def tokens(self) -> int | None:
        """As billed, both ways."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


def parse_reply(status: int, payload: bytes) -> Reply | Trouble:
    """Reads the body of a successful response; choices without a readable message are left out.

    `bad_body`: no JSON object, or none of its choices has a message whose content is a string or null (or, from an
    endpoint that completes texts, a text).
    `no_choices`: an object whose list of choices is missing or empty.

    >>> parse_reply(200, b'{"choices": [{"message": {"content": "Hi"}}]}').choices
    [Choice(text='Hi', finish_reason=None, reasoning=None)]
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
        reasoning_tokens=_count(_as_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def _parse_choice(choice: Any) -> Choice | None:
    if not isinstance(choice, dict):
        return None
    finish_reason = _text(choice.get("finish_reason"))
    message = choice.get("message")
    if message is None and isinstance(choice.get("text"), str):
        return _without_thoughts(_text(choice["text"]), finish_reason)
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        return None
    thoughts = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    return (
        Choice(_text(content), finish_reason, thoughts)
        if thoughts
        else _without_thoughts(_text(content), finish_reason)
    )


def _without_thoughts(text: str | None, finish_reason: str | None) -> Choice:
    """Sets apart what stands before the end of thinking, or, where it never ended, after its beginning.

    The beginning may be missing: some chat templates hold it, so that the answer starts amid thoughts.

    >>> _without_thoughts("<think>Hm.</think>\\n\\nYes.", "stop")
    Choice(text='Yes.', finish_reason='stop', reasoning='Hm.')
    """
    if text is None or (END_OF_THINKING not in text and THINK not in text):
        return Choice(text, finish_reason)
    begins = text.lstrip().startswith(THINK)
    thoughts, ended, answer = text.partition(END_OF_THINKING)
    if ended and (begins or THINK not in thoughts):
        return Choice(answer.lstrip(), finish_reason, thoughts.replace(THINK, "", 1).strip())
    if begins:
        return Choice("", finish_reason, text.lstrip().removeprefix(THINK).strip())
    return Choice(text, finish_reason)


def error_code(payload: bytes) -> str | None:
    """The `error.code` of an error body, where it is a string.

    >>> error_code(b'{"error": {"code": "model_not_found", "message": "No such model"}}')
    'model_not_found'
    """
    return _text(_error(payload).get("code"))


def error_param(payload: bytes) -> str | None:
    """The `error.param` of an error body: the field of the request that the endpoint takes offence at.

    >>> error_param(b'{"error": {"param": "max_tokens", "code": "unsupported_parameter"}}')
    'max_tokens'
    """
    return _text(_error(payload).get("param"))


def _error(payload: bytes) -> dict[str, Any]:
    """The object that describes the error; some servers put its fields into the body itself."""
    body = _as_dict(from_json(payload))
    return _as_dict(body.get("error", body))


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
