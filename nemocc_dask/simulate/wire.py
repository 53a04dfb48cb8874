"""What is sent back: the shapes of completions and of the list of models, and how long an answer may be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nemocc_dask.simulate.knobs import Knobs

FINGERPRINT = "nemocc-dask-simulated-not-an-llm"
NO_LLM = "A simulation, not a language model: its answers are sentences of the document it was sent."
BYTES_A_TOKEN = 4
"""The simulation's token: a rule of thumb for English, so that it needs no tokenizer."""


@dataclass(frozen=True)
class Choice:
    """One answer and why it ended.

    reasoning: what is sent beside the content, None where such a thing is not sent.
    lost_tokens: tokens that were made and are sent nowhere; they are billed all the same.
    """

    content: str | None
    finish_reason: str
    reasoning: str | None = None
    lost_tokens: int = 0

    def tokens(self) -> int:
        """All that was made."""
        thought = 0 if self.reasoning is None else tokens(self.reasoning)
        return tokens(self.content or "") + thought + self.lost_tokens


def tokens(text: str) -> int:
    """About how many tokens a text has: its UTF-8 bytes by `BYTES_A_TOKEN`, rounded up.

    >>> tokens("naïve"), tokens("")
    (2, 0)
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_A_TOKEN)


def limited(content: str, *, stop: Sequence[str], max_tokens: int | None) -> tuple[str, str]:
    """The content up to the first stop string, and up to `max_tokens`, whichever comes first, and which it was.

    >>> limited("One. Two.", stop=["Two"], max_tokens=9), limited("One. Two.", stop=[], max_tokens=1)
    (('One. ', 'stop'), ('One.', 'length'))
    """
    ends = [at for at in map(content.find, stop) if at >= 0]
    kept = content[: min(ends)] if ends else content
    if max_tokens is None or tokens(kept) <= max_tokens:
        return kept, "stop"
    cut = kept.encode("utf-8", "surrogatepass")[: max_tokens * BYTES_A_TOKEN]
    return cut.decode("utf-8", "ignore"), "length"


def usage(prompt_tokens: int, choices: Sequence[Choice]) -> dict[str, Any]:
    """What is billed; with the tokens of reasoning where that is sent beside the content."""
    made = sum(choice.tokens() for choice in choices)
    billed: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": made,
        "total_tokens": prompt_tokens + made,
    }
    thought = [tokens(choice.reasoning) for choice in choices if choice.reasoning is not None]
    return {**billed, "completion_tokens_details": {"reasoning_tokens": sum(thought)}} if thought else billed


def completion(
    identity: str, model: str, choices: Sequence[Choice], billed: dict[str, Any] | None, *, plain: bool = False
) -> dict[str, Any]:
    """A completion of a chat or, if `plain`, of a text, complete enough for the official client.

    billed: what `usage` made; None leaves it out.
    """
    shape = _plain_choice if plain else _chat_choice
    body: dict[str, Any] = {
        "id": f"{'cmpl' if plain else 'chatcmpl'}-{identity}",
        "object": "text_completion" if plain else "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [shape(index, choice) for index, choice in enumerate(choices)],
        "system_fingerprint": FINGERPRINT,
    }
    return body if billed is None else {**body, "usage": billed}


def _chat_choice(index: int, choice: Choice) -> dict[str, Any]:
    message = {"role": "assistant", "content": choice.content, "refusal": None}
    if choice.reasoning is not None:
        message["reasoning_content"] = choice.reasoning
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def _plain_choice(index: int, choice: Choice) -> dict[str, Any]:
    return {"index": index, "text": choice.content, "logprobs": None, "finish_reason": choice.finish_reason}


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
