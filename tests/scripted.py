"""A real HTTP server on loopback whose every reply is written by the test, for where a reply must be exact."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from aiohttp import web

from nemocc_dask.settings import Endpoint


class Reply(NamedTuple):
    """Status, JSON body, headers, and seconds until it comes."""

    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    delay_s: float = 0.0


def chat(
    *texts: str | None, finish_reason: str = "stop", model: str = "m-1", usage: Any = (7, 11), **how: Any
) -> Reply:
    """A completion with one choice per text; `usage` None leaves it out."""
    choices = [{"index": i, "message": {"content": t}, "finish_reason": finish_reason} for i, t in enumerate(texts)]
    body: dict[str, Any] = {"choices": choices, "model": model}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Reply(200, body, **how)


def completed(text: str, *, finish_reason: str = "stop", usage: Any = (7, 11)) -> Reply:
    """A completion of a text."""
    billed = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Reply(200, {"choices": [{"text": text, "finish_reason": finish_reason}], "model": "m-1", "usage": billed})


def error(status: int, message: str = "no", **how: Any) -> Reply:
    """An error in the usual shape."""
    return Reply(status, {"error": {"message": message, "code": None}}, **how)


def document_in(body: dict[str, Any]) -> str:
    """The document a request asks about: what stands between the tags of the package's prompts."""
    prompt: str = body["messages"][-1]["content"]
    return prompt.rpartition("<document>\n")[2].removesuffix("\n</document>")


class ScriptedEndpoint:
    """Answers each request by `reply(body)`, and remembers bodies and the times at which they came."""

    def __init__(self) -> None:
        self.reply: Callable[[dict[str, Any]], Reply] = lambda body: chat(f"to {document_in(body)}")
        self.models = ["m"]
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def endpoint(self, **settings: Any) -> Endpoint:
        """This server as an endpoint whose retries come soon enough for tests."""
        quick = {"model": "m", "base_delay": 0.01, "max_delay": 0.02, "timeout": 5.0}
        return Endpoint(base_url=f"http://127.0.0.1:{self.port}/v1", **quick | settings)

    def times_asked(self, words: str) -> int:
        """How many requests had these words in their prompt."""
        return sum(words in body["messages"][-1]["content"] for body in self.bodies)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("POST", "/v1/chat/completions", self._answer)
        app.router.add_route("POST", "/v1/completions", self._answer)
        app.router.add_route("GET", "/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.times.append(time.monotonic())
        reply = self.reply(body)
        await asyncio.sleep(reply.delay_s)
        return web.json_response(reply.body, status=reply.status, headers=reply.headers)
