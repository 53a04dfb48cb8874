"""The faults of the simulated endpoint: when each happens, and what garbage looks like."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nemocc_dask.simulate.dice import Dice, digest, share
from nemocc_dask.simulate.knobs import Knobs
from nemocc_dask.simulate.wire import ChatRequest

CUT, ERROR, CUT_AFTER_HEADERS, GARBAGE = "cut", "error", "cut_after_headers", "garbage"
FAULTS = (CUT, ERROR, CUT_AFTER_HEADERS, GARBAGE)
"""Faults of a whole attempt, in the order in which they are tried; knob `<name>_rate` holds the rate."""
TRUNCATE, EMPTY, BAD_REQUEST = "truncate", "empty", "bad_request"


class Faults:
    """Draws faults from the knobs' seed: the same attempt at the same body always meets the same fate."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._seed = b"%d" % knobs.seed

    def strikes(self, fault: str, body: bytes, attempt: int, choice: int = 0) -> bool:
        """Whether this fault happens at this attempt at this body (and, for some faults, to this choice)."""
        rate: float = getattr(self._knobs, f"{fault}_rate")
        return rate > 0 and self._drawn(fault, body, attempt, choice) < rate

    def refuses(self, asked: ChatRequest) -> bool:
        """Whether this prompt is refused for good, whatever else its request says, however often it comes."""
        return self._knobs.bad_request_rate > 0 and self.strikes(BAD_REQUEST, digest(asked.text()), attempt=0)

    def first(self, body: bytes, attempt: int) -> str | None:
        """The first fault of a whole attempt that happens, if any."""
        return next((fault for fault in FAULTS if self.strikes(fault, body, attempt)), None)

    def latency_s(self, body: bytes, attempt: int) -> float:
        """Seconds this attempt takes: latency_s, evenly spread by latency_jitter_s either way, at least 0."""
        spread = self._knobs.latency_jitter_s
        swing = spread * (2 * self._drawn("latency", body, attempt, 0) - 1) if spread else 0.0
        return max(0.0, self._knobs.latency_s + swing)

    def _drawn(self, name: str, body: bytes, attempt: int, choice: int) -> float:
        return share(self._seed, name.encode(), body, b"%d" % attempt, b"%d" % choice)


def _with_message(completion: dict[str, Any], content: object) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {**completion, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


GARBAGE_KINDS: tuple[Callable[[dict[str, Any]], bytes], ...] = (
    lambda completion: _encoded(completion)[:-20],
    lambda _: b"<html><body>Bad gateway</body></html>",
    lambda _: b"",
    lambda completion: _encoded([completion]),
    lambda _: _encoded({"object": "chat.completion"}),
    lambda completion: _encoded({**completion, "choices": []}),
    lambda completion: _encoded({**completion, "choices": {"0": "text"}}),
    lambda completion: _encoded({**completion, "choices": [{"index": 0, "finish_reason": "stop"}]}),
    lambda completion: _encoded(_with_message(completion, None)),
    lambda completion: _encoded(_with_message(completion, {"text": "not a string"})),
)
"""Ways to spoil a completion: no JSON, wrong shapes, no choices, null content."""


def garbage(completion: dict[str, Any], dice: Dice) -> bytes:
    """Something that is no chat completion, made from one."""
    return dice.pick(GARBAGE_KINDS)(completion)
