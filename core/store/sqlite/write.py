"""Writing a group of change sets in one transaction. Runs in the writer's thread."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import apsw
from pydantic_core import to_json

from core.errors import CommitConflict
from core.model import LogEntry, NewChunk, Op, PackedChunk, StoredDocument
from core.store.base import AuditRecord, ChangeSet, PreparedChange
from core.store.sqlite.connection import transaction
from core.store.sqlite.rows import as_list, moment, pack, select, unpack

ROWS_AT_ONCE = (100, 10, 1)
"""Sizes of multi-row inserts: few, so that their statements stay prepared."""
DOCUMENT = "documents (v_from, document_id, content_hash, metadata, origin, chunk_ids, chunk_starts)"
DELIVERY = "deliveries (id, endpoint, event, subject, payload, target, created_at, next_attempt_at)"
REPLAY = (
    "UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = ?, error = NULL"
    " WHERE id = ? AND state <> 'pending'"
)


@dataclass(slots=True)
class _Head:
    """The document version that a change replaces."""

    v_from: int
    content_hash: bytes
    chunk_ids: bytes
    chunk_starts: bytes


@dataclass(slots=True)
class _Rows:
    """The rows of one transaction, table by table."""

    log: list[tuple[Any, ...]] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)
    documents: list[tuple[Any, ...]] = field(default_factory=list)
    chunks: list[tuple[Any, ...]] = field(default_factory=list)
    audit: list[tuple[Any, ...]] = field(default_factory=list)


def write_group(db: apsw.Connection, group: Sequence[ChangeSet], now: float) -> list[list[LogEntry]]:
    """Write all of it or nothing; for each set, the log entries of its changes. Raises CommitConflict."""
    with transaction(db):
        return _GroupWriter(db, now).write(group)


class _GroupWriter:
    def __init__(self, db: apsw.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._at = moment(now)
        self._rows = _Rows()
        self._version = 0
        self._next_chunk = 0

    def write(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        self._version, self._next_chunk = select(self._db, "SELECT version, next_chunk FROM graph")[0]
        changes = [change for change_set in group for change in change_set.changes]
        heads = self._heads(changes) if changes else {}
        entries = []
        for change_set in group:
            entries.append([self._change(change, heads.get(change.document_id)) for change in change_set.changes])
            self._rows.audit.extend(self._audit_row(record) for record in change_set.audit)
        if changes:
            self._flush_graph()
        self._insert("audit (at, actor, action, subject, detail)", self._rows.audit)
        for change_set in group:
            self._small_tables(change_set)
        return entries

    # -- the graph

    def _heads(self, changes: Sequence[PreparedChange]) -> dict[str, _Head]:
        """What is current now; a change that was prepared on something else is a conflict."""
        wanted = [change.document_id for change in changes]
        if len(set(wanted)) != len(wanted):
            raise ValueError("a document may occur once in a group")
        rows = self._db.execute(
            "SELECT document_id, v_from, content_hash, chunk_ids, chunk_starts FROM documents"
            " WHERE v_to IS NULL AND document_id IN (SELECT value FROM json_each(?))",
            (as_list(wanted),),
        )
        heads = {row[0]: _Head(*row[1:]) for row in rows}
        conflicts = {
            change.document_id
            for change in changes
            if change.expected != (head.v_from if (head := heads.get(change.document_id)) else None)
        }
        if conflicts:
            raise CommitConflict(frozenset(conflicts))
        return heads

    def _change(self, change: PreparedChange, head: _Head | None) -> LogEntry:
        self._version += 1
        version: int = self._version
        rows = self._rows
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
        self, change: PreparedChange, head: _Head | None, version: int, chunks: list[NewChunk]
    ) -> StoredDocument:
        """The version that the change opens; the chunks that it creates go to `chunks`."""
        if change.op is Op.ACCESS and head is not None:
            content_hash, ids, starts = head.content_hash, unpack(head.chunk_ids), unpack(head.chunk_starts)
        else:
            content_hash = change.content_hash
            ids, starts = self._layout(change, head, version, chunks)
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
        self._rows.documents.append(
            (version, change.document_id, content_hash, metadata, change.origin, pack(ids), pack(starts))
        )
        return document

    def _layout(
        self, change: PreparedChange, head: _Head | None, version: int, chunks: list[NewChunk]
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

    def _held_chunks(self, head: _Head | None) -> dict[bytes, list[int]]:
        """The current chunks by hash; one that occurs twice has two ids."""
        held: dict[bytes, list[int]] = defaultdict(list)
        if head is not None and head.chunk_ids:
            for id_, hash_ in self._db.execute(
                "SELECT id, hash FROM chunks WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
                (as_list(unpack(head.chunk_ids)),),
            ):
                held[hash_].append(id_)
        return held

    def _new_chunk(self, draft: PackedChunk, document_id: str, version: int) -> int:
        id_: int = self._next_chunk
        self._next_chunk += 1
        hash_, text, sentences, mentions, relations, _ = draft
        self._rows.chunks.append((id_, version, document_id, hash_, text, sentences, mentions, relations))
        return id_

    def _audit_row(self, record: AuditRecord, version: int | None = None) -> tuple[Any, ...]:
        detail = record.detail if version is None else {**record.detail, "graph_version": version}
        return (self._now, record.actor, record.action, record.subject, to_json(detail).decode())

    def _flush_graph(self) -> None:
        rows = self._rows
        self._each("UPDATE documents SET v_to = ? WHERE v_from = ?", rows.closed)
        self._insert(DOCUMENT, rows.documents)
        self._insert("chunks", rows.chunks)
        self._insert("log", rows.log)
        self._db.execute("UPDATE graph SET version = ?, next_chunk = ?", (self._version, self._next_chunk))

    # -- the small tables

    def _small_tables(self, change_set: ChangeSet) -> None:
        for (scope, key), value in change_set.records.items():
            if value is None:
                self._db.execute("DELETE FROM records WHERE scope = ? AND key = ?", (scope, key))
            else:
                self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (scope, key, value))
        self._insert(
            "journal (id, kind, payload, actor)",
            [(item.id, item.kind, item.payload, item.actor) for item in change_set.journal],
        )
        self._each("DELETE FROM journal WHERE id = ?", [(id_,) for id_ in change_set.journal_done])
        self._insert(
            DELIVERY,
            [
                (d.id, d.endpoint, d.event, d.subject, d.payload, d.target, self._now, d.next_attempt_at.timestamp())
                for d in change_set.deliveries
            ],
            # The id is made from what the delivery is about: a follower that reads its stretch again adds nothing.
            conflict="ON CONFLICT (id) DO NOTHING",
        )
        for a in change_set.attempts:
            next_at = a.next_attempt_at.timestamp()
            self._db.execute(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (a.delivery_id, a.at.timestamp(), a.duration, a.state.value, next_at, a.status, a.error, a.response),
            )
            self._db.execute(
                "UPDATE deliveries SET state = ?, attempts = attempts + 1, next_attempt_at = ?, error = ? WHERE id = ?",
                (a.state.value, next_at, a.error, a.delivery_id),
            )
        self._each(REPLAY, [(self._now, id_) for id_ in change_set.replays])

    def _each(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._db.executemany(statement, rows)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> None:
        """Insert many rows a statement. Each statement lets go of the interpreter's lock, and then waits for it behind
        all other threads: that costs more than its rows do."""
        for size, some in _portions(rows) if rows else ():
            row = f"({', '.join('?' * len(some[0]))})"
            statement = f"INSERT INTO {table} VALUES {', '.join([row] * size)} {conflict}"
            together = [some[at : at + size] for at in range(0, len(some), size)]
            self._db.executemany(statement, [tuple(chain.from_iterable(several)) for several in together])


def _portions(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Sequence[tuple[Any, ...]]]]:
    """All rows, in portions that are multiples of a size."""
    start = 0
    for size in ROWS_AT_ONCE:
        end = len(rows) - (len(rows) - start) % size
        if end > start:
            yield size, rows[start:end]
        start = end


def collect(db: apsw.Connection, before: int) -> int:
    """Drop what no version >= `before` sees; the number of document versions dropped."""
    with transaction(db):
        version, floor = select(db, "SELECT version, floor FROM graph")[0]
        before = min(before, version)
        if before <= floor:
            return 0
        dropped: int = db.execute("SELECT count(*) FROM documents WHERE v_to <= ?", (before,)).get
        if dropped:
            _collect_chunks(db, before)
            db.execute("DELETE FROM documents WHERE v_to <= ?", (before,))
        db.execute("DELETE FROM log WHERE version <= ? AND version NOT IN (SELECT v_from FROM documents)", (before,))
        db.execute("UPDATE graph SET floor = ?", (before,))
        return dropped


def _collect_chunks(db: apsw.Connection, before: int) -> None:
    """Chunks that only the versions to be dropped hold."""
    gone: set[int] = set()
    kept: dict[int, int] = {}
    touched: set[str] = set()
    for document_id, blob in db.execute("SELECT document_id, chunk_ids FROM documents WHERE v_to <= ?", (before,)):
        gone.update(unpack(blob))
        touched.add(document_id)
    for v_from, blob in db.execute(
        "SELECT v_from, chunk_ids FROM documents WHERE (v_to IS NULL OR v_to > ?)"
        " AND document_id IN (SELECT value FROM json_each(?)) ORDER BY v_from DESC",
        (before, as_list(touched)),
    ):
        kept.update(dict.fromkeys(unpack(blob), v_from))
    gone -= kept.keys()
    # A chunk belongs to the version that created it; when that one goes, to the oldest that still holds it.
    db.executemany("UPDATE chunks SET v_from = max(v_from, ?) WHERE id = ?", [(v, id_) for id_, v in kept.items()])
    db.executemany("DELETE FROM chunks WHERE id = ?", [(id_,) for id_ in sorted(gone)])
