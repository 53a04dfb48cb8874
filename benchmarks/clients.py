"""What a request costs the process that sends it: this package's engine, bare aiohttp, and the `openai` SDK."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import openai
from measure import measure
from requesting import Server
from tables import Table

from nemocc_dask import GenerationConfig
from nemocc_dask.llm import Answer, ChatRequest, Memory, Message, Store, answer_all

SAMPLING = GenerationConfig(max_tokens=200)
WORDS = "Water boils at 100 degrees at the level of the sea, and earlier on mountains. "

Ask = Callable[[Server, int, int], int]
"""(server, requests, requests at once) → how many were answered."""


def prompts(count: int) -> list[str]:
    """So many different prompts of about 1,500 characters."""
    return [f"Document {number}. Summarise it in a sentence. {WORDS * 19}" for number in range(count)]


def with_engine(server: Server, count: int, limit: int) -> int:
    """`answer_all`, without a store."""
    return _engine(server, count, limit, None)


def with_engine_and_store(server: Server, count: int, limit: int) -> int:
    """`answer_all`, every answer written to a store as it comes."""
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as folder, Store(folder).attempt("bench") as attempt:
        return _engine(server, count, limit, Memory(attempt=attempt, label="bench", recipe="bench"))


def _engine(server: Server, count: int, limit: int, memory: Memory | None) -> int:
    requests = [ChatRequest((Message("user", prompt),), SAMPLING) for prompt in prompts(count)]
    answers = answer_all(requests, server.endpoint(limit), memory=memory)
    return sum(isinstance(one, Answer) for results in answers.results for one in results)


def with_aiohttp(server: Server, count: int, limit: int) -> int:
    """The least that aiohttp takes: a body, a post, the content of the reply; no retries, no books."""
    return asyncio.run(_with_aiohttp(server, prompts(count), limit))


async def _with_aiohttp(server: Server, prompts: Sequence[str], limit: int) -> int:
    url, answered, todo = f"{server.base_url}/chat/completions", 0, iter(prompts)

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        for prompt in todo:
            body = {"model": "simulated", "messages": [{"role": "user", "content": prompt}], "max_tokens": 200}
            async with session.post(
                url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
            ) as response:
                reply = json.loads(await response.read())
                answered += bool(reply["choices"][0]["message"]["content"])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(limit)))
    return answered


def with_openai(server: Server, count: int, limit: int) -> int:
    """The official SDK, with so many requests at once."""
    return asyncio.run(_with_openai(server, prompts(count), limit))


async def _with_openai(server: Server, prompts: Sequence[str], limit: int) -> int:
    answered, todo = 0, iter(prompts)

    async def work(client: openai.AsyncOpenAI) -> None:
        nonlocal answered
        for prompt in todo:
            reply = await client.chat.completions.create(
                model="simulated", messages=[{"role": "user", "content": prompt}], max_tokens=200
            )
            answered += bool(reply.choices[0].message.content)

    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        await asyncio.gather(*(work(client) for _ in range(limit)))
    return answered


CLIENTS: dict[str, tuple[Ask, int]] = {
    "bare aiohttp": (with_aiohttp, 1),
    "this engine": (with_engine, 1),
    "this engine, with a store": (with_engine_and_store, 1),
    "`openai` SDK": (with_openai, 4),
}
"""Name → what asks, and by how much its requests are fewer: the SDK would take minutes."""


def clients(server: Server, *, limit: int, rounds: int, repeats: int) -> Table:
    """The clients one after another, round and round, so that each meets the same neighbours on the machine."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS}
    for _ in range(repeats):
        for name, (ask, fewer) in CLIENTS.items():
            taken[name].append(_taken(ask, server, limit * max(1, rounds // fewer), limit))
    best = {
        name: (max(rates), min(costs)) for name, each in taken.items() for rates, costs in [zip(*each, strict=True)]
    }
    bare, sdk = best["bare aiohttp"], best["`openai` SDK"]
    rows = [(name, rate, 1000 * cost, cost / bare[1], rate / sdk[0]) for name, (rate, cost) in best.items()]
    return Table(
        "What a request costs the client",
        f"{limit} at once, each answered after {server.latency_s * 1000:.0f} ms by an endpoint in another process; "
        f"prompts of 1,500 characters; ideal {limit / server.latency_s:,.0f} requests a second. The best of {repeats} "
        "rounds, in which the clients take turns. CPU: of the asking process alone.",
        ("client", "requests/s", "CPU a request, ms", "× bare aiohttp's CPU", "× the SDK's requests/s"),
        rows,
    )


def _taken(ask: Ask, server: Server, count: int, limit: int) -> tuple[float, float]:
    """Requests a second, and CPU seconds each."""
    server.reset()
    taken: Any = measure(1, lambda _: ask(server, count, limit))
    if taken.result != count:
        raise SystemExit(f"bench.py: {count - taken.result} of {count} requests were not answered.")
    return count / taken.wall_s, taken.cpu_s / count
