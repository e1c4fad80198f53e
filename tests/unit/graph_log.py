"""The log of a graph, as a store would hand it out, for tests of what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.analysis import Source, analyse, text_of
from core.model import Document, LogEntry, Metadata, NewChunk, Op, StoredChunk, StoredDocument
from core.packing import named

AT = datetime(2026, 1, 1, tzinfo=UTC)


class GraphLog:
    """Upserts, deletes and changes of access as log entries; unchanged chunks of a document keep their id."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.chunks: dict[int, StoredChunk] = {}
        self.documents: dict[str, StoredDocument] = {}
        """The current versions."""
        self.texts: dict[str, str] = {}
        self._hashes: dict[str, dict[bytes, int]] = {}

    @property
    def version(self) -> int:
        return len(self.entries)

    def put(self, document_id: str, content: str, metadata: Mapping[str, Any] | None = None) -> LogEntry:
        raw = {"document_id": document_id, "content": content, "metadata": metadata or {}}
        document = Document.parse(raw)
        source = Source.of(document)
        held = self._hashes.get(document_id, {})
        created: list[NewChunk] = []
        ids: list[int] = []
        starts: list[int] = []
        hashes: dict[bytes, int] = {}
        start = 0
        for ordinal, draft in enumerate(analyse(source, held.keys())):
            id_ = held.get(draft.hash)
            if id_ is None or id_ in ids:
                id_ = len(self.chunks) + 1
                chunk = StoredChunk(
                    id=id_,
                    document_id=document_id,
                    ordinal=ordinal,
                    start=start,
                    text=draft.text,
                    sentences=draft.sentences,
                    mentions=draft.mentions or next(iter(analyse(source)[ordinal : ordinal + 1])).mentions,
                    relations=draft.relations,
                )
                self.chunks[id_] = chunk
                created.append(NewChunk(id_, chunk.text, named(chunk.mentions)))
            ids.append(id_)
            starts.append(start)
            hashes[draft.hash] = id_
            start += len(draft.text)
        self._hashes[document_id] = hashes
        self.texts[document_id] = text_of(source)
        return self._open(document_id, Op.UPSERT, document.metadata, tuple(ids), tuple(starts), tuple(created))

    def access(self, document_id: str, access: tuple[str, ...] | None) -> LogEntry:
        old = self.documents[document_id]
        metadata = old.metadata.model_copy(update={"access": access})
        return self._open(document_id, Op.ACCESS, metadata, old.chunk_ids, old.chunk_starts, ())

    def delete(self, document_id: str) -> LogEntry:
        del self.documents[document_id], self._hashes[document_id], self.texts[document_id]
        return self._append(Op.DELETE, document_id, None, ())

    def _open(
        self,
        document_id: str,
        op: Op,
        metadata: Metadata,
        chunk_ids: tuple[int, ...],
        chunk_starts: tuple[int, ...],
        created: tuple[NewChunk, ...],
    ) -> LogEntry:
        document = StoredDocument(
            document_id=document_id,
            v_from=self.version + 1,
            v_to=None,
            content_hash=b"",
            metadata=metadata,
            origin="test",
            chunk_ids=chunk_ids,
            chunk_starts=chunk_starts,
        )
        self.documents[document_id] = document
        return self._append(op, document_id, document, created)

    def _append(
        self, op: Op, document_id: str, document: StoredDocument | None, created: tuple[NewChunk, ...]
    ) -> LogEntry:
        access = document.metadata.access if document else None
        entry = LogEntry(self.version + 1, op, document_id, AT, "test", access, document, created)
        self.entries.append(entry)
        return entry
