"""The requests of one call, from their keys to their results: looked up, asked for, stored, in bounded numbers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from nemocc_dask.errors import JobError
from nemocc_dask.llm.body import Bodies, asked_of
from nemocc_dask.llm.claims import Claims
from nemocc_dask.llm.client import ChatClient
from nemocc_dask.llm.results import Answer, Answers, ChatRequest, Failure, Flaw, Results, Stop, StoppedError
from nemocc_dask.llm.store import Attempt
from nemocc_dask.logs import event, with_context

log = logging.getLogger("nemocc_dask")

ROWS_PER_SLOT = 2
"""Requests held as coroutines per place on the wire: enough that a row waiting to retry leaves its place to another."""

ROWS_LOOKED_UP = 128
"""Rows whose keys are made, and looked up, in one go."""

DRAIN_S = 10.0
"""Longest wait for what is on the wire when a batch is stopped or breaks."""

LOOK_EVERY_S = 0.1
"""How often a batch that is being stopped looks whether it should hurry."""

NOT_ASKED = Failure("not_asked", None, "The store does not hold it.", 0, 0.0, 0)
"""In place of an answer that is not there, where none is to be asked for."""

OnResult = Callable[[Results], None]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Where answers are looked up and kept.

    attempt: writes to the store. label, recipe: what the store files them under. ask_again: flaws for which a stored
    answer does not count. asks: whether what is not there is asked for; else it fails.
    """

    attempt: Attempt
    label: str
    recipe: str
    ask_again: frozenset[Flaw] = field(default_factory=frozenset)
    asks: bool = True


class _Ask(NamedTuple):
    """Samples of a row that follow one another and have to be asked for, from number `first` on: one a key."""

    row: int
    first: int
    keys: list[str]


class _Row(NamedTuple):
    """A request that is being worked on, what it asks, and its samples' keys and results so far."""

    request: ChatRequest
    asked: bytes
    keys: list[str]
    samples: list[Answer | Failure | None]


