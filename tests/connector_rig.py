"""What the tests of connectors share: a context as the hub gives it, and a graph as a source's changes leave it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel

from hub.sdk import (
    AccessChanged,
    Batch,
    Change,
    Context,
    Delete,
    Document,
    Failure,
    HttpClient,
    HttpResponse,
    NotReady,
    Upsert,
    Window,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOOPBACK = ("127.0.0.0/8", "::1/128")


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A real server on a free port of this machine, that answers every path; its URL without a slash at the end."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def in_thread(function: Callable[..., Any], *args: object) -> Any:
    return await asyncio.to_thread(function, *args)


class Offline:
    """For connectors that need no network: a request is a defect of theirs."""

    async def request(self, method: str, url: str, **_: object) -> HttpResponse:
        raise NotReady(f"{method} {url}: there is no network here")


def context(http: HttpClient | None = None, name: str = "docs") -> Context:
    """Without `http`, for a connector that needs none."""
    return Context(
        name=name,
        source=name,
        http=http or Offline(),
        log=structlog.stdlib.get_logger("test"),
        now=lambda: datetime.now(UTC),
        run_blocking=in_thread,
    )


def window(page_size: int = 100) -> Window:
    return Window(until=datetime.now(UTC), overlap=timedelta(0), page_size=page_size)


@dataclass
class Graph:
    """The documents that are left when changes are applied in order, and what could not be taken."""

    documents: dict[str, Document] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    writes: int = 0

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case Upsert(document):
                    self.documents[document.document_id] = document
                    self.writes += 1
                case Delete(document_id):
                    self.documents.pop(document_id, None)
                    self.deletes.append(document_id)
                case Failure():
                    self.failures.append(change)
                case AccessChanged():
                    raise AssertionError("no connector of these tests changes access")


async def pull(
    connector: Any, graph: Graph, since: BaseModel | None = None, *, page_size: int = 100, batches: int | None = None
) -> BaseModel | None:
    """One run, or its first `batches` only; the checkpoint that the hub would have saved. It goes through JSON, as it
    does in the store."""
    pulling: AsyncIterator[Batch[BaseModel]] = connector.pull(since, window(page_size))
    taken = 0
    try:
        async for batch in pulling:
            graph.apply(batch.changes)
            if batch.checkpoint is not None:
                since = type(batch.checkpoint).model_validate_json(batch.checkpoint.model_dump_json())
            taken += 1
            if taken == batches:
                break
    finally:
        await pulling.aclose()  # type: ignore[attr-defined]  # the hub too closes what it did not read to the end
    return since
