"""Each row is asked of the endpoint; answers and failures come back as rows. Partition in, partition out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, chained
from nemocc_dask.errors import EndpointUnreachableError, SettingError
from nemocc_dask.llm import (
    Answer,
    Answers,
    Attempt,
    ChatRequest,
    Failure,
    Flaw,
    Memory,
    Message,
    OnResult,
    ShouldStop,
    answer_all,
)
from nemocc_dask.settings import Endpoint, GenerationConfig, check_format
from nemocc_dask.sieve import Sieve
from nemocc_dask.tasks import Task
from nemocc_dask.tasks.languages import code_of
from nemocc_dask.text.engine import Frame, frames_of
from nemocc_dask.tokens import TokenCounter


def generate(
    frame: Frame,
    task: Task,
    *,
    endpoint: Endpoint,
    config: GenerationConfig,
    tokenizer: TokenCounter | None = None,
    attempt: Attempt | None = None,
    ask_again: frozenset[Flaw] = frozenset(),
    priority: int = 0,
    on_result: OnResult | None = None,
    should_stop: ShouldStop | None = None,
    before_sending: ShouldStop | None = None,
    shared_as: str | None = None,
    asks: bool = True,
) -> Outcome:
    """Ask the endpoint about each row, `config.n` times.

    frame: segments with `text`, or `id` and `language` for a task that makes documents from nothing.
    tokenizer: renders prompts for an endpoint that completes texts (`api="completions"`); others need none.
    attempt: where answers are looked up before, and stored as they come; None keeps none. ask_again: flaws for which a
    stored answer is asked for, and paid for, once more.
    priority: partitions with a lower number are served first where they share an endpoint. shared_as: name of the
    limits that this process keeps together with others (`llm.SharedLimits`). asks: False sends nothing, and what is not
    stored has failed.

    Kept rows have the task's output field, `sample` and the ledger (`columns.LEDGER`). Stage `generate`, in answers: a
    row without an answer has failed; one whose answer is truncated, filtered, empty, or not in the format that was
    asked for is rejected. Notes: `reused` answers were paid for before, `responses` came now; of the latter
    `prompt_tokens`, `completion_tokens`, `reasoning_tokens` among them, and `without_usage`, for which the endpoint
    told no tokens; `http_requests`. Rows without a text are rejected before that, at stage `ask`, in segments; where
    there are none, that stage is left out. Zero rows send nothing.

    Raises `EndpointRefusedError` where every request would be refused alike, `EndpointUnreachableError` where none of
    them reached anybody, `SettingError` where a tokenizer is needed and none is named, and `ColumnNotFoundError`.

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
    resolved = _resolved(config, task)
    check_tokenizer(endpoint, tokenizer)
    asked = _with_something_to_ask(frame, task)
    answers = answer_all(
        Requests(asked.kept, task, resolved, tokenizer if endpoint.api == "completions" else None),
        endpoint,
        memory=_memory(attempt, task, recipe_of(task, endpoint, resolved), ask_again, asks),
        priority=priority,
        on_result=on_result,
        should_stop=should_stop,
        before_sending=before_sending,
        shared_as=shared_as,
    )
    each = list(chain.from_iterable(answers.results))
    if asks and each and answers.http_requests == 0 and all(isinstance(one, Failure) for one in each):
        raise EndpointUnreachableError.of(" and ".join(endpoint.base_urls), each[0])
    sieve = Sieve(_answered(asked.kept, task, answers, each), stage="generate", unit="answers")
    _drop(sieve, each, task, resolved)
    return chained(asked, sieve.outcome(http_requests=answers.http_requests, **_usage(each)))


def check_tokenizer(endpoint: Endpoint, tokenizer: object | None) -> None:
    """Raises `SettingError` where prompts are to be rendered, and nobody has said by whose template."""
    if endpoint.api == "completions" and tokenizer is None:
        raise SettingError(
            'api="completions" needs the tokenizer of the model: its chat template makes a prompt of the messages. '
            "Name it with tokenizer=."
        )


def recipe_of(task: Task, endpoint: Endpoint, config: GenerationConfig) -> str:
    """Fingerprint of all that a task's requests have in common: 16 hexadecimal characters.

    Requests of another recipe have other keys, so their answers are not found again.
    """
    common = (
        task.prompt,
        task.system_prompt or "",
        endpoint.api,
        endpoint.model,
        _resolved(config, task).model_dump_json(),
    )
    return hashlib.sha256("\0".join(common).encode()).hexdigest()[:16]


def _resolved(config: GenerationConfig, task: Task) -> GenerationConfig:
    return config if config.max_tokens else config.replace(max_tokens=task.max_output_tokens)


def _memory(attempt: Attempt | None, task: Task, recipe: str, ask_again: frozenset[Flaw], asks: bool) -> Memory | None:
    if attempt is None:
        return None
    return Memory(attempt=attempt, label=task.name, recipe=recipe, ask_again=ask_again, asks=asks)


def _with_something_to_ask(frame: Frame, task: Task) -> Outcome:
    if task.makes_documents:
        return Outcome(frame, (), ())
    frames = frames_of(frame)
    sieve = Sieve(frame, stage="ask", unit="segments")
    sieve.reject(frames.mask(frames.kernels.is_blank(frames.texts(frame, columns.TEXT))), "empty_text")
    outcome = sieve.outcome()
    return outcome if outcome.rejected else Outcome(frame, (), ())