class Batch:
    """Requests that are answered together, on one event loop.

    A row is done when all its samples have results. Everything but `_prepared` runs on the loop.
    """

    def __init__(
        self,
        requests: Sequence[ChatRequest],
        client: ChatClient,
        *,
        width: int,
        memory: Memory | None,
        claims: Claims,
        on_result: OnResult | None,
    ) -> None:
        self._requests, self._client, self._memory, self._claims = requests, client, memory, claims
        self._on_result = on_result
        self._width = min(len(requests), width)
        self._bodies = Bodies(client.endpoint.model)
        self._rows: dict[int, _Row] = {}
        self._results: list[Results] = [()] * len(requests)
        self._keys: list[list[str]] = [[] for _ in requests]
        self._rows_left = len(requests)
        self._claimed: set[str] = set()
        self._asks: asyncio.Queue[_Ask] = asyncio.Queue()
        self._hungry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._patience_ends = float("inf")

    async def run(self, threads: concurrent.futures.Executor) -> Answers:
        """All results. When it ends, however it ends, nothing of it is on the wire any more.

        The first error ends the batch: nothing more is sent, what is on the wire is awaited for some seconds and
        stored, and the error is raised. Raises `StoppedError` after `stop`.
        """
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        try:
            self._start(self._feed(threads))
            for _ in range(self._width):
                self._start(self._work())
            await self._done
        except StoppedError:
            raise
        except BaseException:
            self._patience_ends = min(self._patience_ends, monotonic() + DRAIN_S)
            raise
        finally:
            await self._wind_down()
        return Answers(self._results, self._client.http_requests, [key for keys in self._keys for key in keys])

    def stop(self, how: Stop) -> None:
        """Ends the batch early; calling it again may make it hurry."""
        patience_s = {Stop.DRAIN: DRAIN_S, Stop.FINISH: float("inf"), Stop.NOW: 0.0}[how]
        self._patience_ends = min(self._patience_ends, monotonic() + patience_s)
        self._stopping = True
        self._fail(StoppedError(how))

    # --- what is to be asked ------------------------------------------------------------------------------------------

    async def _feed(self, threads: concurrent.futures.Executor) -> None:
        """Prepares rows some way ahead of those that ask, on a thread beside the loop."""
        for start in range(0, len(self._requests), ROWS_LOOKED_UP):
            rows = range(start, min(start + ROWS_LOOKED_UP, len(self._requests)))
            self._take_in(rows, *await self._loop.run_in_executor(threads, with_context(self._prepared), rows))
            while self._asks.qsize() > self._width:
                self._hungry.clear()
                await self._hungry.wait()

    def _prepared(self, rows: range) -> tuple[set[str], dict[str, Answer]]:
        """Encodes requests; of their keys, those that are this batch's to ask for, and the answers that are stored."""
        for row in rows:
            request = self._requests[row]
            asked = asked_of(request)
            self._keys[row] = self._bodies.keys(request, asked)
            self._rows[row] = _Row(request, asked, self._keys[row], [None] * len(self._keys[row]))
        if self._memory is None:
            return set(), {}
        # Only now, for what others have claimed may be settled at once.
        ours = {key for row in rows for i, key in enumerate(self._keys[row]) if self._claim(row, i, key)}
        found = self._memory.attempt.find(list(ours), unless=self._memory.ask_again)
        if self._stopping:  # then nobody waits for this any more
            self._claims.give_up(ours)
        return ours, found

    def _claim(self, row: int, sample: int, key: str) -> bool:
        def settled(result: Answer | Failure | None) -> None:
            self._loop.call_soon_threadsafe(self._settled_elsewhere, row, sample, key, result)

        taken = self._claims.take(key, settled)
        if taken:
            self._claimed.add(key)
        return taken

    def _take_in(self, rows: range, ours: set[str], found: dict[str, Answer]) -> None:
        for row in rows:
            keys, missing = self._keys[row], []
            for i, key in enumerate(keys):
                if self._memory is not None and key not in ours:
                    continue  # somebody else asks, or an earlier row of these: `_settled_elsewhere` is called
                ours.discard(key)
                if key in found:
                    self._settle(key, found[key])
                    self._fill(row, i, self._numbered(row, i, found[key]))
                elif self._memory is not None and not self._memory.asks:
                    self._settle(key, NOT_ASKED)
                    self._fill(row, i, NOT_ASKED)
                else:
                    missing.append(i)
            for ask in _consecutive(row, missing, keys):
                self._asks.put_nowait(ask)

    def _settled_elsewhere(self, row: int, sample: int, key: str, result: Answer | Failure | None) -> None:
        """What somebody else asked for has come; where it has not, this row asks for itself."""
        if self._stopping:
            return
        if isinstance(result, Answer):
            try:
                self._fill(row, sample, self._numbered(row, sample, result))
            except BaseException as error:  # noqa: BLE001 - of on_result: told as the batch's own, and raised there
                self._fail(error)
        elif self._claim(row, sample, key):
            self._asks.put_nowait(_Ask(row, sample, [key]))

    def _numbered(self, row: int, sample: int, answer: Answer) -> Answer:
        self._client.asked.found()
        return replace(answer, sample=self._rows[row].request.sample + sample, reused=True)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while not self._stopping:
            ask = await self._asks.get()
            if self._asks.qsize() <= self._width:
                self._hungry.set()
            row = self._rows[ask.row]
            request = row.request.part(ask.first, len(ask.keys))
            await self._client.answer(request, row.asked, partial(self._keep, ask))

    def _keep(self, ask: _Ask, done: int, results: Results) -> None:
        """Stores answers before anything else is done with them: they are paid for. done: how many came before."""
        keys = ask.keys[done : done + len(results)]
        self._client.asked.came(results)
        _log_failures(keys, results)
        if self._memory is not None:
            self._store(self._memory, keys, results)
            for key, result in zip(keys, results, strict=True):
                self._settle(key, result)
        for i, result in enumerate(results):
            self._fill(ask.row, ask.first + done + i, result)

    def _store(self, memory: Memory, keys: Sequence[str], results: Results) -> None:
        """Raises only after all answers had their chance: where room is short, the next may still fit."""
        trouble: JobError | None = None
        for key, result in zip(keys, results, strict=True):
            if isinstance(result, Answer):
                try:
                    memory.attempt.append(key, result, label=memory.label, recipe=memory.recipe)
                except JobError as error:
                    log.info("%s", error, extra=event("store_trouble", store=memory.attempt.url, request_id=key))
                    trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _settle(self, key: str, result: Answer | Failure) -> None:
        self._claimed.discard(key)
        self._claims.settle(key, result)

    def _fill(self, row: int, sample: int, result: Answer | Failure) -> None:
        samples = self._rows[row].samples
        samples[sample] = result
        filled = tuple(each for each in samples if each is not None)
        if len(filled) < len(samples):
            return
        self._results[row] = filled
        del self._rows[row]
        if self._on_result is not None:
            self._on_result(filled)
        self._rows_left -= 1
        if not self._rows_left and not self._done.done():
            self._done.set_result(None)

    # --- beginning and end --------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or not (error := task.exception()):
            return
        if isinstance(error, StoppedError):
            self.stop(error.how)
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    async def _wind_down(self) -> None:
        """Leaves no task: what is on the wire is awaited while there is patience, the rest is cancelled."""
        self._stopping = self._client.last_attempts = True
        try:
            for task in self._tasks - self._client.on_wire:
                task.cancel()
            while self._client.on_wire and monotonic() < self._patience_ends:
                await asyncio.wait(self._tasks, timeout=LOOK_EVERY_S)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            self._claims.give_up(list(self._claimed))


def _log_failures(keys: Sequence[str], results: Results) -> None:
    """Without the endpoint's words: some repeat the document."""
    for key, result in zip(keys, results, strict=True):
        if isinstance(result, Failure):
            told = event("row_failed", reason=result.reason, request_id=key, attempts=result.attempts)
            log.info("A row got no answer: %s.", result.reason, extra=told)


def _consecutive(row: int, missing: list[int], keys: list[str]) -> list[_Ask]:
    """The missing samples of a row as runs that follow one another.

    >>> _consecutive(7, [0, 1, 3], ["a", "b", "c", "d"])
    [_Ask(row=7, first=0, keys=['a', 'b']), _Ask(row=7, first=3, keys=['d'])]
    """
    asks: list[_Ask] = []
    for i in missing:
        if asks and asks[-1].first + len(asks[-1].keys) == i:
            asks[-1].keys.append(keys[i])
        else:
            asks.append(_Ask(row, i, [keys[i]]))
    return asks
