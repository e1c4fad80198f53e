"""Whether a graph server holds what the store holds: counts of both sides, and a sample compared value by value."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict

from core.errors import GraphServerError
from core.projection.elements import CHUNK, DOCUMENT, ENTITY, Elements
from core.projection.gremlin import GremlinGraph
from core.projection.projection import PAGE, Projection
from core.service import GraphService


class Count(BaseModel):
    model_config = ConfigDict(frozen=True)

    store: int
    server: int


class Report(BaseModel):
    """What `verify` found. `differing` are ids of sampled vertices and edges that are missing or say something else."""

    model_config = ConfigDict(frozen=True)

    graph_version: int
    counts: dict[str, Count]
    sampled_documents: int
    differing: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differing and all(count.store == count.server for count in self.counts.values())


async def verify(
    service: GraphService, graph: GremlinGraph, projection: Projection, *, sample: int = 100, seed: int | None = None
) -> Report:
    """Compare the server with the store at the version that the server says it holds; of the documents about `sample`,
    in whole pages, value by value. Raises GraphServerError where the server holds no projection."""
    marker = await graph.marker()
    if marker is None:
        raise GraphServerError(
            "the server holds no projection; a running hub writes it, as does aime projection rebuild"
        )
    version = marker[1]
    chosen = random.Random(seed)
    store = {DOCUMENT: 0, CHUNK: 0, "edges": 0}
    entities: set[str] = set()
    differing: list[str] = []
    sampled = 0
    total = max(1, (await graph.count_vertices()).get(DOCUMENT, 0))
    async for size, elements in _pages(service, projection, version):
        for vertex in elements.vertices.values():
            store[vertex.label] += 1
        store["edges"] += len(elements.edges)
        entities.update(elements.entities)
        if chosen.random() < sample / total:  # a page is in the sample as a whole
            sampled += size
            differing += await graph.missing(elements)
    server = await graph.count_vertices()
    counts = {label: Count(store=store[label], server=server.get(label, 0)) for label in (DOCUMENT, CHUNK)}
    counts[ENTITY] = Count(store=len(entities), server=server.get(ENTITY, 0))
    counts["edges"] = Count(store=store["edges"], server=await graph.count_edges())
    return Report(graph_version=version, counts=counts, sampled_documents=sampled, differing=tuple(differing))


async def _pages(service: GraphService, projection: Projection, version: int) -> AsyncIterator[tuple[int, Elements]]:
    after = ""
    while page := await service.store.scan(version, after=after, limit=PAGE):
        yield len(page), await projection.elements(page, version)
        after = page[-1].document_id
