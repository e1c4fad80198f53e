"""The Gremlin server of `make services`, and servers that a test starts, ends or has misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gremlin_python.process.traversal import Traverser
from gremlin_python.structure.io.graphbinaryV1 import GraphBinaryWriter

from tests.connector_rig import served

SERVICE = Path(__file__).parents[1] / "build" / "services" / "gremlin"


def address() -> tuple[str, int]:
    """Host and port of the Gremlin server; skips where none answers."""
    try:
        host, port = (SERVICE / "address").read_text(encoding="utf-8").strip().rsplit(":", 1)
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        pytest.skip("there is no Gremlin server: `make services` installs and starts it")
    return host, int(port)


class OwnServer:
    """A second Gremlin server, from what `make services` installed, that a test may end and start again."""

    def __init__(self, folder: Path) -> None:
        address()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        _, shared = address()
        self._settings = folder / "server.yaml"
        self._log = folder / "gremlin.log"
        text = (SERVICE / "server.yaml").read_text(encoding="utf-8")
        self._settings.write_text(text.replace(f"port: {shared}", f"port: {self.port}"), encoding="utf-8")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        [libraries] = SERVICE.glob("lib-*")
        main = "org.apache.tinkerpop.gremlin.server.GremlinServer"
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "java", "-Xmx256m", "-cp", f"{libraries}/*", main, str(self._settings), stdout=log, stderr=log
            )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def hostile(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """The port of a server that takes connections and does with each what `answer` does, after the request's head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            await reader.read()  # until the client gives up
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the loop's end cancels what it left open, and would log that as a defect
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def hang(_: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def refuse(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops")
    await writer.drain()


async def babble(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff garbage \r\n\r\n" * 50)
    await writer.drain()


NO_TRAVERSER = b"\x09\0\0\0\0\x01" + b"\x01\0\0\0\0\x07"
"""A list of the number 7 with no traverser around it, in GraphBinary."""


def results(*values: Any, bulk: int = 1) -> bytes:
    """The list of traversers of an answer, in GraphBinary."""
    return bytes(GraphBinaryWriter().write_object([Traverser(value, bulk) for value in values]))


def frame(request: bytes, status: int, body: bytes) -> bytes:
    """https://tinkerpop.apache.org/docs/3.7.4/dev/io/#graphbinary"""
    start = request[0] + 2
    return b"\x81\0" + request[start : start + 16] + struct.pack(">i", status) + b"\x01" + bytes(8) + body


@asynccontextmanager
async def answering(body: bytes, *, status: int = 200, for_ever: bool = False) -> AsyncIterator[int]:
    """The port of a server that answers each request with this, once or without end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        wire = web.WebSocketResponse()
        await wire.prepare(request)
        with suppress(OSError, TypeError):  # the client has gone
            while True:
                asked = await wire.receive_bytes()
                await wire.send_bytes(frame(asked, status, body))
                while for_ever:
                    await wire.send_bytes(frame(asked, status, body))
                    await asyncio.sleep(0.01)
        return wire

    async with served(handle) as url:
        yield int(url.rpartition(":")[2])
