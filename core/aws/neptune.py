"""`NeptuneClient`: Amazon Neptune, or any TinkerPop server, for a program that runs on an event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from gremlin_python.process.graph_traversal import GraphTraversalSource
from gremlin_python.process.traversal import Bytecode, Cardinality, T, Traversal, TraversalStrategies
from gremlin_python.structure.graph import Graph

from core.errors import GraphServerConflict, GraphServerError, GraphServerUnavailable, InvalidInput, NotFound

if TYPE_CHECKING:
    from botocore.session import Session

    from core.aws.websocket import Connection

g = GraphTraversalSource(Graph(), TraversalStrategies())
"""A source to spell traversals with. They are sent as bytecode, never as script text."""

Property = str | int | float | bool


class NeptuneClient:
    """A bounded pool of connections, used in threads of its own, so the caller's loop never waits.

    With `region_name` every connection is signed with the AWS credentials of the usual chain; without, it speaks to a
    plain Gremlin server. Connections are opened when first needed; one that broke is replaced at the next call.

    Every call may raise GraphServerUnavailable (down, hangs, answers garbage; `timeout` seconds at most, once a thread
    is free), GraphServerConflict, and GraphServerError for what the server refuses. At most `max_waiting` calls wait
    for a connection; one more is refused with GraphServerUnavailable.
    """

    def __init__(
        self,
        endpoint: str,
        port: int = 8182,
        use_ssl: bool = True,
        region_name: str | None = None,
        *,
        pool_size: int = 4,
        max_waiting: int = 256,
        timeout: float = 30.0,
        session: Session | None = None,
    ) -> None:
        if not endpoint or "/" in endpoint:
            raise InvalidInput("must be a host name, without scheme or path", field="endpoint")
        if pool_size < 1 or timeout <= 0:
            raise InvalidInput("pool_size and timeout must be positive", field="pool_size")
        host = f"[{endpoint}]" if ":" in endpoint else endpoint
        self.url = f"{'wss' if use_ssl else 'ws'}://{host}:{port}/gremlin"
        self._tls = ssl.create_default_context() if use_ssl else None
        self._region = region_name
        self._session = session
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="gremlin")
        self._room = pool_size + max_waiting
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._lock = Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- the graph

    async def add_vertex(self, label: str, properties: Mapping[str, Property]) -> str:
        """A new vertex; its id: the property `id`, or a new UUID, as Neptune itself gives."""
        id_ = str(properties.get("id") or uuid4())
        step = g.add_v(label).property(T.id, id_)
        for name, value in properties.items():
            if name != "id":
                step = step.property(Cardinality.single, name, value)
        await self.submit(step.id_())
        return id_

    async def add_edge(
        self, from_vertex_id: str, to_vertex_id: str, label: str, properties: Mapping[str, Property] | None = None
    ) -> str:
        """A new edge; its id, as for a vertex. Raises NotFound where one of the vertices is missing."""
        given = properties or {}
        id_ = str(given.get("id") or uuid4())
        step = g.V(from_vertex_id).as_("from").V(to_vertex_id).add_e(label).from_("from").property(T.id, id_)
        for name, value in given.items():
            if name != "id":
                step = step.property(name, value)
        if not await self.submit(step.id_()):
            raise NotFound(f"there is no vertex {from_vertex_id!r}, or none {to_vertex_id!r}")
        return id_

    async def get_vertex(self, vertex_id: str) -> dict[str, Any] | None:
        """`{"id", "label", …properties}`, or None. A property of several values is a list."""
        found = await self.submit(g.V(vertex_id).value_map(True))
        if not found:
            return None
        plain = {_name(key): value for key, value in found[0].items()}
        return {
            name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in plain.items()
        }

    async def query(self, query: Traversal) -> list[Any]:
        """What a traversal that was spelled with `core.aws.neptune.g` yields. Strings are refused: a script text with
        somebody's words in it is an injection, and Neptune has no bindings."""
        if not isinstance(query, Traversal):
            raise InvalidInput("must be a gremlinpython traversal, not a script", field="query")
        return await self.submit(query)

    async def submit(self, step: Traversal) -> list[Any]:
        """Send a traversal as bytecode."""
        if self._closed:
            raise GraphServerUnavailable(f"the client of {self.url} is closed")
        if self._room <= 0:
            raise GraphServerUnavailable(f"too many calls wait for {self.url}")
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._submit, step.bytecode)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # It was still waiting for a thread when the client was closed.
            raise GraphServerUnavailable(f"the client of {self.url} is closed") from None
        finally:
            self._room += 1

    async def close(self) -> None:
        """Close every connection; calls under way are cut off with GraphServerUnavailable. May be called twice."""
        self._closed = True
        await asyncio.to_thread(self._shut)

    # -- in the pool's threads

    def _submit(self, bytecode: Bytecode) -> list[Any]:
        connection = self._take()
        try:
            if connection is None:
                connection = self._connect()
            found = connection.submit(bytecode)
        except BaseException as error:
            if connection is not None:
                refused = isinstance(error, GraphServerConflict) or not isinstance(error, GraphServerUnavailable)
                self._give_back(connection, sound=refused and isinstance(error, GraphServerError))
            raise
        self._give_back(connection, sound=True)
        return found

    def _give_back(self, connection: Connection, *, sound: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if sound and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _take(self) -> Connection | None:
        with self._lock:
            if self._closed:
                raise GraphServerUnavailable(f"the client of {self.url} is closed")
            if not self._idle:
                return None
            connection = self._idle.pop()
            self._busy.add(connection)
            return connection

    def _connect(self) -> Connection:
        from core.aws.websocket import Connection

        sign = None
        if self._region is not None:
            from core.aws.signing import neptune_headers

            region, session = self._region, self._aws()

            def sign() -> Mapping[str, str]:
                return neptune_headers(self.url, region, session)

        connection = Connection(self.url, timeout=self._timeout, sign=sign, tls=self._tls)
        with self._lock:
            self._busy.add(connection)
            closed = self._closed
        if closed:
            self._give_back(connection, sound=False)
            raise GraphServerUnavailable(f"the client of {self.url} is closed")
        try:
            connection.open()
        except BaseException:
            self._give_back(connection, sound=False)
            raise
        return connection

    def _aws(self) -> Session:
        with self._lock:
            if self._session is None:
                from botocore.session import get_session

                self._session = get_session()
            return self._session

    def _shut(self) -> None:
        with self._lock:
            for connection in self._busy:
                connection.abort()
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()


def _name(key: object) -> str:
    return key.name.rstrip("_") if isinstance(key, T) else str(key)
