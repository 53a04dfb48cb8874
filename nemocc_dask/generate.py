"""Each row is asked of the endpoint; answers and failures come back as rows. Partition in, partition out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, chained
from nemocc_dask.errors import EndpointUnreachableError
from nemocc_dask.llm import Answer, Answers, ChatRequest, Failure, Message, Results, answer_all, request_key
from nemocc_dask.settings import Endpoint, GenerationConfig
from nemocc_dask.sieve import Sieve
from nemocc_dask.tasks import Task
from nemocc_dask.tasks.languages import code_of
from nemocc_dask.text.engine import Frame, frames_of

OnResult = Callable[[Results], None]
ShouldStop = Callable[[], bool]

_USELESS_ENDINGS = {"length": "truncated", "content_filter": "content_filtered"}
"""finish_reason of an answer that came, was paid for, and is of no use → the reason it is rejected under."""


def generate(
    frame: Frame,
    task: Task,
    *,
    endpoint: Endpoint,
    config: GenerationConfig,
    priority: int = 0,
    on_result: OnResult | None = None,
    should_stop: ShouldStop | None = None,
) -> Outcome:
    """Ask the endpoint about each row, `config.n` times.

    frame: segments with `text`, or `id` and `language` for a task that makes documents from nothing.
    priority: partitions with a lower number are served first where they share an endpoint.

    Kept rows have the task's output field, `sample` and the ledger (`columns.LEDGER`). Stage `generate`, in answers: a
    row without an answer has failed; one whose answer is truncated, filtered or empty is rejected. Notes:
    `http_requests`, `prompt_tokens` and `completion_tokens` of all that came. Rows without a text are rejected before
    that, at stage `ask`, in segments; where there are none, that stage is left out. Zero rows send nothing.

    Raises `EndpointRefusedError` where every request would be refused alike, `EndpointUnreachableError` where none of
    them reached anybody, and `ColumnNotFoundError`.

    >>> import pandas as pd
    >>> from nemocc_dask.simulate import Knobs, Simulator
    >>> from nemocc_dask.tasks import TASKS
    >>> with Simulator(Knobs(empty_rate=1)) as endpoint:
    ...     settings = Endpoint(base_url=endpoint.base_url, model="simulated")
    ...     segments = pd.DataFrame({"text": ["Water boils."]})
    ...     outcome = generate(segments, TASKS["distill"], endpoint=settings, config=GenerationConfig())
    >>> outcome.stages[0].rejected
    {'empty': 1}
    """
    resolved = config if config.max_tokens else config.replace(max_tokens=task.max_output_tokens)
    asked = _with_something_to_ask(frame, task)
    requests = chat_requests(asked.kept, task, resolved)
    answers = answer_all(requests, endpoint, priority=priority, on_result=on_result, should_stop=should_stop)
    if requests and answers.http_requests == 0:
        raise EndpointUnreachableError.of(endpoint.base_url, answers.results[0][0])
    keys = [request_key(endpoint.model, request, choice) for request in requests for choice in range(resolved.n)]
    sieve = Sieve(_answered(asked.kept, task, answers, keys), stage="generate", unit="answers")
    _fail_unanswered(sieve, answers)
    _reject_useless(sieve, task)
    return chained(asked, sieve.outcome(http_requests=answers.http_requests, **_usage(answers)))


def _with_something_to_ask(frame: Frame, task: Task) -> Outcome:
    if task.makes_documents:
        return Outcome(frame, (), ())
    frames = frames_of(frame)
    sieve = Sieve(frame, stage="ask", unit="segments")
    sieve.reject(frames.mask(frames.kernels.is_blank(frames.texts(frame, columns.TEXT))), "empty_text")
    outcome = sieve.outcome()
    return outcome if outcome.rejected else Outcome(frame, (), ())


def chat_requests(frame: Frame, task: Task, config: GenerationConfig) -> list[ChatRequest]:
    """One request per row, in order.

    Rows made from nothing share their prompts, so their `id` is the number of the first sample: it shifts the seed.
    """
    frames = frames_of(frame)
    if not task.makes_documents:
        texts = frames.texts(frame, columns.TEXT).to_pylist()
        return [_request(task.messages(document=text), config) for text in texts]
    languages = frames.texts(frame, columns.LANGUAGE).to_pylist()
    firsts = frames.numbers(frame, columns.ID).astype(np.int64).tolist()
    return [
        _request(task.messages(language=language, code=code_of(language)), config, sample=first * config.n)
        for language, first in zip(languages, firsts, strict=True)
    ]


def language_rows(first: int, stop: int, task: Task, *, seed: int | None) -> dict[str, Any]:
    """Columns of rows made from nothing: `id` int64 from `first` up to `stop`, and the `language` drawn for each.

    The draw depends on seed, task and row alone.
    """
    numbers = range(first, stop)
    languages = [task.languages[_draw(f"{seed}|{task.name}|{number}", len(task.languages))] for number in numbers]
    return {
        columns.ID: np.arange(first, stop, dtype=np.int64),
        columns.LANGUAGE: pa.array(languages, pa.large_string()),
    }


def _draw(what: str, choices: int) -> int:
    return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest()) % choices


def _request(messages: Sequence[Any], config: GenerationConfig, *, sample: int = 0) -> ChatRequest:
    turns = tuple(Message(message["role"], message["content"]) for message in messages)
    return ChatRequest(messages=turns, sampling=config, sample=sample)


def _answered(frame: Frame, task: Task, answers: Answers, keys: list[str]) -> Frame:
    """One row per sample: the row it was asked for, with the answer and its ledger."""
    each = list(chain.from_iterable(answers.results))
    per_row = np.fromiter((len(results) for results in answers.results), dtype=np.int64, count=len(answers.results))
    parents = np.repeat(np.arange(len(answers.results), dtype=np.int64), per_row)
    samples = np.arange(len(parents), dtype=np.int64) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    return frames_of(frame).take(
        frame,
        parents,
        {
            task.output_field: _texts(getattr(one, "text", None) for one in each),
            columns.SAMPLE: samples,
            columns.REQUEST_ID: _texts(keys),
            columns.MODEL: _texts(getattr(one, "model", None) for one in each),
            columns.FINISH_REASON: _texts(getattr(one, "finish_reason", None) for one in each),
            columns.PROMPT_TOKENS: pa.array((getattr(one, "prompt_tokens", None) for one in each), pa.int64()),
            columns.COMPLETION_TOKENS: pa.array((getattr(one, "completion_tokens", None) for one in each), pa.int64()),
            columns.ATTEMPTS: np.fromiter((one.attempts for one in each), dtype=np.int64, count=len(each)),
            columns.LATENCY_S: np.fromiter((one.latency_s for one in each), dtype=np.float64, count=len(each)),
        },
    )


def _texts(values: Any) -> pa.LargeStringArray:
    return pa.array(list(values), pa.large_string())


def _fail_unanswered(sieve: Sieve, answers: Answers) -> None:
    left = list(chain.from_iterable(answers.results))
    for reason in sorted({one.reason for one in left if isinstance(one, Failure)}):
        failed = np.array([isinstance(one, Failure) and one.reason == reason for one in left], dtype=np.bool_)
        status = pa.array((getattr(one, "status", None) for one in left), pa.int64())
        sieve.fail(failed, reason, status=status, detail=_texts(getattr(one, "detail", None) for one in left))
        left = [one for one, gone in zip(left, failed, strict=True) if not gone]


def _reject_useless(sieve: Sieve, task: Task) -> None:
    for ending, reason in _USELESS_ENDINGS.items():
        endings = frames_of(sieve.frame).texts(sieve.frame, columns.FINISH_REASON)
        sieve.reject(np.array([each == ending for each in endings.to_pylist()], dtype=np.bool_), reason)
    frames = frames_of(sieve.frame)
    blank = frames.kernels.is_blank(frames.texts(sieve.frame, task.output_field))
    sieve.reject(frames.mask(blank), "empty")


def _usage(answers: Answers) -> dict[str, int]:
    came = [one for one in chain.from_iterable(answers.results) if isinstance(one, Answer)]
    return {
        "responses": len(came),
        "prompt_tokens": sum(one.prompt_tokens or 0 for one in came),
        "completion_tokens": sum(one.completion_tokens or 0 for one in came),
    }
