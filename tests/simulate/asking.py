"""Short ways to ask a simulated endpoint."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any

import aiohttp

from nemocc_dask.simulate import Simulator

SENTENCES = tuple(
    f"The river {name} carries {number} barges through the old town."
    for number, name in enumerate(
        [
            "Neva",
            "Loire",
            "Douro",
            "Tiber",
            "Elbe",
            "Rhone",
            "Volga",
            "Seine",
            "Oder",
            "Ebro",
            "Arno",
            "Main",
        ],
        11,
    )
)
DOCUMENT = " ".join(SENTENCES)


def chat(task: str, document: str = DOCUMENT, **fields: Any) -> dict[str, Any]:
    """A request's body: what is asked for, and a document between its lines."""
    content = f"{task}\n<document>\n{document}\n</document>\n"
    return {"model": "simulated", "messages": [{"role": "user", "content": content}], **fields}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Message
    raw: bytes

    @property
    def body(self) -> Any:
        """Its JSON."""
        return json.loads(self.raw)

    @property
    def contents(self) -> list[str]:
        """The text of each choice."""
        return [choice["message"]["content"] for choice in self.body["choices"]]

    @property
    def error(self) -> dict[str, Any]:
        """What an error says."""
        error: dict[str, Any] = self.body["error"]
        return error


def http(url: str, body: Any = None, *, key: str | None = None, method: str | None = None) -> Answer:
    """One HTTP request; an error status is an answer like any other."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {} if key is None else {"Authorization": f"Bearer {key}"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def ask(simulator: Simulator, body: Any, *, key: str | None = None) -> Answer:
    """Asks for one chat completion."""
    return http(f"{simulator.base_url}/chat/completions", body, key=key)


def begin(simulator: Simulator, body: Any) -> socket.socket:
    """Asks for one chat completion and waits for none: the connection, open until it is closed."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", port_of(simulator)), timeout=10)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def complete(simulator: Simulator, prompt: str, **fields: Any) -> Answer:
    """Asks for one completion of a text."""
    return http(f"{simulator.base_url}/completions", {"model": "simulated", "prompt": prompt, **fields})


def address(simulator: Simulator, path: str) -> str:
    """Where it is, outside of `/v1`."""
    return simulator.base_url.removesuffix("v1") + path


def port_of(simulator: Simulator) -> int:
    """The port in its base URL."""
    return int(simulator.base_url.split(":")[2].split("/")[0])


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits for something that is going to happen, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def adds_up(stats: dict[str, Any]) -> bool:
    """Whether each request is counted in one place."""
    return bool(
        stats["requests"] == sum(stats["by_status"].values()) + stats["cut"] + stats["abandoned"] + stats["in_flight"]
    )


def ask_all(simulator: Simulator, bodies: Sequence[Any], *, at_once: int = 64) -> list[int | None]:
    """Sends all bodies, `at_once` at a time: the statuses in order, None where no whole answer came."""

    async def one(session: aiohttp.ClientSession, body: Any) -> int | None:
        try:
            async with session.post(f"{simulator.base_url}/chat/completions", json=body) as response:
                await response.read()
                return response.status
        except aiohttp.ClientError:
            return None

    async def every() -> list[int | None]:
        connector = aiohttp.TCPConnector(limit=at_once)
        async with aiohttp.ClientSession(connector=connector) as session:
            return await asyncio.gather(*(one(session, body) for body in bodies))

    return asyncio.run(every())
