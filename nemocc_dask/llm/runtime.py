"""The one event loop of a process: every thread hands its requests to it, and waits.

One loop means one HTTP session (connections are shared, none is opened twice) and one set of slots per
endpoint (a limit holds for the process, not for each thread). The loop's thread starts with the first
request, survives nothing into a forked child (which makes its own), and ends with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import aiohttp

from nemocc_dask.errors import CallerError
from nemocc_dask.llm.access import Access, connector_through, is_socks
from nemocc_dask.llm.batch import DRAIN_S, ROWS_PER_SLOT, Batch, Memory, OnResult
from nemocc_dask.llm.check import check
from nemocc_dask.llm.claims import Claims
from nemocc_dask.llm.client import ChatClient
from nemocc_dask.llm.collector import patient_collector
from nemocc_dask.llm.gate import Gate
from nemocc_dask.llm.metrics import Lane, watch
from nemocc_dask.llm.results import Answers, ChatRequest, ShouldStop, Stop, StoppedError
from nemocc_dask.llm.share import Grant, Share, Usage
from nemocc_dask.settings import Endpoint

WAIT_SLICE_S = 0.25
"""How often a waiting thread looks whether it should stop."""

CLOSE_TIMEOUT_S = 5.0
"""Longest wait for cancelled requests to end; only a callback that blocks could take so long."""

LOOK_UP_THREADS = 2
"""Threads that make keys and look into the store, beside the loop."""

T = TypeVar("T")


def answer_all(
    requests: Sequence[ChatRequest],
    endpoint: Endpoint,
    *,
    memory: Memory | None = None,
    priority: int = 0,
    on_result: OnResult | None = None,
    should_stop: ShouldStop | None = None,
    before_sending: ShouldStop | None = None,
    shared_as: str | None = None,
) -> Answers:
    """Answers requests, as many at once as the endpoint allows this process, and blocks until all are
    answered.

    requests: any number; zero start nothing. Each is looked at when its turn comes, and not kept.
    memory: where answers are looked up before, and written down as they come; None has none.
    priority: whose turn it is where several threads share the endpoint, lower first.
    on_result: called with each request's results as they come, in no order, on the loop's thread: keep it
        short.
    should_stop: asked by the calling thread, before anything is sent and a few times a second; see `Stop`.

    before_sending: the same question, asked on the loop's thread when the turn of a request has come: keep it short.
    shared_as: name of the `SharedLimits` that say how many requests this process may send.

    Results come in the order of the requests. A row that failed is a `Failure` among them.

    Raises `SettingError` before anything is sent where the key's variable is missing, `EndpointRefusedError`
    where the endpoint would refuse every request, `EndpointUnreachableError` where nobody is there,
    `concurrent.futures.CancelledError` after `should_stop`, and whatever `on_result` or `should_stop` raise. Whenever
    it raises, nothing goes on being sent, and answers that came are in the memory. KeyboardInterrupt: what is in flight
    is awaited for some seconds where there is a memory; a second one gives it up.
    """
    if not requests:
        return Answers([], 0, [])
    if should_stop is not None and should_stop():
        raise concurrent.futures.CancelledError("The requests were stopped before the first.")
    accesses = Access.to(endpoint)
    runtime = current_runtime()
    if memory is None or memory.asks:
        runtime.wait_for(runtime.first_look(accesses))
    client = runtime.wait_for(runtime.client(accesses, priority, before_sending, shared_as))
    width = ROWS_PER_SLOT * endpoint.max_concurrent_requests
    claims = runtime.claims(memory.attempt.url if memory else None)
    batch = Batch(requests, client, width=width, memory=memory, claims=claims, on_result=on_result)
    future = runtime.submit(batch.run(runtime.threads))
    try:
        with patient_collector():
            return _wait(future, partial(runtime.stop, batch), should_stop)
    except StoppedError:
        raise concurrent.futures.CancelledError("The requests were stopped.") from None
    except KeyboardInterrupt:
        runtime.end(future, batch, Stop.DRAIN if memory else Stop.NOW)
        raise
    except BaseException:
        runtime.end(future, batch, Stop.NOW)
        raise


def check_endpoint(endpoint: Endpoint) -> None:
    """Makes sure that somebody is at an endpoint's address, takes the key and knows the model, as far as it
    tells.

    Call it once before the first request. One GET {base_url}/models, 10 seconds to connect and 10 to answer.

    Raises `EndpointUnreachableError`, `EndpointRefusedError`, or `SettingError` where the key's variable is
    missing.
    """
    runtime = current_runtime()
    runtime.wait_for(runtime.check(Access.to(endpoint)))


class SharedLimits:
    """The limits of an endpoint that several processes keep together, as this one sees them.

    name: of what they belong to, such as one start of a job. Until the first grant this process sends nothing for it.
    May be used from any thread but the loop's own.
    """

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint, self._name = endpoint, name

    def usage(self) -> concurrent.futures.Future[Usage]:
        """What this process uses and wants, and what happened since the last time."""

        async def look() -> Usage:
            return current_runtime().gate(self._endpoint, self._name).usage()

        return current_runtime().submit(look())

    def go_by(self, grant: Grant, asked_at: float) -> None:
        """What it may use from now on. asked_at: when the usage was told that it answers, of the monotonic clock."""
        self._on_loop(lambda gate: gate.go_by(grant, asked_at))

    def told_in_vain(self, usage: Usage) -> None:
        """Perhaps nobody heard of it: what happened is told again."""
        self._on_loop(lambda gate: gate.told_in_vain(usage))

    def close(self) -> None:
        """The limits are of no use any more."""
        runtime = current_runtime()
        runtime.loop.call_soon_threadsafe(runtime.forget_gate, self._endpoint, self._name)

    def _on_loop(self, do: Callable[[Gate], None]) -> None:
        runtime = current_runtime()
        runtime.loop.call_soon_threadsafe(lambda: do(runtime.gate(self._endpoint, self._name)))


def _wait(
    future: concurrent.futures.Future[T],
    stop: Callable[[Stop], None] = lambda _: None,
    should_stop: ShouldStop | None = None,
) -> T:
    # In slices, because a wait without end cannot be interrupted on Windows.
    while not concurrent.futures.wait([future], timeout=WAIT_SLICE_S).done:
        if should_stop is not None and (how := Stop.of(should_stop())):
            stop(how)
    return future.result()


class Runtime:
    """An event loop in a thread of its own, with the session and the gates that live on it.

    `submit`, `wait_for`, `claims`, `lanes`, `stop` and `end` may be called from any other thread; the rest on the loop
    only.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="nemocc-requests", daemon=True)
        self.thread.start()
        self.threads = concurrent.futures.ThreadPoolExecutor(LOOK_UP_THREADS, "nemocc-look-up")
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}
        self._gates: dict[tuple[Identity, str | None], Gate] = {}
        self._claims: dict[str, Claims] = {}
        self._looked_at: set[Identity] = set()
        self._looking = asyncio.Lock()

    def is_alive(self) -> bool:
        """Whether this process can use it: a forked child has its memory, but not its thread."""
        return self.pid == os.getpid() and self.thread.is_alive() and not self.loop.is_closed()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine on the loop.

        Raises `CallerError` on the loop's own thread: whoever waits there for the result would wait for ever.
        """
        if threading.current_thread() is self.thread:
            coroutine.close()
            raise CallerError(
                "Requests cannot be waited for on the thread that sends them. Call this from another thread, "
                "not from on_result."
            )
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and waits for its result; an interrupted wait cancels it."""
        future = self.submit(coroutine)
        try:
            return _wait(future)
        except BaseException:
            future.cancel()
            raise

    async def check(self, accesses: tuple[Access, ...]) -> None:
        """`check_endpoint` on the loop."""
        await check(accesses, [self.session(access) for access in accesses])
        self._looked_at.add(_identity(accesses[0].endpoint))

    async def first_look(self, accesses: tuple[Access, ...]) -> None:
        """The same where this process has not looked at the endpoint yet; of many who ask at once, one looks."""
        async with self._looking:
            if _identity(accesses[0].endpoint) not in self._looked_at:
                await self.check(accesses)

    def session(self, access: Access) -> aiohttp.ClientSession:
        """The session of the process for a way to the network. The gate limits connections, so it does not."""
        socks = str(access.proxy) if is_socks(access.proxy) else None
        if socks not in self._sessions:
            connector = connector_through(socks)
            self._sessions[socks] = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._sessions[socks]

    def gate(self, endpoint: Endpoint, shared_as: str | None = None) -> Gate:
        """The gate of an endpoint: of its addresses, its model and its key, whatever else the settings say.

        Two settings that differ in their limits share the gate, and the most recent limits hold for both: with a gate
        for each, both together would go over either limit. Limits that other processes keep too have one of their own.
        """
        key = _identity(endpoint), shared_as
        if key not in self._gates:
            self._gates[key] = Gate(endpoint, share=Share.of(endpoint) if shared_as else None)
        else:
            self._gates[key].adopt(endpoint)
        return self._gates[key]

    def forget_gate(self, endpoint: Endpoint, shared_as: str) -> None:
        """Nobody will come through it any more."""
        self._gates.pop((_identity(endpoint), shared_as), None)

    async def client(
        self, accesses: tuple[Access, ...], priority: int, before_sending: ShouldStop | None, shared_as: str | None
    ) -> ChatClient:
        """What answers the requests of a batch."""
        sessions = tuple(self.session(access) for access in accesses)
        return ChatClient(accesses, sessions, self.gate(accesses[0].endpoint, shared_as), priority, before_sending)

    def lanes(self) -> list[Lane]:
        """The gates as they are now; from any thread."""
        return [Lane(model, gate.in_flight, gate.limit) for ((_, model, _), _), gate in list(self._gates.items())]

    def claims(self, store: str | None) -> Claims:
        """What is being asked for a store; without a store nobody shares what anybody asks."""
        return Claims() if store is None else self._claims.setdefault(store, Claims())

    def stop(self, batch: Batch, how: Stop) -> None:
        """Has a batch end early."""
        self.loop.call_soon_threadsafe(batch.stop, how)

    def end(self, future: concurrent.futures.Future[Any], batch: Batch, how: Stop) -> None:
        """Stops a batch and waits until nothing of it is left; an interrupt meanwhile has it hurry."""
        try:
            self.stop(batch, how)
            concurrent.futures.wait([future], DRAIN_S + CLOSE_TIMEOUT_S)
        except KeyboardInterrupt:
            self.stop(batch, Stop.NOW)
            concurrent.futures.wait([future], CLOSE_TIMEOUT_S)
            raise

    def close(self) -> None:
        """Cancels what is still running, closes the connections and ends the thread."""
        self.submit(self._wind_up()).result(CLOSE_TIMEOUT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CLOSE_TIMEOUT_S)
        self.loop.close()
        self.threads.shutdown(wait=False)

    async def _wind_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for session in self._sessions.values():
            await session.close()


