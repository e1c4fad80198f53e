"""One websocket connection to a Gremlin server: opened, signed, bounded in time.

A gremlinpython transport owns an event loop and drives it with `run_until_complete`, which raises inside a
running loop. A connection is therefore used in threads without one, by one at a time.
"""

from __future__ import annotations

import asyncio
import queue
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
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
MAX_RESULTS = 10_000_000
"""In one answer: a traverser says itself how many it stands for, up to 2**63."""
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
        self._aborted = False

    def connect(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._go_on()
        self._loop.run_until_complete(self._open(url, headers))

    def write(self, message: bytes) -> None:
        self._go_on()
        super().write(message)

    def read(self) -> object:
        self._go_on()
        return super().read()

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

    def close(self) -> None:
        """In `CLOSE_SECONDS` at most, also while the server goes on sending, for which aiohttp would wait."""
        if not self._loop.is_closed():
            with suppress(asyncio.CancelledError):  # aborted meanwhile
                self._loop.run_until_complete(self._shut())
            self._loop.close()

    async def _shut(self) -> None:
        try:
            if self._websocket is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await self._websocket.close()
        finally:
            if self._client_session is not None:
                await self._client_session.close()

    def abort(self) -> None:
        """From another thread: whatever is under way ends with CancelledError, and nothing begins any more.

        The flag comes first: a call that did not see it makes its task before the loop comes to the cancelling.
        """
        self._aborted = True
        with suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._cancel)

    def _go_on(self) -> None:
        if self._aborted:
            raise ConnectionAbortedError("the client is closed")

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def __del__(self) -> None:
        """Nothing: whoever opened it closes it, in its own thread. Here another loop may be running."""


class Connection:
    """`open` it first. Both `open` and `submit` block, for at most about `timeout` seconds; after they raise
    GraphServerUnavailable the connection is of no more use but to be closed."""

    def __init__(
        self, url: str, *, timeout: float, sign: Sign | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        options = {"ssl_options": tls} if tls is not None else {}
        self._url = url
        self._sign = sign
        self._timeout = timeout
        self._transport = Transport(timeout=timeout, max_content_length=MAX_ANSWER_BYTES, **options)
        self._protocol = GremlinServerWSProtocol(GraphBinarySerializersV1(), max_content_length=MAX_ANSWER_BYTES)

    def open(self) -> None:
        headers = dict(self._sign()) if self._sign is not None else None
        try:
            self._transport.connect(self._url, headers)
        except (Exception, asyncio.CancelledError) as error:
            raise _unavailable(self._url, error) from error
        self._protocol.connection_made(self._transport)

    def submit(self, bytecode: Bytecode) -> list[Any]:
        """What the traversal yields."""
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
            while self._protocol.data_received(self._read(deadline), results) == PARTIAL_CONTENT:
                pass
            found: list[Any] = []
            while not answer.empty():
                found += answer.get_nowait()
            return _unfolded(found)
        except GremlinServerError as error:
            raise _refused(error) from error
        except (Exception, asyncio.CancelledError) as error:
            # A peer that is no Gremlin server fails anywhere in the driver, with whatever it trips over.
            raise _unavailable(self._url, error) from error

    def _read(self, deadline: float) -> bytes:
        if time.monotonic() > deadline:
            raise TimeoutError
        data = self._transport.read()
        if not isinstance(data, bytes):  # aiohttp's word for a connection that ended
            raise ConnectionResetError("the server ended the connection")
        return data

    def abort(self) -> None:
        """From another thread: what is under way here ends with GraphServerUnavailable."""
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()


def _unfolded(traversers: list[Any]) -> list[Any]:
    """What they stand for. Raises OverflowError for more than `MAX_RESULTS`."""
    if sum(max(0, traverser.bulk) for traverser in traversers) > MAX_RESULTS:
        raise OverflowError(f"the answer has more than {MAX_RESULTS:,} results")
    return [each for traverser in traversers for each in [traverser.object] * traverser.bulk]


def _refused(error: GremlinServerError) -> GraphServerError:
    text = " ".join(str(error).split())[:300]
    attributes = error.status_attributes or {}
    if "ConcurrentModification" in text or "ConcurrentModification" in str(attributes.get("exceptions", "")):
        return GraphServerConflict(text)
    if error.status_code in RETRYABLE:
        return GraphServerUnavailable(text)
    return GraphServerError(text)


def _unavailable(url: str, error: BaseException) -> GraphServerUnavailable:
    if isinstance(error, TimeoutError):
        return GraphServerUnavailable(f"{url} does not answer in time")
    detail = " ".join(str(error).split())[:200]
    return GraphServerUnavailable(f"{url}: {type(error).__name__}{': ' if detail else ''}{detail}")
