"""The whole graph as one file: JSON or GraphML, streamed document by document.

What is written depends on the visible documents alone, never on the order in which they came, on graph versions or on
the ids that a store gives out: two stores that hold the same documents export the same bytes. Chunks are therefore
named by their document and ordinal, and entities by the hash that every node computes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from core.entities import EntityType, Mention, Relation
from core.model import StoredChunk, StoredDocument
from core.store.base import Store

ExportFormat = Literal["json", "graphml"]

PAGE_DOCUMENTS = 100

# What XML 1.0 cannot hold, escaped or not (https://www.w3.org/TR/xml/#charsets).
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# A parser turns a bare carriage return into a newline.
CARRIAGE_RETURN = {"\r": "&#13;"}

GRAPHML_KEYS = (
    ("node", "kind", "string"),
    ("node", "title", "string"),
    ("node", "source", "string"),
    ("node", "url", "string"),
    ("node", "text", "string"),
    ("node", "type", "string"),
    ("node", "name", "string"),
    ("edge", "relation", "string"),
    ("edge", "mentions", "int"),
)


def export_graph(store: Store, form: ExportFormat) -> AsyncIterator[str]:
    """Pieces of the file. The graph is read at one version, the head when the first piece is asked for."""
    return _json(store) if form == "json" else _graphml(store)


def entity_key(entity_id: int) -> str:
    """An entity's id as it is written outside: 16 hexadecimal digits."""
    return f"{entity_id:016x}"


async def _documents(store: Store) -> AsyncIterator[tuple[StoredDocument, list[StoredChunk]]]:
    version = await store.head()
    after = ""
    while page := await store.scan(version, after=after, limit=PAGE_DOCUMENTS):
        chunk_ids = {chunk_id for document in page for chunk_id in document.chunk_ids}
        chunks = await store.chunks(chunk_ids, version)
        evidence = await store.evidence(chunk_ids)
        for document in page:
            yield document, [_with_evidence(chunks[chunk_id], *evidence[chunk_id]) for chunk_id in document.chunk_ids]
        after = page[-1].document_id


def _with_evidence(chunk: StoredChunk, mentions: tuple[Mention, ...], relations: tuple[Relation, ...]) -> StoredChunk:
    return replace(chunk, mentions=mentions, relations=relations)


Named = dict[int, tuple[EntityType, str]]
"""Type and name of the entities met so far, by id. The name, not a label: it is the same whichever is met first."""


def _collect(named: Named, chunks: Sequence[StoredChunk]) -> Named:
    """Add those that these chunks name; those that are new."""
    found: Named = {}
    for chunk in chunks:
        for mention in chunk.mentions:
            found[mention.entity.id] = (mention.entity.type, mention.entity.name)
        for relation in chunk.relations:
            for entity in (relation.subject, relation.object):
                found[entity.id] = (entity.type, entity.name)
    new = {id_: found[id_] for id_ in sorted(found.keys() - named.keys())}
    named.update(new)
    return new


# ---------------------------------------------------------------- JSON


async def _json(store: Store) -> AsyncIterator[str]:
    named: Named = {}
    yield '{"format":"aime-graph-1","documents":['
    separator = "\n"
    async for document, chunks in _documents(store):
        _collect(named, chunks)
        yield separator + _compact(_document_json(document, chunks))
        separator = ",\n"
    yield '\n],"entities":['
    separator = "\n"
    for entity_id, (kind, name) in sorted(named.items()):
        yield separator + _compact({"id": entity_key(entity_id), "type": kind, "name": name})
        separator = ",\n"
    yield "\n]}\n"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _document_json(document: StoredDocument, chunks: Sequence[StoredChunk]) -> dict[str, Any]:
    return {
        "document_id": document.document_id,
        "content_hash": document.content_hash.hex(),
        "metadata": document.metadata.as_json(),
        "chunks": [
            {
                "start": start,
                "text": chunk.text,
                "sentences": chunk.sentences,
                "mentions": sorted(
                    (
                        {
                            "entity": entity_key(mention.entity.id),
                            "sentence": mention.sentence,
                            "start": mention.start,
                            "end": mention.end,
                            "extractor": mention.extractor,
                            "confidence": mention.confidence,
                        }
                        for mention in chunk.mentions
                    ),
                    key=_compact,
                ),
                "relations": sorted(
                    (
                        {
                            "subject": entity_key(relation.subject.id),
                            "predicate": relation.predicate,
                            "object": entity_key(relation.object.id),
                            "sentence": relation.sentence,
                        }
                        for relation in chunk.relations
                    ),
                    key=_compact,
                ),
            }
            for start, chunk in zip(document.chunk_starts, chunks, strict=True)
        ],
    }


# ---------------------------------------------------------------- GraphML


async def _graphml(store: Store) -> AsyncIterator[str]:
    """Nodes are documents (`d:ID`), chunks (`c:ID#ORDINAL`) and entities (`e:KEY`), each before the edges that need it:
    there are readers that go through a file once.

    The form: http://graphml.graphdrawing.org/specification.html
    """
    named: Named = {}
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    for domain, name, kind in GRAPHML_KEYS:
        yield f'<key id="{name}" for="{domain}" attr.name="{name}" attr.type="{kind}"/>\n'
    yield '<graph id="aime" edgedefault="directed">\n'
    async for document, chunks in _documents(store):
        for entity_id, (kind, name) in _collect(named, chunks).items():
            yield _node(f"e:{entity_key(entity_id)}", {"kind": "entity", "type": kind, "name": name})
        yield "".join(_document_graphml(document, chunks))
    yield "</graph>\n</graphml>\n"


def _document_graphml(document: StoredDocument, chunks: Sequence[StoredChunk]) -> Iterable[str]:
    node, metadata = f"d:{document.document_id}", document.metadata
    yield _node(node, {"kind": "document", "title": metadata.title, "source": metadata.source, "url": metadata.url})
    for ordinal, chunk in enumerate(chunks):
        part = f"c:{document.document_id}#{ordinal}"
        yield _node(part, {"kind": "chunk", "text": chunk.text})
        yield _edge(node, part, {"relation": "has_chunk"})
        counts = Counter(mention.entity.id for mention in chunk.mentions)
        for entity_id, count in sorted(counts.items()):
            yield _edge(part, f"e:{entity_key(entity_id)}", {"relation": "mentions", "mentions": count})
        for relation in sorted(chunk.relations, key=lambda one: (one.subject.id, one.predicate, one.object.id)):
            yield _edge(
                f"e:{entity_key(relation.subject.id)}",
                f"e:{entity_key(relation.object.id)}",
                {"relation": relation.predicate},
            )


def _node(node_id: str, data: dict[str, str | None]) -> str:
    return f"<node id={_attribute(node_id)}>{_data(data)}</node>\n"


def _edge(source: str, target: str, data: dict[str, str | int]) -> str:
    return f"<edge source={_attribute(source)} target={_attribute(target)}>{_data(data)}</edge>\n"


def _data(data: dict[str, Any]) -> str:
    return "".join(
        f'<data key="{key}">{escape(_xml_text(str(value)), CARRIAGE_RETURN)}</data>'
        for key, value in data.items()
        if value is not None
    )


def _attribute(value: str) -> str:
    return quoteattr(_xml_text(value))


def _xml_text(value: str) -> str:
    return NOT_XML.sub("\ufffd", value)
