"""What is asked of an endpoint and what comes of it: frozen values that pickle and hold no secret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from nemocc_dask.settings import GenerationConfig


class Message(NamedTuple):
    """One turn of a conversation; a plain pair of strings does as well.

    role: ``system``, ``user`` or ``assistant``.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One prompt, to be answered `sampling.n` times.

    messages: the conversation so far, oldest first.
    sampling: how answers are drawn; its `max_tokens` is resolved already.
    sample: number of the first answer asked for. Answer number i is drawn with the seed `sampling.seed + i`,
        so several samples of one prompt differ and each can be asked for again by itself.

    >>> request = ChatRequest((Message("user", "Hi"),), GenerationConfig(n=3))
    >>> request.rest(2).sample, request.rest(2).sampling.n
    (2, 1)
    """

    messages: tuple[tuple[str, str], ...]
    sampling: GenerationConfig
    sample: int = 0

    def rest(self, answered: int) -> ChatRequest:
        """The same request for the answers still missing after the first `answered` ones."""
        if not answered:
            return self
        missing = self.sampling.replace(n=self.sampling.n - answered)
        return replace(self, sampling=missing, sample=self.sample + answered)


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice of a response.

    text: what the model wrote; None or "" where it wrote nothing. It always encodes as UTF-8.
    finish_reason: the endpoint's word, such as ``stop`` or ``length``; None where it gave none.
    model: the endpoint's name for the model that answered, else the name it was asked for by.
    prompt_tokens, completion_tokens: usage as billed; None where the endpoint does not say. One HTTP response
        may
        carry several choices: the first has the usage of all of them and the others 0, so that sums are
            right.
    attempts: HTTP requests tried for this row until the answer came, those that reached nobody included.
    latency_s: seconds the attempt that brought it was on the wire.
    sample: number of the answer among the samples of its prompt.
    """

    text: str | None
    finish_reason: str | None
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    attempts: int
    latency_s: float
    sample: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that got no answer, after every retry it was entitled to.

    reason: one word for machines: ``http_<status>``, ``timeout``, ``connection``, ``bad_body``,
        ``no_choices``.
    status: HTTP status of the last attempt; None where none came.
    detail: the endpoint's own words on one line, 500 characters at most, the key blotted out.
    attempts, latency_s, sample: as in `Answer`; latency_s is the last attempt's.
    """

    reason: str
    status: int | None
    detail: str
    attempts: int
    latency_s: float
    sample: int


Results = tuple[Answer | Failure, ...]
"""What one request comes to: exactly `sampling.n` values, in order of their sample numbers."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a batch of requests comes to.

    results: one tuple per request, in the order of the requests.
    http_requests: attempts that went over the wire, retries included. One whose connection was refused or
        whose host was not found did not; one whose connection was cut before the answer came did.
    """

    results: list[Results]
    http_requests: int
