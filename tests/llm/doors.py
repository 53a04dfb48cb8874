"""Servers on loopback that stand before another one: proxies by HTTP CONNECT and by SOCKS5, and one that speaks TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import closing, suppress
from typing import Self

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class Door:
    """Lets each connection through to `port`, once it has said what this kind of door wants to hear.

    heard: what each has said. open: whether connections are let through; those that are not get the door's own words.
    """

    def __init__(self, to: int, tls: ssl.SSLContext | None = None) -> None:
        self._to, self._tls = to, tls
        self.heard: list[str] = []
        self.open = True
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def greet(self, reader: Reader, writer: Writer) -> bool:
        """Whether the connection is let through. Here: without a word."""
        self.heard.append("")
        return self.open

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._noted, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _noted(self, reader: Reader, writer: Writer) -> None:
        task = self._loop.create_task(self._enter(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _enter(self, reader: Reader, writer: Writer) -> None:
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            if await self.greet(reader, writer):
                to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
                with closing(to_writer):
                    await asyncio.gather(_pass_on(reader, to_writer), _pass_on(to_reader, writer))


async def _pass_on(reader: Reader, writer: Writer) -> None:
    with closing(writer), suppress(OSError):
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()


class ConnectProxy(Door):
    """A proxy that opens tunnels; it hears host, port and credentials. Closed, it wants others."""

    async def greet(self, reader: Reader, writer: Writer) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        credentials = [line.partition(" ")[2] for line in head if line.startswith("Proxy-Authorization:")]
        self.heard.append(" ".join([head[0].split()[1], *credentials]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if self.open else b"HTTP/1.1 407 Who are you?\r\n\r\n")
        await writer.drain()
        return self.open


class Socks5(Door):
    """A proxy that speaks SOCKS5 (RFC 1928, 1929); it hears host, port and credentials. Closed, it finds no host."""

    async def greet(self, reader: Reader, writer: Writer) -> bool:
        _, methods = await reader.readexactly(2)
        with_password = 2 in await reader.readexactly(methods)
        writer.write(bytes([5, 2 if with_password else 0]))
        said = []
        if with_password:
            await reader.readexactly(1)
            said = [await self._counted(reader), await self._counted(reader)]
            writer.write(b"\x01\x00")
        *_, kind = await reader.readexactly(4)
        host = await self._counted(reader) if kind == 3 else f"type {kind}"
        port = int.from_bytes(await reader.readexactly(2))
        self.heard.append(" ".join([f"{host}:{port}", *said]))
        writer.write(bytes([5, 0 if self.open else 4, 0, 1]) + bytes(6))
        await writer.drain()
        return self.open

    @staticmethod
    async def _counted(reader: Reader) -> str:
        (length,) = await reader.readexactly(1)
        return (await reader.readexactly(length)).decode()
