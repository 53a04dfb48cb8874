"""What the simulated endpoint is told to be like: how slow, how faulty, how strict.

Each knob is one row below: its default, what it may be, and a line of help to make a command line from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from nemocc_dask.errors import SettingError


@dataclass(frozen=True)
class Rule:
    """What a knob may be, as a test and in words."""

    holds: Callable[[Any], bool]
    words: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


SHARE = Rule(lambda value: _is_number(value) and 0 <= value <= 1, "a share from 0 to 1")
NOT_NEGATIVE = Rule(lambda value: _is_number(value) and value >= 0, "a finite number, 0 or more")
COUNT = Rule(lambda value: _is_whole(value) and value >= 0, "a whole number, 0 or more")
WHOLE = Rule(_is_whole, "a whole number")
ERROR_STATUS = Rule(lambda value: _is_whole(value) and 400 <= value <= 599, "an HTTP status from 400 to 599")
SWITCH = Rule(lambda value: isinstance(value, bool), "True or False")
NAME = Rule(lambda value: isinstance(value, str) and value != "", "a string that is not empty")
SIGMA = Rule(lambda value: _is_number(value) and 0 <= value <= 4, "a number from 0 to 4")
KEY_OR_NONE = Rule(lambda value: value is None or NAME.holds(value), "a string that is not empty, or None")


LIMITS, NONE, SECONDS, DATE = "limits", "none", "seconds", "date"
"""When a refusal says how long to wait, and in which form; `LIMITS` is in seconds, from a limit that knows it."""
CONTENT, THINK, OPEN = "content", "think", "open"
"""Where a model's reasoning stands: a field of its own, between two tags, or before a closing tag alone."""


def _one_of(*known: str) -> Rule:
    return Rule(lambda value: value in known, f"one of {', '.join(known)}")


def _knob(default: Any, rule: Rule, text: str, *, shown: bool = True) -> Any:
    return field(default=default, repr=shown, metadata={"rule": rule, "help": text})


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Frozen settings of a simulated endpoint; the defaults are a fast one without faults.

    Faults are drawn from a hash of `seed`, the fault's name, the request's body and how often that body was
    sent before: the same job meets the same faults again, and a retry may succeed. Of several faults switched
    on, the first one drawn happens, in the order of `nemocc_dask.simulate.faults.FAULTS`. What becomes of an
    answer is drawn for each answer of a request by itself, in the order of `nemocc_dask.simulate.spoiling.SPOILS`.

    Raises `SettingError`, which names the knob.

    >>> Knobs(latency_s=0.2, error_rate=0.05).error_status
    500
    """

    latency_s: float = _knob(0.0, NOT_NEGATIVE, "Seconds until an answer comes.")
    latency_jitter_s: float = _knob(0.0, NOT_NEGATIVE, "Most seconds by which a latency differs, either way.")
    latency_sigma: float = _knob(
        0.0, SIGMA, "Spread of log-normal latencies, as the deviation of their logarithm; the mean stays --latency."
    )
    saturates_at: int = _knob(
        0, COUNT, "Requests at once beyond which all get slower in proportion, none refused; 0 is never."
    )
    slots: int = _knob(0, COUNT, "Requests in work beyond which the next gets 429 at once; 0 is no bound.")
    error_rate: float = _knob(0.0, SHARE, "Share of attempts answered with --error-status.")
    error_status: int = _knob(500, ERROR_STATUS, "The HTTP status of those errors.")
    bad_request_rate: float = _knob(0.0, SHARE, "Share of prompts refused with 400, always the same ones.")
    rate_limit_per_s: float = _knob(0.0, NOT_NEGATIVE, "Requests a second beyond which 429 comes; 0 is no limit.")
    requests_per_minute: int = _knob(0, COUNT, "Requests in 60 s, sliding, beyond which 429 comes; 0 is no limit.")
    tokens_per_minute: int = _knob(
        0, COUNT, "Tokens in 60 s, prompt and most answer tokens on arrival, billed ones once answered; 0 is no limit."
    )
    retry_after: str = _knob(
        LIMITS,
        _one_of(LIMITS, NONE, SECONDS, DATE),
        "Retry-After of 429 and 503: limits (seconds, from limits that know it), none, seconds or date.",
    )
    fails_after: int = _knob(
        0, COUNT, "Requests after which it dies, closing all connections until POST /revive; 0 is never."
    )
    hang_rate: float = _knob(0.0, SHARE, "Share of attempts that never get an answer.")
    cut_rate: float = _knob(0.0, SHARE, "Share of attempts whose connection is closed without an answer.")
    cut_after_headers_rate: float = _knob(0.0, SHARE, "Share of attempts cut off after the headers and half a body.")
    garbage_rate: float = _knob(0.0, SHARE, "Share of attempts answered 200 with something that is no completion.")
    no_choices_rate: float = _knob(0.0, SHARE, "Share of attempts answered 200 without any choice.")
    truncate_rate: float = _knob(0.0, SHARE, "Share of answers that stop half-way with finish_reason length.")
    empty_rate: float = _knob(0.0, SHARE, "Share of answers whose content is empty.")
    null_rate: float = _knob(0.0, SHARE, "Share of answers whose content is null, though it is billed.")
    content_filter_rate: float = _knob(
        0.0, SHARE, "Share of answers cut off half-way with finish_reason content_filter."
    )
    bad_json_rate: float = _knob(
        0.0, SHARE, "Share of answers to a response_format that are no JSON or break the schema."
    )
    reasoning: str = _knob(
        NONE,
        _one_of(NONE, CONTENT, THINK, OPEN),
        "Reasoning before answers: none, content (in reasoning_content), think (<think> tags), open (</think> alone).",
    )
    no_usage: bool = _knob(False, SWITCH, "Leave the token usage out of answers.")
    api_key: str | None = _knob(None, KEY_OR_NONE, "The key that has to be sent; None asks for none.", shown=False)
    model: str = _knob("simulated", NAME, "Name of the one model it claims to have.")
    wants_max_completion_tokens: bool = _knob(False, SWITCH, "Refuse chats that send max_tokens, with 400.")
    refuses_n: bool = _knob(False, SWITCH, "Refuse requests for more than one answer, with 400.")
    max_n: int = _knob(0, COUNT, "Most answers to one request, however many were asked for; 0 is no bound.")
    seed: int = _knob(0, WHOLE, "Seed of the faults, and of the answers to requests that send no seed.")

    def __post_init__(self) -> None:
        for knob in fields(self):
            value, rule = getattr(self, knob.name), knob.metadata["rule"]
            if not rule.holds(value):
                raise SettingError(
                    f"Knob {knob.name} of the simulated endpoint is {value!r}; it has to be {rule.words}."
                )
