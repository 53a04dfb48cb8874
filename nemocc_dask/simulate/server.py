"""The simulated endpoint's HTTP: which path is answered by what, and how a connection is cut."""

from __future__ import annotations

from aiohttp import web

from nemocc_dask.simulate import wire
from nemocc_dask.simulate.simulation import Simulation
from nemocc_dask.simulate.stats import ABANDONED, Reply

LARGEST_BODY_BYTES = 256 * 2**20


class Doors:
    """The handlers of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions. Counted as done before the answer leaves: clients read exact counts."""
        stats = self._simulation.stats
        stats.arrived()
        reply = ABANDONED
        try:
            key = request.headers.get("Authorization")
            reply = await self._simulation.reply(await request.read(), key, stats)
        finally:
            stats.left(reply)
        return await _sent(request, reply)

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        try:
            self._simulation.check_key(request.headers.get("Authorization"))
        except wire.RefusedError as refused:
            return _refusal(refused)
        return web.json_response(wire.model_list(self._simulation.knobs))

    async def stats(self, _: web.Request) -> web.Response:
        """GET /stats."""
        return web.json_response(self._simulation.stats.snapshot())

    async def reset(self, _: web.Request) -> web.Response:
        """POST /stats/reset: the counts as they were, so none is lost between a look and a reset."""
        before = self._simulation.stats.snapshot()
        self._simulation.reset()
        return web.json_response(before)

    async def health(self, _: web.Request) -> web.Response:
        """GET /health."""
        return web.json_response({"status": "ok", "what": wire.NO_LLM})

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Every other path, /v1/completions among them."""
        return _refusal(wire.RefusedError.path(request.method, request.path))


def application(simulation: Simulation) -> web.Application:
    """The web application of a simulation."""
    doors, app = Doors(simulation), web.Application(client_max_size=LARGEST_BODY_BYTES)
    app.router.add_post("/v1/chat/completions", doors.chat)
    app.router.add_get("/v1/models", doors.models)
    app.router.add_get("/stats", doors.stats)
    app.router.add_post("/stats/reset", doors.reset)
    app.router.add_get("/health", doors.health)
    app.router.add_route("*", "/{path:.*}", doors.elsewhere)
    return app


def _refusal(refused: wire.RefusedError) -> web.Response:
    return web.Response(body=refused.body, status=refused.status, content_type="application/json")


async def _sent(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.status is None:
        return await _cut(request, reply.body)
    return web.Response(body=reply.body, status=reply.status, headers=reply.headers, content_type="application/json")


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    """Closes the connection after the headers and half of the body, or, without a body, before any byte."""
    response = web.StreamResponse()
    if body:
        response.content_length, response.content_type = len(body), "application/json"
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
