"""The simulated endpoint without HTTP: from a request's bytes to the reply that it gets, when it gets it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from nemocc_dask.simulate import faults, wire
from nemocc_dask.simulate.answers import Format, answer_to, format_of
from nemocc_dask.simulate.dice import Dice, digest
from nemocc_dask.simulate.faults import Faults
from nemocc_dask.simulate.knobs import Knobs
from nemocc_dask.simulate.prompt import Prompt, read_prompt
from nemocc_dask.simulate.stats import Reply, Stats
from nemocc_dask.simulate.throttle import Throttle
from nemocc_dask.simulate.wire import ChatRequest, Choice, RefusedError

TRIES_TO_DIFFER = 4
"""How often a choice that equals an earlier one is drawn again: a short document holds few answers."""


class Simulation:
    """One endpoint: its knobs, and what it has seen so far."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self._faults = Faults(knobs)
        self.reset()

    def reset(self) -> None:
        """Forgets everything it has seen: from here on it behaves like a new one."""
        self.stats = Stats(time.monotonic)
        self._throttle = Throttle(self.knobs.rate_limit_per_s, time.monotonic)

    async def reply(self, raw: bytes, authorization: str | None, stats: Stats) -> Reply:
        """The reply to one chat completion; refusals come at once, everything else after the latency.

        stats: the counts the request arrived in; they are the present ones unless a reset came in between.
        """
        try:
            asked = self._admitted(raw, authorization)
        except RefusedError as refused:
            return Reply(status=refused.status, body=refused.body)
        if wait_s := self._throttle.wait_s():
            return _too_many(wait_s)
        if self._faults.refuses(asked):
            return _refused_content()
        body = digest(raw)
        return await self._delayed(asked, body, stats.asked(body))

    def check_key(self, authorization: str | None) -> None:
        """Raises `RefusedError` where a key is required and was not sent."""
        if self.knobs.api_key is not None and authorization != f"Bearer {self.knobs.api_key}":
            raise RefusedError.key()

    def _admitted(self, raw: bytes, authorization: str | None) -> ChatRequest:
        self.check_key(authorization)
        asked = wire.read_request(raw)
        if asked.model != self.knobs.model:
            raise RefusedError.model(asked.model, self.knobs.model)
        return asked

    async def _delayed(self, asked: ChatRequest, body: bytes, attempt: int) -> Reply:
        """The reply, once its latency is over; the work is part of the latency and does not add to it."""
        due = time.monotonic() + self._faults.latency_s(body, attempt)
        reply = self._attempted(asked, body, attempt)
        if (left_s := due - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        return reply

    def _attempted(self, asked: ChatRequest, body: bytes, attempt: int) -> Reply:
        match self._faults.first(body, attempt):
            case faults.CUT:
                return Reply(status=None, fault=faults.CUT)
            case faults.ERROR:
                return _error(self.knobs.error_status)
            case fault:
                return self._answered(asked, body, attempt, fault)

    def _answered(self, asked: ChatRequest, body: bytes, attempt: int, fault: str | None) -> Reply:
        """An answer, perhaps spoilt: garbage counts as answered, yet not as a proper answer to this body."""
        prompt = read_prompt(asked.messages)
        wanted = format_of(prompt.instructions)
        drawn = _choices(asked, prompt, wanted, self._seed_of(asked), self._count(asked))
        choices, spoilt = self._spoilt(drawn, body, attempt)
        usage = _usage(asked, choices)
        identity = f"{body.hex()}-{attempt}"
        completion = wire.completion(identity, asked.model, choices, None if self.knobs.no_usage else usage)
        if fault == faults.CUT_AFTER_HEADERS:
            return Reply(status=None, body=json.dumps(completion).encode(), fault=fault)
        if fault == faults.GARBAGE:
            spoilt_body = faults.garbage(completion, Dice(digest(b"garbage", body, b"%d" % attempt)))
            return Reply(status=200, body=spoilt_body, fault=fault, task=wanted.name)
        return Reply(
            status=200,
            body=json.dumps(completion).encode(),
            fault=spoilt,
            task=wanted.name,
            digest=body,
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )

    def _seed_of(self, asked: ChatRequest) -> int:
        return self.knobs.seed if asked.seed is None else asked.seed

    def _count(self, asked: ChatRequest) -> int:
        return min(asked.n, self.knobs.max_n) if self.knobs.max_n else asked.n

    def _spoilt(self, choices: Sequence[Choice], body: bytes, attempt: int) -> tuple[list[Choice], str | None]:
        """The choices, some truncated or emptied as the knobs say, and which of the two happened last."""
        kept, happened = list(choices), None
        for at, choice in enumerate(choices):
            if self._faults.strikes(faults.EMPTY, body, attempt, at):
                kept[at], happened = Choice("", "stop"), faults.EMPTY
            elif self._faults.strikes(faults.TRUNCATE, body, attempt, at):
                kept[at], happened = (
                    Choice(choice.content[: len(choice.content) // 2], "length"),
                    faults.TRUNCATE,
                )
        return kept, happened


def _choices(asked: ChatRequest, prompt: Prompt, wanted: Format, seed: int, count: int) -> list[Choice]:
    """`count` answers, drawn from chat, seed and their number; they differ where the document allows it."""
    chat = digest(asked.text(), b"%d" % seed)
    contents: list[str] = []
    for index in range(count):
        for again in range(TRIES_TO_DIFFER):
            key = digest(chat, b"%d.%d" % (index, again))
            content = answer_to(prompt, wanted, Dice(key))
            if content not in contents:
                break
        contents.append(content)
    return [wire.limited(content, stop=asked.stop, max_tokens=asked.max_tokens) for content in contents]


def _usage(asked: ChatRequest, choices: Sequence[Choice]) -> dict[str, int]:
    sent = sum(wire.tokens(message.content) for message in asked.messages)
    made = sum(wire.tokens(choice.content) for choice in choices)
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}


def _too_many(wait_s: int) -> Reply:
    body = wire.error_body(
        f"Simulated rate limit: try again in {wait_s} s.", kind="rate_limit_error", code="rate_limit_exceeded"
    )
    return Reply(status=429, body=body, headers={"Retry-After": str(wait_s)})


def _refused_content() -> Reply:
    body = wire.error_body(
        "Simulated refusal: this prompt is never accepted.",
        kind="invalid_request_error",
        code="invalid_prompt",
    )
    return Reply(status=400, body=body, fault=faults.BAD_REQUEST)


def _error(status: int) -> Reply:
    body = wire.error_body(f"Simulated error {status}.", kind="server_error", code="simulated_error")
    return Reply(status=status, body=body, fault=faults.ERROR)
