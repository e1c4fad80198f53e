"""Laying a group of change sets out as rows: what every store does between reading what is current and writing.

A store reads the head row under its lock, the current versions of the documents (`Head`) and the hashes of the chunks
that they hold; `GroupLayout` gives out versions and chunk ids, and makes the log entries and the rows, table by table.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import to_json

from core.entities import PackedChunk
from core.errors import CommitConflict
from core.model import LogEntry, NewChunk, Op, StoredDocument
from core.store.base import AuditRecord, ChangeSet, PreparedChange


class Head(NamedTuple):
    """The document version that a change replaces. Chunk ids and starts are packed."""

    v_from: int
    content_hash: bytes
    chunk_ids: bytes
    chunk_starts: bytes


@dataclass(slots=True)
class GroupRows:
    """The rows of one transaction. Their columns:

    log: version, op, document_id, source, access, at · closed: v_to, v_from · documents: v_from, document_id,
    content_hash, metadata, origin, chunk_ids, chunk_starts · chunks: id, v_from, document_id, hash, text, sentences,
    mentions, relations · audit: at, actor, action, subject, detail
    """

    log: list[tuple[Any, ...]] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)
    documents: list[tuple[Any, ...]] = field(default_factory=list)
    chunks: list[tuple[Any, ...]] = field(default_factory=list)
    audit: list[tuple[Any, ...]] = field(default_factory=list)


def pack(integers: Iterable[int]) -> bytes:
    return array("q", integers).tobytes()


def unpack(blob: bytes) -> tuple[int, ...]:
    return tuple(array("q", blob))


def changed_documents(group: Sequence[ChangeSet]) -> list[str]:
    """The ids of the documents that the group changes, each once. Raises ValueError for one that occurs twice."""
    ids = [change.document_id for change_set in group for change in change_set.changes]
    if len(set(ids)) != len(ids):
        raise ValueError("a document may occur once in a group")
    return ids


def check_heads(group: Sequence[ChangeSet], heads: Mapping[str, Head]) -> None:
    """Refuse a change that was prepared on something else than what is current. Raises CommitConflict."""
    conflicts = {
        change.document_id
        for change_set in group
        for change in change_set.changes
        if change.expected != (head.v_from if (head := heads.get(change.document_id)) else None)
    }
    if conflicts:
        raise CommitConflict(frozenset(conflicts))


def replaced_chunks(group: Sequence[ChangeSet], heads: Mapping[str, Head]) -> list[int]:
    """The ids of the chunks that may stay: those of the documents that are written anew."""
    return [
        id_
        for change_set in group
        for change in change_set.changes
        if change.op is Op.UPSERT and (head := heads.get(change.document_id))
        for id_ in unpack(head.chunk_ids)
    ]


class GroupLayout:
    """`version` and `next_chunk` are those of the head row, and afterwards those to write there; `now` is in seconds
    since the epoch; `hashes` are those of the `replaced_chunks`, by id."""

    def __init__(
        self, version: int, next_chunk: int, now: float, heads: Mapping[str, Head], hashes: Mapping[int, bytes]
    ) -> None:
        self.version = version
        self.next_chunk = next_chunk
        self.rows = GroupRows()
        self._now = now
        self._at = datetime.fromtimestamp(now, UTC)
        self._heads = heads
        self._hashes = hashes

    def lay_out(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        """Fill `rows`; for each set, the log entries of its changes."""
        entries = []
        for change_set in group:
            entries.append([self._change(change) for change in change_set.changes])
            self.rows.audit.extend(self._audit_row(record) for record in change_set.audit)
        return entries

    def _change(self, change: PreparedChange) -> LogEntry:
        self.version += 1
        version = self.version
        rows = self.rows
        head = self._heads.get(change.document_id)
        if head is not None:
            rows.closed.append((version, head.v_from))
        document: StoredDocument | None = None
        chunks: list[NewChunk] = []
        if change.op is not Op.DELETE:
            document = self._document(change, head, version, chunks)
        metadata = change.metadata
        access = None if metadata.access is None else json.dumps(metadata.access)
        rows.log.append((version, change.op.value, change.document_id, metadata.source, access, self._now))
        rows.audit.append(self._audit_row(change.audit, version))
        return LogEntry(
            version=version,
            op=change.op,
            document_id=change.document_id,
            at=self._at,
            source=metadata.source,
            access=metadata.access,
            document=document,
            chunks=tuple(chunks),
        )

    def _document(
        self, change: PreparedChange, head: Head | None, version: int, chunks: list[NewChunk]
    ) -> StoredDocument:
        """The version that the change opens; the chunks that it creates go to `chunks`."""
        if change.op is Op.ACCESS and head is not None:
            content_hash, ids, starts = head.content_hash, unpack(head.chunk_ids), unpack(head.chunk_starts)
        else:
            content_hash = change.content_hash
            ids, starts = self._chunks(change, head, version, chunks)
        document = StoredDocument(
            document_id=change.document_id,
            v_from=version,
            v_to=None,
            content_hash=content_hash,
            metadata=change.metadata,
            origin=change.origin,
            chunk_ids=ids,
            chunk_starts=starts,
        )
        metadata = change.metadata.model_dump_json(exclude_defaults=True)
        self.rows.documents.append(
            (version, change.document_id, content_hash, metadata, change.origin, pack(ids), pack(starts))
        )
        return document

    def _chunks(
        self, change: PreparedChange, head: Head | None, version: int, chunks: list[NewChunk]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        held = self._held_chunks(head)
        ids: list[int] = []
        starts: list[int] = []
        offset = 0
        for draft in change.chunks:
            if kept := held.get(draft.hash):
                id_ = kept.pop(0)
            else:
                id_ = self._new_chunk(draft, change.document_id, version)
                chunks.append(NewChunk(id_, draft.text, draft.named))
            ids.append(id_)
            starts.append(offset)
            offset += len(draft.text)
        return tuple(ids), tuple(starts)

    def _held_chunks(self, head: Head | None) -> dict[bytes, list[int]]:
        """The current chunks by hash; one that occurs twice has two ids."""
        held: dict[bytes, list[int]] = defaultdict(list)
        for id_ in sorted(unpack(head.chunk_ids)) if head else ():
            held[self._hashes[id_]].append(id_)
        return held

    def _new_chunk(self, draft: PackedChunk, document_id: str, version: int) -> int:
        id_ = self.next_chunk
        self.next_chunk += 1
        hash_, text, sentences, mentions, relations, _ = draft
        self.rows.chunks.append((id_, version, document_id, hash_, text, sentences, mentions, relations))
        return id_

    def _audit_row(self, record: AuditRecord, version: int | None = None) -> tuple[Any, ...]:
        detail = record.detail if version is None else {**record.detail, "graph_version": version}
        return (self._now, record.actor, record.action, record.subject, to_json(detail).decode())
