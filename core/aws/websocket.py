"""One websocket connection to a Gremlin server: opened, signed, bounded in time.

A gremlinpython transport owns an event loop and drives it with `run_until_complete`, which raises inside a running loop.
A connection therefore belongs to the one thread that made it.
"""

from __future__ import annotations

import asyncio
import queue
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from gremlin_python.driver.aiohttp.transport import AiohttpTransport
from gremlin_python.driver.protocol import GremlinServerError, GremlinServerWSProtocol
from gremlin_python.driver.request import RequestMessage
from gremlin_python.driver.resultset import ResultSet
from gremlin_python.driver.serializer import GraphBinarySerializersV1
from gremlin_python.process.traversal import Bytecode

from core.errors import GraphServerConflict, GraphServerError, GraphServerUnavailable

MAX_ANSWER_BYTES = 64 * 1024 * 1024
CLOSE_SECONDS = 1.0
PARTIAL_CONTENT = 206
RETRYABLE = frozenset({429, 597, 598})
"""Too many requests, a script that ran out of time, a server that ran out of time
(https://tinkerpop.apache.org/docs/3.7.4/dev/provider/#_graph_driver_provider_requirements)."""

Sign = Callable[[], Mapping[str, str]]
"""The headers of a websocket request, signed for now: signatures hold for minutes only."""


class Transport(AiohttpTransport):  # type: ignore[misc]  # gremlinpython is not typed
    """gremlinpython's transport, but opening takes at most `timeout` seconds and leaves nothing open when it fails."""

    def __init__(self, *, timeout: float, **options: Any) -> None:
        super().__init__(read_timeout=timeout, write_timeout=timeout, **options)
        self._timeout = timeout

    def connect(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._loop.run_until_complete(self._open(url, headers))

    async def _open(self, url: str, headers: Mapping[str, str] | None) -> None:
        limit = aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS)
        self._client_session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(self._timeout):
                self._websocket = await self._client_session.ws_connect(
                    url, headers=headers, timeout=limit, **self._aiohttp_kwargs
                )
        except BaseException:
            await self._client_session.close()
            raise

    def __del__(self) -> None:
        """Nothing: whoever opened it closes it, in its own thread. Here another loop may be running."""


class Connection:
    """Opened by its constructor. Every method blocks, for at most about `timeout` seconds."""

    def __init__(self, url: str, *, timeout: float, sign: Sign | None = None, tls: ssl.SSLContext | None = None) -> None:
        options = {"ssl_options": tls} if tls is not None else {}
        self._timeout = timeout
        self._transport = Transport(timeout=timeout, max_content_length=MAX_ANSWER_BYTES, **options)
        self._protocol = GremlinServerWSProtocol(GraphBinarySerializersV1(), max_content_length=MAX_ANSWER_BYTES)
        try:
            self._transport.connect(url, dict(sign()) if sign is not None else None)
        except BaseException as error:
            self.close()
            raise _unavailable(url, error) from error
        self._url = url
        self._protocol.connection_made(self._transport)

    def submit(self, bytecode: Bytecode) -> list[Any]:
        """What the traversal yields. After GraphServerUnavailable the connection may be used no more."""
        request_id = str(uuid.uuid4())
        results = {request_id: ResultSet(queue.Queue(), request_id)}
        answer = results[request_id].stream
        arguments = {
            "gremlin": bytecode,
            "aliases": {"g": "g"},
            "evaluationTimeout": round(self._timeout * 1000),
        }
        message = RequestMessage(processor="traversal", op="bytecode", args=arguments)
        deadline = time.monotonic() + self._timeout
        try:
            self._protocol.write(request_id, message)
            while self._protocol.data_received(self._read(), results) == PARTIAL_CONTENT:
                if time.monotonic() > deadline:
                    raise TimeoutError
        except GremlinServerError as error:
            raise _refused(error) from error
        except Exception as error:
            # A peer that is no Gremlin server fails anywhere in the driver, with whatever it trips over.
            raise _unavailable(self._url, error) from error
        found: list[Any] = []
        while not answer.empty():
            found += answer.get_nowait()
        return [each for traverser in found for each in [traverser.object] * traverser.bulk]

    def _read(self) -> bytes:
        data = self._transport.read()
        if not isinstance(data, bytes):  # aiohttp's word for a connection that ended
            raise ConnectionResetError("the server ended the connection")
        return data

    def close(self) -> None:
        self._transport.close()


def _refused(error: GremlinServerError) -> GraphServerError:
    text = " ".join(str(error).split())[:300]
    attributes = error.status_attributes or {}
    if "ConcurrentModification" in text or "ConcurrentModification" in str(attributes.get("exceptions", "")):
        return GraphServerConflict(text)
    if error.status_code in RETRYABLE:
        return GraphServerUnavailable(text)
    return GraphServerError(text)


def _unavailable(url: str, error: BaseException) -> BaseException:
    if not isinstance(error, Exception):
        return error
    if isinstance(error, TimeoutError):
        return GraphServerUnavailable(f"{url} does not answer in time")
    detail = " ".join(str(error).split())[:200]
    return GraphServerUnavailable(f"{url}: {type(error).__name__}{': ' if detail else ''}{detail}")
