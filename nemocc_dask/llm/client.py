"""One request to one endpoint, layer on layer: all its samples → each round with retries → one attempt."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

import aiohttp

from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.allowance import allowance_of
from nemocc_dask.llm.backend import UNSENT, Backend, Lease, Report
from nemocc_dask.llm.body import MAX_TOKENS, Bodies
from nemocc_dask.llm.gate import Gate
from nemocc_dask.llm.health import Verdict
from nemocc_dask.llm.judging import (
    CONTEXT_LENGTH,
    INVALID,
    NEWER_MAX_TOKENS,
    REFUSALS,
    TOO_LONG,
    UNKNOWN_MODEL,
    answers_of,
    failures_of,
    refused,
    verdict_on,
)
from nemocc_dask.llm.metrics import CANCELLED, UNREACHED, asked_of_model
from nemocc_dask.llm.reply import Reply, error_code, error_param, error_words, parse_reply
from nemocc_dask.llm.results import Answer, ChatRequest, Failure, Results, ShouldStop, Stop, StoppedError
from nemocc_dask.llm.retry import FOREIGN_ERRORS, Trouble, next_wait_s, retry_after_s, trouble_of

INVALID_AT_FIRST = 50
"""Requests refused as invalid, with no answer to any other, after which the settings are to blame and not the rows."""

LARGE_BODY_BYTES = 2**20
"""Above this aiohttp wants a stream, which it writes in pieces; below, bytes are quicker."""

BYTES_A_TOKEN = 4
"""A rule of thumb; the gate learns how far off it is."""


OnRound = Callable[[int, Results], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a round came to, after how many attempts, where, and the seconds the last of them was on the wire."""

    reply: Reply | Trouble
    attempts: int
    latency_s: float
    backend: Backend


class _Sent(NamedTuple):
    """How a request was written: the name of the bound of an answer, and how many answers it asked for."""

    max_tokens_field: str
    answers: int


