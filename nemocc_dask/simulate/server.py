"""The simulated endpoint's HTTP: which path is answered by what, and how a connection is cut."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from nemocc_dask.simulate import wire
from nemocc_dask.simulate.asked import read_chat, read_plain
from nemocc_dask.simulate.faults import DEAD
from nemocc_dask.simulate.refusals import RefusedError
from nemocc_dask.simulate.simulation import Read, Simulation
from nemocc_dask.simulate.stats import ABANDONED, Reply

LARGEST_BODY_BYTES = 256 * 2**20


class Doors:
    """The handlers of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._open: set[asyncio.Transport | None] = set()

    async def completions(self, request: web.Request, *, read: Read) -> web.StreamResponse:
        """POST /v1/chat/completions and /v1/completions, whose bodies are read differently.

        The reply is counted as done before it leaves: clients read exact counts.
        """
        stats, transport = self._simulation.stats, request.transport
        came, reply = stats.arrived(), ABANDONED
        try:
            if self._simulation.life.takes_one_more():
                self._open.add(transport)
                key = request.headers.get("Authorization")
                ready = await self._simulation.reply(await request.read(), key, read, stats)
                # Hung up in the same turn of the loop, whose cancellation comes one turn later: nobody gets this.
                reply = ABANDONED if transport is None or transport.is_closing() else ready
            else:
                self._hang_up()
                reply = Reply(status=None, fault=DEAD)
        finally:
            self._open.discard(transport)
            stats.left(reply, came)
        return await _sent(request, reply)

    def _hang_up(self) -> None:
        """Closes the connections of all that is worked on, whose clients get no answer any more."""
        for transport in self._open:
            if transport is not None:
                transport.close()

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models."""
        if self._simulation.life.dead:
            return await _cut(request, b"")
        try:
            self._simulation.check_key(request.headers.get("Authorization"))
        except RefusedError as refused:
            return _refusal(refused)
        return web.json_response(wire.model_list(self._simulation.knobs))

    async def stats(self, _: web.Request) -> web.Response:
        """GET /stats."""
        return web.json_response(self._simulation.snapshot())

    async def reset(self, _: web.Request) -> web.Response:
        """POST /stats/reset: the counts as they were, so none is lost between a look and a reset."""
        before = self._simulation.snapshot()
        self._simulation.reset()
        return web.json_response(before)

    async def revive(self, _: web.Request) -> web.Response:
        """POST /revive: an endpoint that died is alive again."""
        self._simulation.life.revive()
        return web.json_response({"dead": False})

    async def health(self, request: web.Request) -> web.StreamResponse:
        """GET /health."""
        if self._simulation.life.dead:
            return await _cut(request, b"")
        return web.json_response({"status": "ok", "what": wire.NO_LLM})

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Every other path."""
        if self._simulation.life.dead:
            return await _cut(request, b"")
        return _refusal(RefusedError.path(request.method, request.path))


def application(simulation: Simulation) -> web.Application:
    """The web application of a simulation."""
    doors, app = Doors(simulation), web.Application(client_max_size=LARGEST_BODY_BYTES)
    app.router.add_post("/v1/chat/completions", partial(doors.completions, read=read_chat))
    app.router.add_post("/v1/completions", partial(doors.completions, read=read_plain))
    app.router.add_get("/v1/models", doors.models)
    app.router.add_get("/stats", doors.stats)
    app.router.add_post("/stats/reset", doors.reset)
    app.router.add_post("/revive", doors.revive)
    app.router.add_get("/health", doors.health)
    app.router.add_route("*", "/{path:.*}", doors.elsewhere)
    return app


def _refusal(refused: RefusedError) -> web.Response:
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
