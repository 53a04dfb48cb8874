"""What is asked of an endpoint and what comes of it: frozen values that pickle and hold no secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal, NamedTuple

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
    prompt: the messages as one text, for an endpoint that completes texts; None for one that chats.

    >>> request = ChatRequest((Message("user", "Hi"),), GenerationConfig(n=3))
    >>> request.part(2, 1).sample, request.part(2, 1).sampling.n
    (2, 1)
    """

    messages: tuple[tuple[str, str], ...]
    sampling: GenerationConfig
    sample: int = 0
    prompt: str | None = None

    def part(self, first: int, answers: int) -> ChatRequest:
        """The same request for some of its answers: so many, from answer number `first` on."""
        if (first, answers) == (0, self.sampling.n):
            return self
        return replace(self, sampling=self.sampling.replace(n=answers), sample=self.sample + first)


Flaw = Literal["truncated", "content_filtered", "empty"]
"""Why an answer is of no use, as the reason it is rejected under."""

_USELESS_ENDINGS: dict[str, Flaw] = {"length": "truncated", "content_filter": "content_filtered"}
"""finish_reason → flaw."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice of a response.

    text: what the model wrote, without its reasoning; None or "" where it wrote nothing. It always encodes as UTF-8.
    finish_reason: the endpoint's word, such as ``stop`` or ``length``; None where it gave none.
    model: the endpoint's name for the model that answered, else the name it was asked for by.
    prompt_tokens, completion_tokens: usage as billed; None where the endpoint does not say. One HTTP response may carry
        several choices: the first has the usage of all of them and the others 0, so that sums are right.
    attempts: HTTP requests tried for this row until the answer came, those that reached nobody included.
    latency_s: seconds the attempt that brought it was on the wire.
    sample: number of the answer among the samples of its prompt.
    reasoning: what a reasoning model thought before it wrote; None where there was none.
    reasoning_tokens: how many of `completion_tokens` it thought; None where the endpoint does not say.
    reused: whether it was paid for before: found in the store, or the answer to an equal request.

    >>> Answer("Hi", "length", "m", 7, 11, 1, 0.2, 0).flaw
    'truncated'
    """

    text: str | None
    finish_reason: str | None
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    attempts: int
    latency_s: float
    sample: int
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    reused: bool = False

    @property
    def flaw(self) -> Flaw | None:
        """Why the answer is of no use though it came and was paid for; None where it may be of use."""
        ending = _USELESS_ENDINGS.get(self.finish_reason or "")
        return ending or (None if self.text and not self.text.isspace() else "empty")


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that got no answer, after every retry it was entitled to.

    reason: one word for machines: ``http_<status>``, ``context_length``, ``timeout``, ``connection``, ``bad_body``,
        ``no_choices``.
    status: HTTP status of the last attempt; None where none came.
    detail: the endpoint's own words on one line, 500 characters at most, keys blotted out; where it took offence at the
        request, the prompt's size behind them.
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


def counts_in(results: Results) -> dict[str, int]:
    """What a request's results come to; what was sent and paid for is counted where that was now.

    >>> counts_in((Answer("Hi", "stop", "m", 7, 11, 1, 0.2, 0), Failure("timeout", None, "", 3, 9.0, 1)))
    {'http_requests': 3, 'answers': 1, 'reused': 0, 'failed': 1, 'prompt_tokens': 7, 'completion_tokens': 11}
    """
    answers = [one for one in results if isinstance(one, Answer)]
    new = [one for one in answers if not one.reused]
    sent = (one.attempts for one in results if isinstance(one, Failure) or not one.reused)
    return {
        "http_requests": max(sent, default=0),  # each result tells of all that its row has taken
        "answers": len(answers),
        "reused": len(answers) - len(new),
        "failed": len(results) - len(answers),
        "prompt_tokens": sum(one.prompt_tokens or 0 for one in new),
        "completion_tokens": sum(one.completion_tokens or 0 for one in new),
    }


class Stop(IntEnum):
    """Whether a batch of requests is to go on, and how what is in flight ends: the greater, the sooner.

    FINISH: no new requests, what is in flight is awaited to its end. DRAIN: for some seconds. NOW: it is given up.
    Whatever answers come until then are stored. Where a plain True stops a batch, it does as `DRAIN`.
    """

    GO = 0
    FINISH = 1
    DRAIN = 2
    NOW = 3

    @classmethod
    def of(cls, said: Stop | bool) -> Stop:
        """What was said, by one of these or by a plain yes or no.

        >>> Stop.of(True), Stop.of(False), Stop.of(Stop.FINISH)
        (<Stop.DRAIN: 2>, <Stop.GO: 0>, <Stop.FINISH: 1>)
        """
        return cls.DRAIN if said is True else cls(said)


ShouldStop = Callable[[], Stop | bool]
"""Asks whether to stop."""


class StoppedError(Exception):
    """A batch was told to end. Not `concurrent.futures.CancelledError`, which asyncio would take for its own."""

    def __init__(self, how: Stop) -> None:
        super().__init__(how)
        self.how = how


@dataclass(frozen=True, slots=True)
class Answers:
    """What a batch of requests comes to.

    results: one tuple per request, in the order of the requests.
    http_requests: attempts that went over the wire, retries included. One whose connection was refused or
        whose host was not found did not; one whose connection was cut before the answer came did.
    keys: identity of each answer, in the order of requests and their samples.
    """

    results: list[Results]
    http_requests: int
    keys: list[str]