Identity = tuple[tuple[str, ...], str, str | None]


def _identity(endpoint: Endpoint) -> Identity:
    return endpoint.base_urls, endpoint.model, endpoint.api_key_env


_lock = threading.Lock()
_runtime: Runtime | None = None
_abandoned: list[Runtime | None] = []
"""Keeps runtimes of a parent process from the garbage collector; see `_start_afresh`."""


def current_runtime() -> Runtime:
    """This process's runtime, made on first use."""
    global _runtime
    with _lock:
        if _runtime is None or not _runtime.is_alive():
            _abandoned.append(_runtime)
            _runtime = Runtime()
        return _runtime


@atexit.register
def close_runtime() -> None:
    """Ends this process's runtime, if it has one; the next request makes another."""
    global _runtime
    with _lock:
        if _runtime is not None and _runtime.is_alive():
            _runtime.close()
            _runtime = None


def _lanes() -> list[Lane]:
    runtime = _runtime
    return runtime.lanes() if runtime is not None and runtime.is_alive() else []


watch(_lanes)


def _start_afresh() -> None:
    """In a forked child: the lock may be held by a thread that is not there, and the runtime has no thread.

    The parent's runtime is kept and never touched: closing its session or loop here would reach into
    connections and the poll set that both processes share, and so would the garbage collector.
    """
    global _lock, _runtime
    _lock = threading.Lock()
    _abandoned.append(_runtime)
    _runtime = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
