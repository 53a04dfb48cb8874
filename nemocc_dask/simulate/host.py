"""Runs the simulated endpoint: in a thread of this process, or in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from nemocc_dask.errors import SettingError
from nemocc_dask.simulate.knobs import Knobs
from nemocc_dask.simulate.server import application
from nemocc_dask.simulate.simulation import Simulation

T = TypeVar("T")

LOCALHOST = "127.0.0.1"
DEFAULT_PORT = 8000
WAITING_CONNECTIONS = 4096
"""So that hundreds of clients may connect in the same moment; the system may allow fewer."""
STOP_WAIT_S = 0.1
"""How long a stop waits for requests that are open: a slow simulated answer is worth no wait."""


class Simulator:
    """A simulated endpoint in a thread of this process, for tests, notebooks and demos.

    It shares the interpreter with its client, so for measurements run it in a process of its own (`serve`).
    knobs: its settings. host, port: where it listens; port 0 takes a free one.

    Raises `SettingError` on entering where the port is taken.

    >>> with Simulator(Knobs(api_key="k")) as simulator:
    ...     simulator.base_url.startswith("http://127.0.0.1:"), simulator.stats()["requests"]
    (True, 0)
    """

    def __init__(self, knobs: Knobs | None = None, *, host: str = LOCALHOST, port: int = 0) -> None:
        self.knobs = Knobs() if knobs is None else knobs
        self._address = host, port
        self._simulation = Simulation(self.knobs)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._base_url = ""

    @property
    def base_url(self) -> str:
        """Its address, up to and including `/v1`; empty while it does not run."""
        return self._base_url

    def start(self) -> Self:
        """Starts it and returns once it listens; does nothing where it already runs."""
        if self._thread is not None:
            return self
        started: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="nemocc-simulator", daemon=True)
        self._thread.start()
        try:
            self._base_url = started.result()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Closes its connections, its port and its thread; the counts stay."""
        if self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread is not None:
            self._thread.join()
        self._thread = self._loop = self._stopped = None
        self._base_url = ""

    def stats(self) -> dict[str, Any]:
        """The counts so far, as GET /stats sends them."""
        return self._on_loop(self._simulation.snapshot)

    def reset(self) -> None:
        """Forgets all counts and all bodies it has seen, as POST /stats/reset does."""
        self._on_loop(self._simulation.reset)

    def revive(self) -> None:
        """Brings it back where it died of `fails_after`, as POST /revive does; it dies no more."""
        self._on_loop(lambda: self._simulation.life.revive())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, started: Future[str]) -> None:
        try:
            asyncio.run(self._until_stopped(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _until_stopped(self, started: Future[str]) -> None:
        async with listening(self._simulation, *self._address) as base_url:
            self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
            started.set_result(base_url)
            await self._stopped.wait()

    def _on_loop(self, look: Callable[[], T]) -> T:
        """Runs `look` between two steps of the server, so that it sees counts that belong together."""
        if self._loop is None:
            return look()

        async def between_steps() -> T:
            return look()

        return asyncio.run_coroutine_threadsafe(between_steps(), self._loop).result()


def serve(knobs: Knobs, host: str = LOCALHOST, port: int = DEFAULT_PORT) -> None:
    """Serves until SIGINT or SIGTERM; prints one line with the base URL once it listens.

    Raises `SettingError` where it cannot listen there.
    """
    with suppress(KeyboardInterrupt):  # where the loop can handle no signals (Windows), Ctrl-C arrives as this
        asyncio.run(_until_signalled(Simulation(knobs), host, port))


async def _until_signalled(simulation: Simulation, host: str, port: int) -> None:
    async with listening(simulation, host, port) as base_url:
        stopped = asyncio.Event()
        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        print(f"Simulated endpoint (not a language model) at {base_url}; Ctrl-C stops it.", flush=True)
        await stopped.wait()


@asynccontextmanager
async def listening(simulation: Simulation, host: str, port: int) -> AsyncIterator[str]:
    """Listens while the block runs, which gets the base URL; a request is dropped when its client leaves."""
    app = application(simulation)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_WAIT_S)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield _base_url(host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port, backlog=WAITING_CONNECTIONS).start()
    except (OSError, OverflowError) as error:
        raise _cannot_listen(host, port, error) from None


def _cannot_listen(host: str, port: int, error: Exception) -> SettingError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return SettingError(f"Port {port} on {host} is in use by another program; take another, or 0 for a free one.")
    reason = os.strerror(number) if number and number > 0 else str(error)
    return SettingError(f"The simulated endpoint cannot listen on {host}, port {port}: {reason}.")


def _base_url(host: str, port: int) -> str:
    """An address a client on this machine can use, also where the host stands for all of its interfaces."""
    reachable = {"0.0.0.0": LOCALHOST, "": LOCALHOST, "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}/v1" if ":" in reachable else f"http://{reachable}:{port}/v1"
