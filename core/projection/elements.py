"""A document version as vertices and edges. Pure: the ids depend on what an element stands for and on nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from core.entities import Entity, Mention, Relation
from core.model import StoredChunk, StoredDocument

Value = str | int
Properties = tuple[tuple[str, Value], ...]
Evidence = tuple[tuple[Mention, ...], tuple[Relation, ...]]

DOCUMENT, CHUNK, ENTITY = "document", "chunk", "entity"
HAS_CHUNK, MENTIONS = "has_chunk", "mentions"


class Vertex(NamedTuple):
    id: str
    label: str
    properties: Properties


class Edge(NamedTuple):
    id: str
    label: str
    start: str
    end: str
    properties: Properties


@dataclass(slots=True)
class Elements:
    """Vertices and edges by id. Entities are shared between documents, and so are apart."""

    vertices: dict[str, Vertex] = field(default_factory=dict)
    entities: dict[str, Vertex] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)

    def add_document(
        self, document: StoredDocument, chunks: Iterable[tuple[StoredChunk, Evidence]], *, with_chunks: bool
    ) -> None:
        """A document with its chunks in text order. Without chunks, it is the document that mentions entities."""
        vertex = _document(document)
        self.vertices[vertex.id] = vertex
        counts: Counter[tuple[str, str]] = Counter()
        for ordinal, (chunk, (mentions, relations)) in enumerate(chunks):
            holder = vertex.id
            if with_chunks:
                holder = f"c:{chunk.id}"
                self.vertices[holder] = Vertex(holder, CHUNK, (("text", chunk.text),))
                self._join(HAS_CHUNK, vertex.id, holder, ordinal=ordinal)
            for mention in mentions:
                counts[holder, self._entity(mention.entity)] += 1
            for relation in relations:
                ends = self._entity(relation.subject), self._entity(relation.object)
                self._join(relation.predicate, *ends, within=holder, document_id=document.document_id)
        for (holder, entity), count in counts.items():
            self._join(MENTIONS, holder, entity, count=count)

    def _entity(self, entity: Entity) -> str:
        id_ = f"e:{entity.id:016x}"
        if id_ not in self.entities:
            self.entities[id_] = Vertex(id_, ENTITY, (("name", entity.name), ("type", entity.type.value)))
        return id_

    def _join(self, label: str, start: str, end: str, *, within: str = "", **properties: Value) -> None:
        key = blake2b("\x00".join((label, start, end, within)).encode(), digest_size=16).hexdigest()
        self.edges[key] = Edge(key, label, start, end, tuple(properties.items()))


def _document(document: StoredDocument) -> Vertex:
    metadata = document.metadata
    named = {"title": metadata.title, "source": metadata.source, "url": metadata.url, "language": metadata.language}
    properties: list[tuple[str, Value]] = [
        ("document_id", document.document_id),
        ("graph_version", document.v_from),
        *((key, value) for key, value in named.items() if value is not None),
    ]
    if metadata.access is not None:
        properties.append(("access", "\n".join(metadata.access)))
    return Vertex(f"d:{document.document_id}", DOCUMENT, tuple(properties))