class Requests(Sequence[ChatRequest]):
    """One request per row of a frame, in order, each made when it is looked at: together they may not fit memory.

    tokenizer: renders the messages as one prompt; None leaves them messages.

    Rows made from nothing share their prompts, so their `id` is the number of the first sample: it shifts the seed.
    """

    def __init__(
        self, frame: Frame, task: Task, config: GenerationConfig, tokenizer: TokenCounter | None = None
    ) -> None:
        frames = frames_of(frame)
        self._task, self._config, self._tokenizer, self._rows = task, config, tokenizer, len(frame)
        if task.makes_documents:
            self._languages = frames.host(frames.texts(frame, columns.LANGUAGE))
            self._firsts = frames.numbers(frame, columns.ID).astype(np.int64)
        else:
            self._texts = frames.host(frames.texts(frame, columns.TEXT))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: Any) -> Any:
        if self._task.makes_documents:
            language = self._languages[row].as_py()
            messages = self._task.messages(language=language, code=code_of(language))
            return self._request(messages, sample=int(self._firsts[row]) * self._config.n)
        return self._request(self._task.messages(document=self._texts[row].as_py()))

    def _request(self, messages: Sequence[Any], *, sample: int = 0) -> ChatRequest:
        prompt = self._tokenizer.render(messages) if self._tokenizer else None
        turns = tuple(Message(message["role"], message["content"]) for message in messages)
        return ChatRequest(turns, self._config, sample, prompt)


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


def _answered(frame: Frame, task: Task, answers: Answers, each: Sequence[Answer | Failure]) -> Frame:
    """One row per sample: the row it was asked for, with the answer and its ledger."""
    per_row = np.fromiter((len(results) for results in answers.results), dtype=np.int64, count=len(answers.results))
    parents = np.repeat(np.arange(len(answers.results), dtype=np.int64), per_row)
    samples = np.arange(len(parents), dtype=np.int64) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    answered = {
        task.output_field: _texts(getattr(one, "text", None) for one in each),
        columns.SAMPLE: samples,
        columns.REQUEST_ID: _texts(answers.keys),
        columns.MODEL: _texts(getattr(one, "model", None) for one in each),
        columns.FINISH_REASON: _texts(getattr(one, "finish_reason", None) for one in each),
        columns.PROMPT_TOKENS: pa.array((getattr(one, "prompt_tokens", None) for one in each), pa.int64()),
        columns.COMPLETION_TOKENS: pa.array((getattr(one, "completion_tokens", None) for one in each), pa.int64()),
        columns.ATTEMPTS: np.fromiter((one.attempts for one in each), dtype=np.int64, count=len(each)),
        columns.LATENCY_S: np.fromiter((one.latency_s for one in each), dtype=np.float64, count=len(each)),
    }
    frames = frames_of(frame)
    if len(each) == len(frame):  # one sample a row: no text is copied
        return frames.attach(frame, answered)
    return frames.take(frame, parents, answered)


def _texts(values: Any) -> pa.LargeStringArray:
    return pa.array(list(values), pa.large_string())


def _drop(sieve: Sieve, each: Sequence[Answer | Failure], task: Task, config: GenerationConfig) -> None:
    """Fails the rows without an answer, and rejects those whose answer is of no use, under the reason of each."""
    left = list(each)
    for reason in sorted({one.reason for one in left if isinstance(one, Failure)}):
        failed = np.array([isinstance(one, Failure) and one.reason == reason for one in left], dtype=np.bool_)
        status = pa.array((getattr(one, "status", None) for one in left), pa.int64())
        sieve.fail(failed, reason, status=status, detail=_texts(getattr(one, "detail", None) for one in left))
        left = [one for one, gone in zip(left, failed, strict=True) if not gone]
    flaws = [one.flaw for one in left if isinstance(one, Answer)]
    for flaw in get_args(Flaw):
        flawed = np.array([each == flaw for each in flaws], dtype=np.bool_)
        sieve.reject(flawed, flaw)
        flaws = [each for each, gone in zip(flaws, flawed, strict=True) if not gone]
    if config.response_format:
        frames = frames_of(sieve.frame)
        texts = frames.host(frames.texts(sieve.frame, task.output_field))
        complaints = check_format(texts.to_pylist(), config.response_format)
        mismatched = np.array([complaint is not None for complaint in complaints], dtype=np.bool_)
        sieve.reject(mismatched, "wrong_format", detail=_texts(complaints))


def _usage(each: Sequence[Answer | Failure]) -> dict[str, int]:
    came = [one for one in each if isinstance(one, Answer)]
    new = [one for one in came if not one.reused]
    return {
        "reused": len(came) - len(new),
        "responses": len(new),
        "prompt_tokens": sum(one.prompt_tokens or 0 for one in new),
        "completion_tokens": sum(one.completion_tokens or 0 for one in new),
        "reasoning_tokens": sum(one.reasoning_tokens or 0 for one in new),
        "without_usage": sum(one.completion_tokens is None for one in new),
    }
