"""One request to one endpoint, layer on layer: all its samples → each round with retries → one attempt."""

from __future__ import annotations

import asyncio
import io
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from time import monotonic

import aiohttp

from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.limits import Slots
from nemocc_dask.llm.results import Answer, ChatRequest, Failure, Results
from nemocc_dask.llm.retry import FOREIGN_ERRORS, Trouble, next_wait_s, retry_after_s, trouble_of
from nemocc_dask.llm.wire import Reply, error_code, error_words, parse_reply, request_body, to_json

REFUSALS = {
    401: "Check the key: {key_source}.",
    403: "Check that the key ({key_source}) may use this model.",
    404: "Check the address (most end in /v1) and the model's name.",
    **dict.fromkeys((301, 302, 303, 307, 308), "It sends its callers elsewhere: give that address instead."),
}
"""Statuses that every request would meet alike, and what to do about each."""

LARGE_BODY_BYTES = 2**20
"""Above this aiohttp wants a stream, which it writes in pieces; below, bytes are quicker."""

UNKNOWN_MODEL = "model_not_found"
"""The `error.code` by which an endpoint disowns a model, whatever the status."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a round came to, after how many attempts, and the seconds the last of them was on the wire."""

    reply: Reply | Trouble
    attempts: int
    latency_s: float


class ChatClient:
    """Answers requests at one endpoint, on one event loop, for one batch.

    access: how to reach the endpoint.
    session: carries the requests; several clients share it.
    slots: the endpoint's places on the wire; several clients share them.
    priority: whose turn it is at the slots, lower first.
    http_requests: attempts of this client that went over the wire so far.
    """

    def __init__(self, access: Access, session: aiohttp.ClientSession, slots: Slots, priority: int = 0) -> None:
        self.access = access
        self.endpoint = access.endpoint
        self.session = session
        self.slots = slots
        self.priority = priority
        self.http_requests = 0
        self._rng = random.Random()

    async def answer(self, request: ChatRequest) -> Results:
        """All samples of a request: exactly `sampling.n` answers or failures.

        An endpoint that returns fewer choices than asked for is asked again for the missing ones, one HTTP
        request a
        round, each with retries of its own, until a round brings none: then what is missing has failed.
        Choices beyond those asked for are dropped.

        Raises `EndpointRefusedError` where every other request would be refused too.
        """
        wanted, attempts = request.sampling.n, 0
        results: list[Answer | Failure] = []
        while len(results) < wanted:
            missing = request.rest(len(results))
            outcome = await self._with_retries(to_json(request_body(self.endpoint.model, missing)))
            attempts += outcome.attempts
            results += self._results(missing, outcome, attempts)
        return tuple(results)

    async def _with_retries(self, body: bytes) -> _Outcome:
        """The only loop of retries: aiohttp sends a POST once, whatever becomes of the connection."""
        first_start: float | None = None
        for attempt in count():
            async with self.slots.hold(self.priority):
                start = monotonic()
                reply = await self._attempt(body)
                end = monotonic()
            first_start = start if first_start is None else first_start
            outcome = _Outcome(reply, attempt + 1, end - start)
            if isinstance(reply, Reply):
                return outcome
            wait_s = next_wait_s(reply, attempt, end - first_start, self.endpoint, self._rng)
            if wait_s is None:
                return outcome
            await asyncio.sleep(wait_s)
        raise AssertionError("count() never ends")

    async def _attempt(self, body: bytes) -> Reply | Trouble:
        """Sends the request once. `session.post` is given only what was prepared before."""
        access = self.access
        try:
            async with self.session.post(
                access.chat_url,
                data=body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body),
                headers=access.headers,
                timeout=access.timeout,
                proxy=access.proxy,
                allow_redirects=False,
            ) as response:
                payload = await response.read()
        except FOREIGN_ERRORS as error:
            trouble = trouble_of(error)
            self.http_requests += trouble.sent
            return trouble
        self.http_requests += 1
        return self._judge(response, payload)

    def _judge(self, response: aiohttp.ClientResponse, payload: bytes) -> Reply | Trouble:
        status = response.status
        if 200 <= status < 300:
            reply = parse_reply(status, payload)
            if isinstance(reply, Trouble):
                self._stop_if_refused(response, payload)
            return reply
        self._stop_if_refused(response, payload)
        wait_s = retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
        return Trouble(f"http_{status}", status, error_words(payload), wait_s)

    def _stop_if_refused(self, response: aiohttp.ClientResponse, payload: bytes) -> None:
        if response.status in REFUSALS or error_code(payload) == UNKNOWN_MODEL:
            words = response.headers.get("Location") or error_words(payload)
            refusal = refused(self.access, response.status, words)
            self.slots.turn_away(refusal)  # what other batches wait to send would be refused alike
            raise refusal

    def _results(self, asked: ChatRequest, outcome: _Outcome, attempts: int) -> list[Answer] | list[Failure]:
        if isinstance(outcome.reply, Reply):
            return _answers(asked, outcome.reply, self.endpoint.model, attempts, outcome.latency_s)
        trouble, detail = outcome.reply, self.access.scrub(outcome.reply.detail)
        return [
            Failure(trouble.reason, trouble.status, detail, attempts, outcome.latency_s, asked.sample + i)
            for i in range(asked.sampling.n)
        ]


def _answers(asked: ChatRequest, reply: Reply, model: str, attempts: int, latency_s: float) -> list[Answer]:
    usage = [(reply.prompt_tokens, reply.completion_tokens)]
    others = (_none_or_zero(reply.prompt_tokens), _none_or_zero(reply.completion_tokens))
    usage += [others] * (len(reply.choices) - 1)
    return [
        Answer(text, finish_reason, reply.model or model, *tokens, attempts, latency_s, asked.sample + i)
        for i, ((text, finish_reason), tokens) in enumerate(zip(reply.choices[: asked.sampling.n], usage, strict=False))
    ]


def _none_or_zero(tokens: int | None) -> int | None:
    return None if tokens is None else 0


def refused(access: Access, status: int, words: str) -> EndpointRefusedError:
    """The error that stops a job: address, model, status, the endpoint's own words, and what to do."""
    endpoint = access.endpoint
    remedy = REFUSALS.get(status, REFUSALS[404])
    source = (
        f"environment variable {endpoint.api_key_env}"
        if access.key
        else "none was sent; api_key_env names its variable"
    )
    return EndpointRefusedError(
        f"The endpoint {endpoint.base_url} refuses requests for the model {endpoint.model!r} "
        f"(HTTP {status}): {access.scrub(words) or 'no reason given'!r}. {remedy.format(key_source=source)}"
    )
