"""The simulated endpoint without HTTP: from a request's bytes to the reply that it gets, when it gets it."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from nemocc_dask.simulate import faults, wire
from nemocc_dask.simulate.answering import answers
from nemocc_dask.simulate.asked import Asked
from nemocc_dask.simulate.dice import Dice, digest
from nemocc_dask.simulate.faults import Faults
from nemocc_dask.simulate.knobs import Knobs
from nemocc_dask.simulate.life import Life
from nemocc_dask.simulate.limits import Limits, TurnedAway
from nemocc_dask.simulate.refusals import TELL_WAIT, RefusedError, error_body, retry_after
from nemocc_dask.simulate.sharing import Alone, Shared
from nemocc_dask.simulate.spoiling import spoilt
from nemocc_dask.simulate.stats import Reply, Stats

Read = Callable[[bytes], Asked]


class Simulation:
    """One endpoint: its knobs, and what it has seen so far."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self._faults = Faults(knobs)
        self.reset()

    def reset(self) -> None:
        """Forgets everything it has seen: from here on it behaves like a new one."""
        self.stats = Stats(time.monotonic)
        self.life = Life(self.knobs.fails_after)
        self._limits = Limits(self.knobs, time.monotonic)
        self._server = Shared(self.knobs.saturates_at) if self.knobs.saturates_at else Alone()

    def snapshot(self) -> dict[str, Any]:
        """All counts, as GET /stats sends them."""
        return {**self.stats.snapshot(), **self._limits.peaks(), "dead": self.life.dead}

    async def reply(self, raw: bytes, authorization: str | None, read: Read, stats: Stats) -> Reply:
        """The reply to one request; refusals come at once, everything else after the latency.

        read: how its bytes are read. stats: the counts the request arrived in; they are the present ones unless a
        reset came in between.
        """
        limits = self._limits
        try:
            reply = await self._let_in(self._admitted(raw, authorization, read), raw, limits, stats)
        except RefusedError as refused:
            reply = Reply(status=refused.status, body=refused.body)
        headers = limits.headers()
        return replace(reply, headers={**reply.headers, **headers}) if headers else reply

    def check_key(self, authorization: str | None) -> None:
        """Raises `RefusedError` where a key is required and was not sent."""
        if self.knobs.api_key is not None and authorization != f"Bearer {self.knobs.api_key}":
            raise RefusedError.key()

    def _admitted(self, raw: bytes, authorization: str | None, read: Read) -> Asked:
        self.check_key(authorization)
        asked = read(raw)
        if asked.model != self.knobs.model:
            raise RefusedError.model(asked.model, self.knobs.model)
        if asked.old_name and self.knobs.wants_max_completion_tokens:
            raise RefusedError.max_tokens()
        if asked.n > 1 and self.knobs.refuses_n:
            raise RefusedError.several(asked.n)
        return asked

    async def _let_in(self, asked: Asked, raw: bytes, limits: Limits, stats: Stats) -> Reply:
        """The reply, if the limits let the request in; it counts with what it might take until it is billed."""
        most_tokens = asked.prompt_tokens + self._count(asked) * (asked.max_tokens or 0)
        if turned_away := limits.turns_away(most_tokens):
            return self._too_many(turned_away)
        place = limits.let_in(most_tokens)
        try:
            reply = await self._worked_on(asked, raw, stats)
            limits.bill(place, reply.prompt_tokens + reply.completion_tokens)
            return reply
        finally:
            limits.let_out()

    async def _worked_on(self, asked: Asked, raw: bytes, stats: Stats) -> Reply:
        if self._faults.refuses(asked):
            return _refused_content()
        body = digest(raw)
        attempt = stats.asked(body)
        fault = self._faults.first(body, attempt)
        if fault == faults.HANG:
            stats.struck(faults.HANG)
            await _for_ever()
        latency_s = self._faults.latency_s(body, attempt)
        return await self._server.serve(latency_s, lambda: self._attempted(asked, body, attempt, fault))

    def _attempted(self, asked: Asked, body: bytes, attempt: int, fault: str | None) -> Reply:
        match fault:
            case faults.CUT:
                return Reply(status=None, fault=faults.CUT)
            case faults.ERROR:
                return self._error()
            case _:
                return self._answered(asked, body, attempt, fault)

    def _answered(self, asked: Asked, body: bytes, attempt: int, fault: str | None) -> Reply:
        """An answer, perhaps spoilt: garbage counts as answered, yet not as a proper answer to this body."""
        seed = self.knobs.seed if asked.seed is None else asked.seed
        name, drawn = answers(asked, seed=seed, count=self._count(asked), reasoning=self.knobs.reasoning)
        choices, spoilt_by = spoilt([] if fault == faults.NO_CHOICES else drawn, asked, self._faults, body, attempt)
        usage = wire.usage(asked.prompt_tokens, choices)
        completion = wire.completion(
            f"{body.hex()}-{attempt}", asked.model, choices, None if self.knobs.no_usage else usage, plain=asked.plain
        )
        if fault == faults.CUT_AFTER_HEADERS:
            return Reply(status=None, body=json.dumps(completion).encode(), fault=fault)
        if fault == faults.GARBAGE:
            spoilt_body = faults.garbage(completion, Dice(digest(b"garbage", body, b"%d" % attempt)))
            return Reply(status=200, body=spoilt_body, fault=fault, task=name)
        return Reply(
            status=200,
            body=json.dumps(completion).encode(),
            fault=fault or spoilt_by,
            task=name,
            digest=body if choices else None,
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )

    def _count(self, asked: Asked) -> int:
        return min(asked.n, self.knobs.max_n) if self.knobs.max_n else asked.n

    def _too_many(self, turned_away: TurnedAway) -> Reply:
        wait_s = turned_away.wait_s
        when = "later" if wait_s is None else f"in {math.ceil(wait_s)} s"
        message = f"Simulated rate limit: {turned_away.why}; try again {when}."
        body = error_body(message, kind="rate_limit_error", code="rate_limit_exceeded")
        return Reply(status=429, body=body, headers=retry_after(self.knobs.retry_after, wait_s, time.time()))

    def _error(self) -> Reply:
        status = self.knobs.error_status
        body = error_body(f"Simulated error {status}.", kind="server_error", code="simulated_error")
        headers = retry_after(self.knobs.retry_after, None, time.time()) if status in TELL_WAIT else {}
        return Reply(status=status, body=body, fault=faults.ERROR, headers=headers)


def _refused_content() -> Reply:
    message = "Simulated refusal: this prompt is never accepted."
    body = error_body(message, kind="invalid_request_error", code="invalid_prompt")
    return Reply(status=400, body=body, fault=faults.BAD_REQUEST)


async def _for_ever() -> NoReturn:
    """Until the client leaves or the endpoint is stopped, which cancels it."""
    while True:
        await asyncio.get_running_loop().create_future()
