"""The graph to look at: entities, their pages, and the paths between them."""

from __future__ import annotations

from collections.abc import Collection

from core.answering.places import Evidence, mentions_of, quoted, relations_of
from core.errors import InvalidInput
from core.index import Index
from core.index.paths import MAX_LENGTH, MAX_PATHS
from core.model import StoredChunk, Viewer
from core.reader import Reader
from core.store.base import Store
from core.views import EntitySummary, EntityView, Paths


class Explorer:
    """Finds in the index and quotes from the store, at the version that the index stands at."""

    def __init__(self, store: Store, reader: Reader) -> None:
        self._store = store
        self._reader = reader

    async def entities(self, text: str, limit: int, viewer: Viewer) -> list[EntitySummary]:
        return await self._reader.ask(lambda index: index.entities(text, limit, viewer))

    async def entity(self, entity_id: int, viewer: Viewer) -> EntityView:
        """One entity with its documents, neighbours, mentions and relations. Raises NotFound."""

        def look(index: Index) -> tuple[EntityView, list[int], int]:
            return index.entity(entity_id, viewer), index.evidence(entity_id, viewer), index.version

        view, chunk_ids, version = await self._reader.ask(look)
        chunks, evidence = await self._quotable(chunk_ids, version)
        ordered = [chunks[id_] for id_ in chunk_ids if id_ in chunks]
        stated = {
            each.id
            for chunk in ordered
            for relation in evidence[chunk.id][1]
            for each in (relation.subject, relation.object)
        }
        named = await self._reader.ask(lambda index: index.named(stated, viewer))
        return view.model_copy(
            update={
                "mentions": tuple(mentions_of(view, ordered, evidence)),
                "relations": tuple(relations_of(view, ordered, evidence, named)),
            }
        )

    async def paths(self, first: int, last: int, max_length: int, limit: int, viewer: Viewer) -> Paths:
        """Shortest chains between two entities. Raises NotFound, InvalidInput."""
        if first == last:
            raise InvalidInput("is the entity that the path starts from", field="to")
        _within("max_length", max_length, MAX_LENGTH)
        _within("limit", limit, MAX_PATHS)
        found, version = await self._reader.ask(
            lambda index: (index.paths(first, last, viewer, max_length, limit), index.version)
        )
        wanted = {id_ for chain in found for step in chain for id_ in step.chunk_ids}
        chunks, evidence = await self._quotable(wanted, version)
        documents = await self._store.documents({chunk.document_id for chunk in chunks.values()}, version)
        chains = [[quoted(step, chunks, evidence, documents) for step in chain] for chain in found]
        whole = tuple(tuple(step for step in chain if step is not None) for chain in chains if None not in chain)
        return Paths(paths=whole, graph_version=version)

    async def _quotable(self, chunk_ids: Collection[int], version: int) -> tuple[dict[int, StoredChunk], Evidence]:
        chunks = await self._store.chunks(chunk_ids, version)
        return chunks, await self._store.evidence(chunks.keys())


def _within(field: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InvalidInput(f"must be 1 to {most}, not {value}", field=field)
