"""Writing a group of change sets in one transaction. Runs in the writer's thread."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import apsw

from core.model import LogEntry
from core.store.base import ChangeSet, DeliveryState
from core.store.group import (
    GroupLayout,
    Head,
    changed_documents,
    check_heads,
    replaced_chunks,
    unpack,
)
from core.store.sqlite.connection import transaction
from core.store.sqlite.rows import as_list, select

ROWS_AT_ONCE = 64
"""The most rows that one statement inserts: there is a prepared statement for each number of them."""
DOCUMENT = "documents (v_from, document_id, content_hash, metadata, origin, chunk_ids, chunk_starts)"
DELIVERY = "deliveries (id, endpoint, event, subject, payload, target, created_at, next_attempt_at)"
REPLAY = (
    "UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = ?, error = NULL"
    " WHERE id = ? AND state <> 'pending'"
)


def write_group(db: apsw.Connection, group: Sequence[ChangeSet], now: float) -> list[list[LogEntry]]:
    """Write all of it or nothing; for each set, the log entries of its changes. Raises CommitConflict."""
    with transaction(db):
        return _GroupWriter(db, now).write(group)


class _GroupWriter:
    def __init__(self, db: apsw.Connection, now: float) -> None:
        self._db = db
        self._now = now

    def write(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        version, next_chunk = select(self._db, "SELECT version, next_chunk FROM graph")[0]
        changed = changed_documents(group)
        heads = self._heads(changed) if changed else {}
        check_heads(group, heads)
        layout = GroupLayout(version, next_chunk, self._now, heads, self._hashes(replaced_chunks(group, heads)))
        entries = layout.lay_out(group)
        if changed:
            self._flush_graph(layout)
        self._insert("audit (at, actor, action, subject, detail)", layout.rows.audit)
        for change_set in group:
            self._small_tables(change_set)
        return entries

    # -- the graph

    def _heads(self, document_ids: Sequence[str]) -> dict[str, Head]:
        """What is current now."""
        rows = self._db.execute(
            "SELECT document_id, v_from, content_hash, chunk_ids, chunk_starts FROM documents"
            " WHERE v_to IS NULL AND document_id IN (SELECT value FROM json_each(?))",
            (as_list(document_ids),),
        )
        return {row[0]: Head(*row[1:]) for row in rows}

    def _hashes(self, chunk_ids: Sequence[int]) -> dict[int, bytes]:
        if not chunk_ids:
            return {}
        statement = "SELECT id, hash FROM chunks WHERE id IN (SELECT value FROM json_each(?))"
        return dict(select(self._db, statement, (as_list(chunk_ids),)))

    def _flush_graph(self, layout: GroupLayout) -> None:
        rows = layout.rows
        self._each("UPDATE documents SET v_to = ? WHERE v_from = ?", rows.closed)
        self._insert(DOCUMENT, rows.documents)
        self._insert("chunks", rows.chunks)
        self._insert("log", rows.log)
        self._db.execute("UPDATE graph SET version = ?, next_chunk = ?", (layout.version, layout.next_chunk))

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
        whole = len(rows) - len(rows) % ROWS_AT_ONCE
        for some in (rows[:whole], rows[whole:]):
            if some:
                size = min(len(some), ROWS_AT_ONCE)
                row = f"({', '.join('?' * len(some[0]))})"
                statement = f"INSERT INTO {table} VALUES {', '.join([row] * size)} {conflict}"
                together = [some[at : at + size] for at in range(0, len(some), size)]
                self._db.executemany(statement, [tuple(chain.from_iterable(several)) for several in together])


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


def trim_audit(db: apsw.Connection, before: float, upto: int, limit: int) -> int:
    oldest = "SELECT sequence FROM audit WHERE sequence <= ? ORDER BY sequence LIMIT ?"
    db.execute(f"DELETE FROM audit WHERE at < ? AND sequence IN ({oldest})", (before, upto, limit))
    return db.changes()


def trim_deliveries(db: apsw.Connection, before: float, after: int, limit: int) -> int | None:
    statement = "SELECT sequence, id, state, created_at FROM deliveries WHERE sequence > ? ORDER BY sequence LIMIT ?"
    found = select(db, statement, (after, limit))
    old = [row for row in found if row[3] < before]
    arrived = [id_ for _, id_, state, _ in old if state == DeliveryState.DELIVERED]
    with transaction(db):
        for table, column in (("attempts", "delivery_id"), ("deliveries", "id")):
            db.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (as_list(arrived),))
    return found[-1][0] if len(old) == limit else None
