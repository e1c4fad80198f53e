"""Follows the log into a graph server: at least once, with a durable cursor, by what differs between two versions.

The store keeps every version as an interval, so a step compares the documents that a page of the log names as they were
at the cursor and as they are at the page's end, and sends the difference by id. The page's end is written to the cursor
before the step begins: a step that broke off is done again to the same end, or what it had half written at an end that
nobody knows would stay for ever.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Iterable
from typing import Final

from pydantic import BaseModel, ConfigDict

from core.errors import GraphServerUnavailable, VersionUnavailable
from core.model import StoredDocument
from core.projection.elements import Elements
from core.projection.gremlin import GremlinGraph
from core.service import GraphService
from core.store.base import ChangeSet, Fences, RecordScope

PAGE = 64
"""Log entries in a step, and documents read at a time in a rebuild."""
CURSOR: Final[tuple[RecordScope, str]] = ("cursor", "projection")


class Cursor(BaseModel):
    """How far the log has been followed; the record (`cursor`, `projection`). `generation` is the rebuild that made
    what the server holds, `target` the end of the step under way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: str
    version: int
    target: int


def _fits(cursor: Cursor, marker: tuple[str, int], head: int) -> bool:
    """Whether the server holds what the cursor says. One of the two is older than the other after a restore; so is a
    store whose head is behind its cursor."""
    generation, version = marker
    return generation == cursor.generation and cursor.version <= version <= head


class Projection:
    """One store's graph on one graph server, which it has for itself.

    Every method raises what `GremlinGraph` and the store raise; whatever was half done then is done at the next call.
    """

    def __init__(
        self, service: GraphService, graph: GremlinGraph, *, with_chunks: bool = True, fences: Fences = tuple
    ) -> None:
        self._service = service
        self._graph = graph
        self._with_chunks = with_chunks
        self._fences = fences
        self._cursor: Cursor | None = None
        self.rebuilds = 0
        """How often all was written anew since the start."""

    @property
    def version(self) -> int:
        """Up to which graph version the server is known to be written; 0 before the first step."""
        return self._cursor.version if self._cursor is not None else 0

    async def step(self) -> bool:
        """Follow the next page of the log; whether there was one. Rebuilds where the server does not hold what the
        cursor says: it is new, lost its memory, or was restored from an older state."""
        cursor = self._cursor or await self._read()
        marker = await self._graph.marker()
        if cursor is None or marker is None or not _fits(cursor, marker, await self._service.head()):
            await self.rebuild()
            return True
        try:
            return await self._follow(cursor)
        except VersionUnavailable as error:
            if not error.collected:
                raise
            await self.rebuild()
            return True

    async def wait(self, patience: float) -> None:
        """Wait up to `patience` seconds for the log to grow past the cursor."""
        if self._cursor is not None:
            await self._service.changes(self._cursor.version, limit=1, wait=patience)

    async def rebuild(self) -> None:
        """Drop all that the server holds of a projection and write the graph as it is now. Raises
        GraphServerUnavailable where the server does not hold it then."""
        self._cursor = None
        await self._graph.clear()
        version = await self._service.head()
        after = ""
        while page := await self._service.store.scan(version, after=after, limit=PAGE):
            await self._graph.upsert(await self.elements(page, version))
            after = page[-1].document_id
        generation = uuid.uuid4().hex
        await self._graph.mark(generation, version)
        if await self._graph.marker() != (generation, version):
            # A reader, or a server that forgets: it would be written anew for ever.
            raise GraphServerUnavailable("the graph server does not hold what was just written to it")
        await self._write(Cursor(generation=generation, version=version, target=version))
        self.rebuilds += 1

    async def close(self) -> None:
        """Write the cursor, so that the next start does not do the last step again."""
        if self._cursor is not None:
            await self._write(self._cursor.model_copy(update={"target": self._cursor.version}))

    # -- a step

    async def _follow(self, cursor: Cursor) -> bool:
        unfinished = cursor.target > cursor.version
        limit = cursor.target - cursor.version if unfinished else PAGE
        page = await self._service.store.changes(cursor.version, limit)
        if not page:
            self._cursor = cursor
            return False
        target = page[-1].version
        cursor = cursor.model_copy(update={"target": target})
        await self._write(cursor)
        self._cursor = None  # what breaks off is read again from the record
        ids = {entry.document_id for entry in page}
        before, now = await self._at(ids, cursor.version), await self._at(ids, target)
        if await self._service.store.floor() > cursor.version:
            raise VersionUnavailable("history was collected while it was read", collected=True)
        await self._apply(before, now)
        await self._graph.mark(cursor.generation, target)
        self._cursor = cursor.model_copy(update={"version": target})
        return True

    async def _apply(self, before: Elements, now: Elements) -> None:
        await self._graph.drop_edges(before.edges.keys() - now.edges.keys())
        await self._graph.drop_vertices(before.vertices.keys() - now.vertices.keys())
        changed = Elements(
            vertices={id_: one for id_, one in now.vertices.items() if before.vertices.get(id_) != one},
            entities={id_: one for id_, one in now.entities.items() if id_ not in before.entities},
            edges={id_: one for id_, one in now.edges.items() if before.edges.get(id_) != one},
        )
        # Also those that a step that broke off may have written: the difference does not tell.
        await self._graph.clear_properties(changed.vertices)
        await self._graph.upsert(changed)
        await self._graph.drop_unsupported(before.entities.keys() - now.entities.keys())

    async def _at(self, document_ids: Collection[str], version: int) -> Elements:
        found = await self._service.store.documents(document_ids, version)
        return await self.elements(found.values(), version)

    async def elements(self, documents: Iterable[StoredDocument], version: int) -> Elements:
        """These documents as they were at `version`."""
        listed = list(documents)
        chunk_ids = {chunk_id for document in listed for chunk_id in document.chunk_ids}
        chunks = await self._service.store.chunks(chunk_ids, version)
        evidence = await self._service.store.evidence(chunk_ids)

        def collect() -> Elements:
            elements = Elements()
            for document in listed:
                held = [(chunks[id_], evidence[id_]) for id_ in document.chunk_ids if id_ in chunks and id_ in evidence]
                elements.add_document(document, held, with_chunks=self._with_chunks)
            return elements

        return await asyncio.to_thread(collect)

    # -- the record

    async def _read(self) -> Cursor | None:
        stored = await self._service.store.record(*CURSOR)
        return Cursor.model_validate_json(stored) if stored is not None else None

    async def _write(self, cursor: Cursor) -> None:
        await self._service.write(ChangeSet(records={CURSOR: cursor.model_dump_json()}, fences=self._fences()))
        self._cursor = cursor
