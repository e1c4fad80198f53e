"""A real hub on a real store, with connectors that do what a test tells them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from core.model import Document, StoredDocument
from core.service import GraphService, ServiceOptions, create_graph_service
from hub.config import load_config
from hub.plugins import Plugins
from hub.runtime import Hub
from hub.sdk import (
    Batch,
    Change,
    Connector,
    ConnectorConfig,
    ConnectorSpec,
    Context,
    Delivery,
    Failure,
    Health,
    InboundRequest,
    NotifyOptions,
    Upsert,
    Window,
    hookimpl,
    hooks,
)

PATIENCE = 10.0


def doc(document_id: str, content: str = "Some text.", **metadata: Any) -> Upsert:
    return Upsert(Document.parse({"document_id": document_id, "content": content, "metadata": metadata}))


class Position(BaseModel):
    """The checkpoint of a scripted source: how many of its batches are read."""

    batches: int


class Source:
    """A source of batches that a test prepares. An exception among them is raised in its place, once."""

    def __init__(self, *batches: Sequence[Change] | Exception) -> None:
        self.batches = list(batches)
        self.started_at: list[int] = []
        self.given = 0
        self.closed = False
        self.context: Context | None = None

    async def check(self) -> Health:
        return Health(ok=True)

    async def aclose(self) -> None:
        self.closed = True

    async def pull(self, since: Position | None, window: Window) -> AsyncIterator[Batch[Position]]:
        at = since.batches if since else 0
        self.started_at.append(at)
        while at < len(self.batches):
            batch = self.batches[at]
            if isinstance(batch, Exception):
                del self.batches[at]
                raise batch
            at += 1
            self.given += 1
            yield Batch(batch, Position(batches=at))


class Shelf(Source):
    """A source that also lists what it holds."""

    def __init__(self, *batches: Sequence[Change] | Exception, listed: Iterable[str | Exception] = ()) -> None:
        super().__init__(*batches)
        self.listed = list(listed)

    async def list_ids(self) -> AsyncIterator[str]:
        for name in self.listed:
            if isinstance(name, Exception):
                raise name
            yield name


class Hook:
    """Receives: each request's body names a document, or what is to happen."""

    def __init__(self, reply: Callable[[InboundRequest], Sequence[Change]]) -> None:
        self.reply = reply

    async def check(self) -> Health:
        return Health(ok=True)

    async def aclose(self) -> None:
        """Holds nothing open."""

    async def receive(self, request: InboundRequest) -> Sequence[Change]:
        return self.reply(request)


class Queue:
    """Consumes: messages come when a test sends them, and what becomes of each is noted in order."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Sequence[Change] | Exception | None] = asyncio.Queue()
        self.fate: list[str] = []
        self.on_ack: Callable[[str], Awaitable[None]] | None = None

    def send(self, message: Sequence[Change] | Exception | None) -> None:
        """None ends the queue, as a server that closes the connection does."""
        self.messages.put_nowait(message)

    async def check(self) -> Health:
        return Health(ok=True)

    async def aclose(self) -> None:
        self.fate.append("closed")

    async def deliveries(self) -> AsyncIterator[Delivery]:
        try:
            while (message := await self.messages.get()) is not None:
                if isinstance(message, Exception):
                    raise message
                name = next((str(c.document_id) for c in message if not isinstance(c, str)), "?")
                yield Delivery(message, self._settle("ack", name), self._settle("reject", name))
        finally:
            self.fate.append("disconnected")

    def _settle(self, how: str, name: str) -> Callable[..., Awaitable[None]]:
        async def settle(*_: str) -> None:
            if how == "ack" and self.on_ack is not None:
                await self.on_ack(name)
            self.fate.append(f"{how} {name}")

        return settle


class ScriptConfig(ConnectorConfig):
    """`step` is there to be edited."""

    step: int = 0
    notify: NotifyOptions | None = None


KIND = "script"
Sources = dict[str, Any]


def plugins(sources: Sources, *others: EntryPoint) -> Plugins:
    """Plugins with the kind `script`, whose instances are these objects, by name; an exception is raised instead."""
    module = ModuleType(f"script_{id(sources)}")

    def create(_: ScriptConfig, context: Context) -> Connector:
        source = sources[context.name]
        if isinstance(source, Exception):
            raise source
        source.context = context
        connector: Connector = source
        return connector

    @hookimpl
    def hub_connectors() -> Iterable[ConnectorSpec]:
        yield ConnectorSpec(KIND, "Does what a test says.", ScriptConfig, create, checkpoint=Position)

    module.hub_connectors = hub_connectors  # type: ignore[attr-defined]  # a module is made of its attributes
    sys.modules[module.__name__] = module
    return Plugins([EntryPoint(KIND, module.__name__, hooks.ENTRY_POINT_GROUP), *others])


@asynccontextmanager
async def running(
    tmp_path: Path,
    sources: Sources | None = None,
    config: str | None = None,
    *,
    hub: str = "",
    options: ServiceOptions | None = None,
    store: str | None = None,
    others: Sequence[EntryPoint] = (),
) -> AsyncIterator[Hub]:
    """A hub on `test.db` (or `store`) and `plugins.toml` in this folder. Without `config`, each source is an instance
    that runs only when it is told to, and once at its start."""
    sources = sources or {}
    text = config if config is not None else "".join(table(name) for name in sources)
    path = tmp_path / "plugins.toml"
    path.write_text(f"[hub]\n{hub}\n{text}")
    settings = load_config(path)
    async with (
        await create_graph_service(store or f"sqlite:{tmp_path / 'test.db'}", options=options) as service,
        Hub(settings, service=service, plugins=plugins(sources, *others)) as hub_,
    ):
        yield hub_


def table(name: str, *lines: str) -> str:
    return "\n".join([f"[connectors.{name}]", f'kind = "{KIND}"', 'every = "1h"', *lines, ""])


async def until(condition: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
    """Returns once the condition holds; fails when it does not in time."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.005)


async def stored(service: GraphService) -> dict[str, StoredDocument]:
    return {document.document_id: document for document in await service.documents(limit=10_000)}


async def audited(service: GraphService, *actions: str) -> list[str]:
    """`action subject` of the trail, in order, of these actions."""
    trail = await service.store.trail(0, 10_000)
    return [
        f"{entry.record.action} {entry.record.subject}"
        for entry in trail
        if not actions or entry.record.action in actions
    ]


def failure(document_id: str, error: str = "cannot be read") -> Failure:
    return Failure(error, document_id)
