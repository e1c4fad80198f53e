"""Elements as Gremlin: idempotent upserts and deletes by id, in batches that a server can take.

A batch is one `inject` of maps that `mergeV` and `mergeE` unfold, so the traversal stays short however many elements it
carries (https://tinkerpop.apache.org/docs/3.7.4/reference/#mergevertex-step). `STEP_BUDGET` bounds the elements and
properties of a batch together.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import stamina
from gremlin_python.process.graph_traversal import GraphTraversal, __
from gremlin_python.process.traversal import Direction, Merge, T

from core.aws.neptune import NeptuneClient, g
from core.errors import GraphServerConflict, GraphServerError, GraphServerUnavailable
from core.projection.elements import CHUNK, DOCUMENT, ENTITY, Edge, Elements, Properties, Vertex

STEP_BUDGET = 2_000
"""Elements and their properties in one request."""
MAX_BATCH_CHARS = 4 * 1024 * 1024
CONFLICT_TRIES = 8
LABELS = (DOCUMENT, CHUNK, ENTITY)
MARKER = "aime:projection"
"""The vertex that says which projection the server holds, and up to which version."""
UNFINISHED = "unfinished"
VERSION = re.compile("[0-9]{1,18}")
"""A graph version, which is below 2**63."""

Element = TypeVar("Element", Vertex, Edge)


class GremlinGraph:
    """The hub's part of a graph server. A request that met a conflict is sent again, as all of them are idempotent.

    Every method raises GraphServerError and its kinds.
    """

    def __init__(self, client: NeptuneClient) -> None:
        self._client = client

    async def upsert(self, elements: Elements) -> None:
        """Vertices before the edges that need them."""
        await self._each(batches(elements.entities.values()), _merge_vertices)
        await self._each(batches(elements.vertices.values()), _merge_vertices)
        await self._each(batches(elements.edges.values()), _merge_edges)

    async def clear_properties(self, vertex_ids: Iterable[str]) -> None:
        """Before vertices are written anew: Neptune would add to the values that are there, as its default cardinality
        is `set`."""
        await self._each(pieces(vertex_ids), lambda ids: g.V(*ids).properties().drop())

    async def drop_edges(self, edge_ids: Iterable[str]) -> None:
        await self._each(pieces(edge_ids), lambda ids: g.E(*ids).drop())

    async def drop_vertices(self, vertex_ids: Iterable[str]) -> None:
        """With their edges."""
        await self._each(pieces(vertex_ids), lambda ids: g.V(*ids).drop())

    async def drop_unsupported(self, entity_ids: Iterable[str]) -> None:
        """Those of the entities that nothing names any more."""
        await self._each(pieces(entity_ids), lambda ids: g.V(*ids).where(__.not_(__.both_e())).drop())

    async def clear(self) -> None:
        """Drop all vertices of a projection, having unmarked it first. Raises GraphServerError where there are such
        vertices and never was a marker: they are somebody else's."""
        if not await self._send(g.V(MARKER).id_()) and await self._holds_any():
            raise GraphServerError(
                "the graph server holds documents, chunks or entities that no hub has projected; "
                "name a server of the projection's own, or empty this one"
            )
        await self.unmark()
        while await self._holds_any():
            await self._send(g.V().has_label(*LABELS).limit(STEP_BUDGET).drop())

    async def _holds_any(self) -> bool:
        return bool(await self._send(g.V().has_label(*LABELS).limit(1).id_()))

    async def marker(self) -> tuple[str, int] | None:
        """Which projection the server holds, and up to which graph version; None where it holds none."""
        found = await self._send(g.V(MARKER).values("state"))
        if not found:
            return None
        generation, _, version = str(found[0]).partition(" ")
        return (generation, int(version)) if VERSION.fullmatch(version) else None

    async def mark(self, generation: str, version: int) -> None:
        # One value that is replaced whole, so that no reader sees a version with another's generation.
        await self._mark(f"{generation} {version}")

    async def unmark(self) -> None:
        """Whoever follows the log into this server rebuilds all. The marker stays: what is there is a projection's."""
        await self._mark(UNFINISHED)

    async def _mark(self, state: str) -> None:
        await self.clear_properties([MARKER])
        await self._send(_merge_vertices([Vertex(MARKER, "projection", (("state", state),))]))

    async def count_vertices(self) -> dict[str, int]:
        """By label."""
        answer = await self._send(g.V().has_label(*LABELS).group_count().by(T.label))
        with _understood():
            [counts] = answer
            return {str(label): int(number) for label, number in counts.items()}

    async def count_edges(self) -> int:
        answer = await self._send(g.V().has_label(*LABELS).out_e().count())
        with _understood():
            [number] = answer
            return int(number)

    async def missing(self, elements: Elements) -> list[str]:
        """The ids of vertices and edges that the server does not hold as they are here."""
        wanted = {**elements.entities, **elements.vertices}
        held: dict[str, dict[str, Any]] = {}
        for ids in pieces(wanted):
            answer = await self._send(g.V(*ids).project("id", "is").by(T.id).by(__.value_map()))
            with _understood():
                for each in answer:
                    held[each["id"]] = {key: value[0] for key, value in each["is"].items()}
        edges: dict[str, dict[str, Any]] = {}
        for ids in pieces(elements.edges):
            answer = await self._send(g.E(*ids).project("id", "is").by(T.id).by(__.value_map()))
            with _understood():
                edges.update({each["id"]: dict(each["is"]) for each in answer})
        return [id_ for id_, vertex in wanted.items() if held.get(id_) != dict(vertex.properties)] + [
            id_ for id_, edge in elements.edges.items() if edges.get(id_) != dict(edge.properties)
        ]

    # -- sending

    async def _each(self, parts: Iterable[Sequence[Any]], traversal: Callable[[Sequence[Any]], GraphTraversal]) -> None:
        for part in parts:
            await self._send(traversal(part))

    async def _send(self, traversal: GraphTraversal) -> list[Any]:
        return await retry_conflicts(lambda: self._client.submit(traversal))


