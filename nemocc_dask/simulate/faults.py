"""The faults of the simulated endpoint: when each happens, and what garbage looks like."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from statistics import NormalDist
from typing import Any

from nemocc_dask.simulate.asked import Asked
from nemocc_dask.simulate.dice import Dice, digest, share
from nemocc_dask.simulate.knobs import Knobs

HANG, CUT, ERROR, CUT_AFTER_HEADERS = "hang", "cut", "error", "cut_after_headers"
GARBAGE, NO_CHOICES = "garbage", "no_choices"
FAULTS = (HANG, CUT, ERROR, CUT_AFTER_HEADERS, GARBAGE, NO_CHOICES)
"""Faults of a whole attempt, in the order in which they are tried; knob `<name>_rate` holds the rate."""
BAD_REQUEST, DEAD = "bad_request", "dead"
_NEAREST = 2.0**-53
"""How near to 0 and 1 a draw may come, so that its normal deviate is finite: at most 8.2."""
_NORMAL = NormalDist()


class Faults:
    """Draws faults from the knobs' seed: the same attempt at the same body always meets the same fate."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._seed = b"%d" % knobs.seed
        rates = {field.name: getattr(knobs, field.name) for field in fields(knobs)}
        self._rates = {
            name.removesuffix("_rate"): rate for name, rate in rates.items() if name.endswith("_rate") and rate
        }
        self.none = not self._rates
        self._whole = [fault for fault in FAULTS if self.may(fault)]

    def may(self, fault: str) -> bool:
        """Whether this fault ever happens."""
        return fault in self._rates

    def strikes(self, fault: str, body: bytes, attempt: int, choice: int = 0) -> bool:
        """Whether this fault happens at this attempt at this body (and, for some faults, to this choice)."""
        return self.may(fault) and self._drawn(fault, body, attempt, choice) < self._rates[fault]

    def refuses(self, asked: Asked) -> bool:
        """Whether this prompt is refused for good, whatever else its request says, however often it comes."""
        return self.may(BAD_REQUEST) and self.strikes(BAD_REQUEST, digest(asked.text()), attempt=0)

    def first(self, body: bytes, attempt: int) -> str | None:
        """The first fault of a whole attempt that happens, if any."""
        return next((fault for fault in self._whole if self.strikes(fault, body, attempt)), None)

    def latency_s(self, body: bytes, attempt: int) -> float:
        """Seconds this attempt takes: latency_s · exp(σz - σ²/2) + latency_jitter_s · u, at least 0.

        σ is latency_sigma, z normal and u even between -1 and 1, both drawn; the mean is latency_s.
        """
        sigma, spread = self._knobs.latency_sigma, self._knobs.latency_jitter_s
        latency_s = self._knobs.latency_s
        if sigma:
            drawn = self._drawn("latency_sigma", body, attempt, 0)
            z = _NORMAL.inv_cdf(min(max(drawn, _NEAREST), 1 - _NEAREST))
            latency_s *= math.exp(sigma * z - sigma**2 / 2)
        if spread:
            latency_s += spread * (2 * self._drawn("latency", body, attempt, 0) - 1)
        return max(0.0, latency_s)

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
