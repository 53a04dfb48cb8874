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
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import aiohttp

from nemocc_dask.errors import CallerError
from nemocc_dask.llm.access import Access
from nemocc_dask.llm.check import check
from nemocc_dask.llm.client import ChatClient
from nemocc_dask.llm.limits import Slots
from nemocc_dask.llm.results import Answers, ChatRequest, Results
from nemocc_dask.settings import Endpoint

WAIT_SLICE_S = 0.5
"""How often a waiting thread looks whether it should stop."""

ROWS_PER_SLOT = 2
"""Requests held as coroutines per slot: enough that a row waiting to retry leaves its slot to another."""

STOP_TIMEOUT_S = 5.0
"""Longest wait for cancelled requests to end; only a callback that blocks could take so long."""

OnResult = Callable[[Results], None]
ShouldStop = Callable[[], bool]
T = TypeVar("T")


def answer_all(
    requests: Sequence[ChatRequest],
    endpoint: Endpoint,
    *,
    priority: int = 0,
    on_result: OnResult | None = None,
    should_stop: ShouldStop | None = None,
) -> Answers:
    """Answers requests, as many at once as the endpoint allows this process, and blocks until all are
    answered.

    requests: any number; zero start nothing.
    priority: whose turn it is where several threads share the endpoint, lower first.
    on_result: called with each request's results as they come, in no order, on the loop's thread: keep it
        short.
    should_stop: asked by the calling thread, before anything is sent and about twice a second; True stops the sending.

    Results come in the order of the requests. A row that failed is a `Failure` among them.

    Raises `SettingError` before anything is sent where the key's variable is missing, `EndpointRefusedError`
    where the endpoint would refuse every request, `concurrent.futures.CancelledError` after `should_stop`,
    and whatever `on_result` or `should_stop` raise. Whenever it raises, KeyboardInterrupt included, its
    requests have been
    cancelled: nothing goes on being sent.
    """
    if not requests:
        return Answers([], 0)
    if should_stop is not None and should_stop():
        raise _stopped()
    access = Access.to(endpoint)
    runtime = current_runtime()
    batch = _Batch(requests, on_result)
    future = runtime.submit(batch.run(runtime, access, priority))
    try:
        return _wait(future, should_stop)
    except BaseException:
        future.cancel()
        concurrent.futures.wait([runtime.submit(batch.ended())], STOP_TIMEOUT_S)
        raise


def check_endpoint(endpoint: Endpoint) -> None:
    """Makes sure that somebody is at an endpoint's address, takes the key and knows the model, as far as it
    tells.

    Call it once before the first request. One GET {base_url}/models, 10 seconds to connect and 10 to answer.

    Raises `EndpointUnreachableError`, `EndpointRefusedError`, or `SettingError` where the key's variable is
    missing.
    """
    access = Access.to(endpoint)
    runtime = current_runtime()
    future = runtime.submit(runtime.check(access))
    try:
        _wait(future, None)
    except BaseException:
        future.cancel()
        raise


def _wait(future: concurrent.futures.Future[T], should_stop: ShouldStop | None) -> T:
    # In slices, because a wait without end cannot be interrupted on Windows.
    while not concurrent.futures.wait([future], timeout=WAIT_SLICE_S).done:
        if should_stop is not None and should_stop():
            raise _stopped()
    return future.result()


def _stopped() -> concurrent.futures.CancelledError:
    return concurrent.futures.CancelledError("The requests were stopped by should_stop.")


class _Batch:
    """The requests of one call of `answer_all`, worked off by a bounded number of tasks."""

    def __init__(self, requests: Sequence[ChatRequest], on_result: OnResult | None) -> None:
        self.requests = requests
        self.on_result = on_result
        self.results: list[Results] = [()] * len(requests)
        self.workers: list[asyncio.Task[None]] = []

    async def run(self, runtime: Runtime, access: Access, priority: int) -> Answers:
        """All results. The first error of a worker cancels the others, which have ended when it is raised."""
        slots = runtime.slots_of(access.endpoint)
        client = ChatClient(access, runtime.session(), slots, priority)
        todo = iter(enumerate(self.requests))
        width = min(len(self.requests), ROWS_PER_SLOT * slots.limit)
        first: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self.workers = [group.create_task(self._work(client, todo)) for _ in range(width)]
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
        if first is not None:
            # Raised out here: within the block above, the group that holds it would become its context, and an error
            # that contains itself does not survive the pickling on its way from a Dask worker.
            raise first
        return Answers(self.results, client.http_requests)

    async def _work(self, client: ChatClient, todo: Iterator[tuple[int, ChatRequest]]) -> None:
        for index, request in todo:
            self.results[index] = await client.answer(request)
            if self.on_result is not None:
                self.on_result(self.results[index])

    async def ended(self) -> None:
        """Waits until no task of the batch is left, whatever became of each."""
        if self.workers:
            await asyncio.wait(self.workers)


class Runtime:
    """An event loop in a thread of its own, with the session and the slots that live on it.

    `submit` may be called from any other thread; `session` and `slots_of` on the loop only.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="nemocc-requests", daemon=True)
        self.thread.start()
        self._session: aiohttp.ClientSession | None = None
        self._slots: dict[tuple[str, str, str | None], Slots] = {}

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

    async def check(self, access: Access) -> None:
        """`check_endpoint` on the loop."""
        await check(access, self.session())

    def session(self) -> aiohttp.ClientSession:
        """The session of the process. The slots limit connections, so it does not."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def slots_of(self, endpoint: Endpoint) -> Slots:
        """The slots of an endpoint: of an address, a model and a key, whatever else the settings say.

        Two settings that differ in their limit share the slots, and the most recent limit holds for both:
        with slots for each, both together would go over either limit.
        """
        identity = (endpoint.base_url, endpoint.model, endpoint.api_key_env)
        slots = self._slots.setdefault(identity, Slots(endpoint.max_concurrent_requests))
        slots.resize(endpoint.max_concurrent_requests)
        return slots

    def close(self) -> None:
        """Cancels what is still running, closes the connections and ends the thread."""
        self.submit(self._wind_up()).result(STOP_TIMEOUT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(STOP_TIMEOUT_S)
        self.loop.close()

    async def _wind_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


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