class ChatClient:
    """Answers requests at one endpoint, on one event loop, for one batch.

    accesses: how to reach each address of the endpoint.
    sessions: carry the requests to each address; several clients share them.
    gate: who goes on the wire, where and when; several clients share it.
    priority: whose turn it is at the gate, lower first.
    before_sending: asked whether to stop when a request's turn has come.
    http_requests: attempts of this client that went over the wire so far.
    on_wire: tasks whose requests are on the wire now.
    last_attempts: once True, what fails is not tried again.
    asked: counts of this process, for who watches it.
    """

    def __init__(
        self,
        accesses: tuple[Access, ...],
        sessions: tuple[aiohttp.ClientSession, ...],
        gate: Gate,
        priority: int = 0,
        before_sending: ShouldStop | None = None,
    ) -> None:
        self.accesses = accesses
        self.endpoint = accesses[0].endpoint
        self.sessions = sessions
        self.gate = gate
        self.priority = priority
        self.before_sending = before_sending
        self.http_requests = 0
        self.on_wire: set[asyncio.Task[Any] | None] = set()
        self.last_attempts = False
        self._rng = random.Random()
        self._bodies = Bodies(self.endpoint.model)
        self.asked = asked_of_model(self.endpoint.model)

    async def answer(self, request: ChatRequest, asked: bytes, on_round: OnRound) -> None:
        """All samples of a request: exactly `sampling.n` answers or failures, or fewer where the batch ends meanwhile.

        asked: what `asked_of` makes of the request. on_round: called with the results of each HTTP request as it is
        done, and how many there were before: what was paid for is not to wait for others.

        An endpoint that returns fewer choices than asked for is asked again for the missing ones, one HTTP request a
        round, each with retries of its own, until a round brings none: then what is missing has failed. One that
        refuses several at once is asked for one at a time, also where it does not say that it is their number which it
        refuses. Choices beyond those asked for are dropped.

        Raises `EndpointRefusedError` where every other request would be refused too, `EndpointUnreachableError` where
        the endpoint is gone.
        """
        wanted, done, attempts, one_by_one = request.sampling.n, 0, 0, False
        while done < wanted and not (done and self.last_attempts):
            missing = request.part(done, wanted - done)
            outcome = await self._with_retries(missing.part(0, 1) if one_by_one else missing, asked)
            attempts += outcome.attempts
            if isinstance(outcome.reply, Trouble) and outcome.reply.perhaps_too_many:
                one_by_one = True
                continue
            if isinstance(outcome.reply, Trouble) and outcome.reply.status in INVALID:
                self._stop_if_nothing_is_valid(outcome.backend, outcome.reply)
            outcome.backend.single_choice |= one_by_one and isinstance(outcome.reply, Reply)
            results: Results = (*self._results(missing, outcome, attempts),)
            on_round(done, results)
            done += len(results)

    async def _with_retries(self, request: ChatRequest, asked: bytes) -> _Outcome:
        """The only loop of retries: aiohttp sends a POST once, whatever becomes of the connection."""
        task, first_start, amended = asyncio.current_task(), None, 0
        tokens = len(asked) // BYTES_A_TOKEN + (request.sampling.max_tokens or 0) * request.sampling.n
        for attempt in count():
            lease = await self.gate.acquire(self.priority, tokens)
            self._stop_if_told(lease)
            start = monotonic()
            first_start = start if first_start is None else first_start
            self.on_wire.add(task)
            try:
                reply = await self._on_lease(lease, request, asked, start)
            finally:
                self.on_wire.discard(task)
            end = monotonic()
            outcome = _Outcome(reply, attempt + 1, end - start, lease.backend)
            if isinstance(reply, Reply):
                return outcome
            if reply.amended and not self.last_attempts:
                amended += 1  # no retry: what is sent now is another request
                continue
            wait_s = next_wait_s(reply, attempt - amended, end - first_start, self.endpoint, self._rng)
            if wait_s is None or self.last_attempts:
                return outcome
            self.asked.retried()
            await asyncio.sleep(wait_s)
        raise AssertionError("count() never ends")

    def _stop_if_told(self, lease: Lease) -> None:
        """Raises `StoppedError`, after the place is given back, where nothing is to be sent any more."""
        if self.before_sending is not None and (how := Stop.of(self.before_sending())):
            self.gate.release(lease, UNSENT)
            raise StoppedError(how)

    async def _on_lease(self, lease: Lease, request: ChatRequest, asked: bytes, start: float) -> Reply | Trouble:
        """One attempt at the place that the gate has given; whatever becomes of it, the place is given back."""
        verdict, tokens, allowance = Verdict.ABANDONED, None, None
        try:
            reply, response = await self._attempt(lease.backend, request, asked)
            verdict = verdict_on(reply)
            if isinstance(reply, Reply):
                tokens = reply.tokens
            allowance = allowance_of(response.headers) if response is not None else None
        finally:
            self.gate.release(lease, Report(verdict, monotonic() - start, tokens, allowance))
        return reply

    async def _attempt(
        self, backend: Backend, request: ChatRequest, asked: bytes
    ) -> tuple[Reply | Trouble, aiohttp.ClientResponse | None]:
        """Sends the request once. `post` is given only what was prepared before."""
        access = self.accesses[backend.index]
        if backend.single_choice and request.sampling.n > 1:
            request = request.part(0, 1)
        sent = _Sent(self._max_tokens_field(backend), request.sampling.n)
        body = self._bodies.body(request, asked, sent.max_tokens_field)
        start = monotonic()
        try:
            async with self.sessions[backend.index].post(
                access.ask_url,
                data=body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body),
                headers=access.headers,
                timeout=access.timeout,
                proxy=access.http_proxy,
                allow_redirects=False,
            ) as response:
                payload = await response.read()
        except FOREIGN_ERRORS as error:
            trouble = trouble_of(error)
            self.http_requests += trouble.sent
            self.asked.sent(trouble.reason if trouble.sent else UNREACHED)
            return trouble, None
        except asyncio.CancelledError:
            self.asked.sent(CANCELLED)
            raise
        self.http_requests += 1
        self.asked.sent(f"http_{response.status}", monotonic() - start)
        return self._judge(access, backend, sent, response, payload), response

    def _max_tokens_field(self, backend: Backend) -> str:
        return self.endpoint.max_tokens_field or backend.max_tokens_field or MAX_TOKENS

    def _judge(
        self, access: Access, backend: Backend, sent: _Sent, response: aiohttp.ClientResponse, payload: bytes
    ) -> Reply | Trouble:
        status = response.status
        if 200 <= status < 300:
            reply = parse_reply(status, payload)
            backend.has_answered |= isinstance(reply, Reply)
            if isinstance(reply, Trouble):
                self._stop_if_refused(access, response, payload)
            return reply
        self._stop_if_refused(access, response, payload)
        wait_s = retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
        trouble = Trouble(f"http_{status}", status, error_words(payload), wait_s)
        if status not in INVALID:
            return trouble
        if error_code(payload) == TOO_LONG:
            return replace(trouble, reason=CONTEXT_LENGTH)
        blamed = error_param(payload)
        return replace(
            trouble,
            amended=self._amends(backend, sent, blamed),
            perhaps_too_many=sent.answers > 1 and blamed is None,
        )

    def _amends(self, backend: Backend, sent: _Sent, blamed: str | None) -> bool:
        """Whether requests to this server are written otherwise from now on, because of the field that it blamed."""
        is_settled = self.endpoint.max_tokens_field is not None or self.endpoint.api != "chat"
        if blamed == MAX_TOKENS == sent.max_tokens_field and not is_settled:
            backend.max_tokens_field = NEWER_MAX_TOKENS
            return True
        if blamed == "n" and sent.answers > 1:
            backend.single_choice = True
            return True
        return False

    def _stop_if_nothing_is_valid(self, backend: Backend, trouble: Trouble) -> None:
        """Some servers say 400 or 422 for what no row can help, such as a field they do not know or another model."""
        if backend.has_answered or trouble.reason == CONTEXT_LENGTH:
            return
        backend.invalid_at_first += 1
        if backend.invalid_at_first >= INVALID_AT_FIRST:
            access = self.accesses[backend.index]
            refusal = EndpointRefusedError(
                f"The endpoint {access.base_url} has refused each of the first {INVALID_AT_FIRST} requests as invalid "
                f"(HTTP {trouble.status}): {access.scrub(trouble.detail)!r}. Mend the model's name or the settings of "
                "sampling, and run the same command again."
            )
            self.gate.turn_away(refusal)
            raise refusal

    def _stop_if_refused(self, access: Access, response: aiohttp.ClientResponse, payload: bytes) -> None:
        if response.status in REFUSALS or error_code(payload) == UNKNOWN_MODEL:
            words = response.headers.get("Location") or error_words(payload)
            refusal = refused(access, response.status, words)
            self.gate.turn_away(refusal)  # what other batches wait to send would be refused alike
            raise refusal

    def _results(self, asked: ChatRequest, outcome: _Outcome, attempts: int) -> list[Answer] | list[Failure]:
        if isinstance(outcome.reply, Reply):
            return answers_of(asked, outcome.reply, self.endpoint.model, attempts, outcome.latency_s)
        detail = self.accesses[outcome.backend.index].scrub(outcome.reply.detail)
        return failures_of(asked, outcome.reply, detail, attempts, outcome.latency_s)