@contextmanager
def _understood() -> Iterator[None]:
    """Raises GraphServerUnavailable where an answer, which may be Gremlin of any kind, is none to what was asked."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise GraphServerUnavailable("the graph server's answer is none to what it was asked") from error


async def retry_conflicts(send: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
    """What `send` returns, tried again with growing, jittered pauses while it meets a conflict."""
    async for attempt in stamina.retry_context(
        on=GraphServerConflict, attempts=CONFLICT_TRIES, timeout=None, wait_initial=0.05, wait_max=2.0, wait_jitter=0.1
    ):
        with attempt:
            return await send()
    raise AssertionError("stamina either returns or raises")


def batches(elements: Iterable[Element], budget: int = STEP_BUDGET) -> Iterator[list[Element]]:
    """Runs of elements within the budget; one that is larger by itself stands alone."""
    batch: list[Element] = []
    steps = chars = 0
    for element in elements:
        own = 1 + len(element.properties)
        size = sum(len(value) for _, value in element.properties if isinstance(value, str))
        if batch and (steps + own > budget or chars + size > MAX_BATCH_CHARS):
            yield batch
            batch, steps, chars = [], 0, 0
        batch.append(element)
        steps += own
        chars += size
    if batch:
        yield batch


def pieces(ids: Iterable[str]) -> Iterator[list[str]]:
    listed = list(ids)
    for at in range(0, len(listed), STEP_BUDGET):
        yield listed[at : at + STEP_BUDGET]


def _merge_vertices(vertices: Sequence[Vertex]) -> GraphTraversal:
    return _options(
        _unfolded([({T.id: one.id, T.label: one.label}, one.properties) for one in vertices]).merge_v(
            __.select("merge")
        )
    )


def _merge_edges(edges: Sequence[Edge]) -> GraphTraversal:
    rows = [
        ({T.id: one.id, T.label: one.label, Direction.OUT: one.start, Direction.IN: one.end}, one.properties)
        for one in edges
    ]
    return _options(_unfolded(rows).merge_e(__.select("merge")))


def _unfolded(rows: Sequence[tuple[dict[Any, str], Properties]]) -> GraphTraversal:
    """A traverser for each element, a map of what identifies it and what is set on it."""
    return g.inject([{"merge": merge, "set": dict(properties)} for merge, properties in rows]).unfold().as_("element")


def _options(merge: GraphTraversal) -> GraphTraversal:
    """The same properties, whether the element is new or was there; of the answer, the number of elements is enough."""
    properties = __.select("element").select("set")
    return merge.option(Merge.on_create, properties).option(Merge.on_match, properties).count()
