"""A real HTTP server on loopback that answers by a script, and what the tests say to it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from nemocc_dask.llm import ChatRequest, Message, close_runtime
from nemocc_dask.settings import Endpoint, GenerationConfig


@dataclasses.dataclass(frozen=True)
class Reply:
    """What the server does with one request.

    cut: "before" the headers, "within" the body, or None. raw: bytes put on the wire instead of any HTTP.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    delay_s: float = 0.0
    cut: str | None = None
    raw: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Call:
    """One request as the server saw it: its number from 0, path, headers, parsed body, and when it came."""

    number: int
    path: str
    headers: dict[str, str]
    body: Any
    at: float

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


class ScriptedServer:
    """Answers POST by `script(call)` and GET by `models`; remembers every call, POSTs and GETs (`looks`) apart."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.looks: list[Call] = []
        self.in_flight: list[tuple[float, int]] = []
        self._now = 0
        self.script: Callable[[Call], Reply] = lambda call: self.chat(f"to {call.prompt}")
        self.models = Reply(body=json.dumps({"data": [{"id": "m"}, {"id": "n"}]}).encode())
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @staticmethod
    def reply(status: int = 200, body: Any = b"", **how: Any) -> Reply:
        return Reply(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **how)

    @classmethod
    def chat(cls, *texts: Any, **more: Any) -> Reply:
        """A well-formed response with a choice for each text; `more` are fields of the body or `Reply`."""
        how = {name: more.pop(name) for name in ("status", "headers", "delay_s", "cut") if name in more}
        choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in texts]
        usage = {"prompt_tokens": 7, "completion_tokens": 11}
        return cls.reply(body={"choices": choices, "model": "m-1", "usage": usage} | more, **how)

    @classmethod
    def error(cls, status: int, message: str = "no", code: str | None = None, **how: Any) -> Reply:
        return cls.reply(status, {"error": {"message": message, "code": code}}, **how)

    @property
    def prompts(self) -> list[str]:
        return [call.prompt for call in self.calls]

    @property
    def peak(self) -> int:
        return max(number for _, number in self.in_flight)

    def mean_in_flight(self, until: float) -> float:
        """Requests at once, averaged over the time from the first one to `until`."""
        steps = [(at, number) for at, number in self.in_flight if at < until]
        ends = [at for at, _ in steps[1:]] + [until]
        area = sum(number * (end - at) for (at, number), end in zip(steps, ends, strict=True))
        return area / (until - steps[0][0])

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        sent = await request.read()
        body, headers = json.loads(sent) if sent else None, dict(request.headers)
        if request.method == "GET":
            self.looks.append(Call(len(self.looks), request.path, headers, body, time.monotonic()))
            await asyncio.sleep(self.models.delay_s)
            return await self._put(request, self.models)
        call = Call(len(self.calls), request.path, headers, body, time.monotonic())
        self.calls.append(call)
        self._count(+1)
        try:
            reply = self.script(call)
            await asyncio.sleep(reply.delay_s)
            return await self._put(request, reply)
        finally:
            self._count(-1)

    async def _put(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if request.transport is None:  # the client has left
            return web.Response()
        if reply.raw is not None:
            request.transport.write(reply.raw)  # type: ignore[attr-defined]
            request.transport.close()
        if reply.cut == "before":
            request.transport.abort()  # type: ignore[attr-defined]
        if reply.cut == "within":
            response = web.StreamResponse(headers={"Content-Length": str(len(reply.body))})
            await response.prepare(request)
            await response.write(reply.body[: len(reply.body) // 2])
            await asyncio.sleep(0.02)
            request.transport.abort()  # type: ignore[attr-defined]
            return response
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def _count(self, change: int) -> None:
        self._now += change
        self.in_flight.append((time.monotonic(), self._now))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def endpoint(server: ScriptedServer) -> Endpoint:
    """The server as an endpoint, with delays short enough for tests."""
    return Endpoint(
        base_url=f"http://127.0.0.1:{server.port}/v1",
        model="m",
        max_concurrent_requests=8,
        max_retries=3,
        base_delay=0.02,
        max_delay=0.1,
        timeout=5,
    )


@pytest.fixture
def ask() -> Callable[..., ChatRequest]:
    """Makes a request of a prompt and sampling settings."""

    def make(prompt: str = "Hi", sample: int = 0, **sampling: Any) -> ChatRequest:
        return ChatRequest((Message("user", prompt),), GenerationConfig(**sampling), sample)

    return make


@pytest.fixture(autouse=True)
def _end_of_runtime() -> Iterator[None]:
    """Each test starts without a runtime and ends with none left."""
    close_runtime()
    yield
    close_runtime()
