"""Reading. Every function runs in a connection's thread and sees one snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import apsw

from core.entities import Mention, Relation
from core.errors import VersionUnavailable
from core.model import LogEntry, NewChunk, StoredChunk, StoredDocument
from core.packing import unpack_mentions, unpack_relations
from core.store import rows
from core.store.base import Attempt, Delivery, DeliveryState, JournalItem, JournalSize, StoredAuditRecord
from core.store.group import unpack
from core.store.rows import ATTEMPT, AUDIT, CHUNK, DELIVERY, DOCUMENT, LOG, OPENED
from core.store.sqlite.rows import as_list, select


def head(db: apsw.Connection) -> int:
    version: int = db.execute("SELECT version FROM graph").get
    return version


def floor(db: apsw.Connection) -> int:
    version: int = db.execute("SELECT floor FROM graph").get
    return version


def version_at(db: apsw.Connection, at: float) -> int:
    found = select(db, "SELECT version FROM log WHERE at <= ? ORDER BY version DESC LIMIT 1", (at,))
    return found[0][0] if found else floor(db)


# ---------------------------------------------------------------- the graph


def documents(db: apsw.Connection, document_ids: Collection[str], as_of: int | None) -> dict[str, StoredDocument]:
    return {row[2]: rows.document(row) for row in _versions(db, DOCUMENT, document_ids, as_of)}


def _versions(
    db: apsw.Connection, columns: str, document_ids: Collection[str], as_of: int | None
) -> list[tuple[Any, ...]]:
    """Columns of the documents' versions that are visible as of a version, or now."""
    ids = as_list(document_ids)
    if as_of is None:
        return select(
            db,
            f"SELECT {columns} FROM documents WHERE v_to IS NULL AND document_id IN (SELECT value FROM json_each(?))",
            (ids,),
        )
    _check_readable(db, as_of)
    return select(
        db,
        f"SELECT {columns} FROM documents WHERE v_to IS NULL AND v_from <= ?1"
        " AND document_id IN (SELECT value FROM json_each(?2))"
        f" UNION ALL SELECT {columns} FROM documents WHERE v_to > ?1 AND v_from <= ?1"
        " AND document_id IN (SELECT value FROM json_each(?2))",
        (as_of, ids),
    )


def scan(db: apsw.Connection, as_of: int | None, after: str, limit: int, origin: str | None) -> list[StoredDocument]:
    if as_of is None:
        found = select(
            db,
            f"SELECT {DOCUMENT} FROM documents WHERE v_to IS NULL AND document_id > ?1"
            " AND (?2 IS NULL OR origin = ?2) ORDER BY document_id LIMIT ?3",
            (after, origin, limit),
        )
    else:
        _check_readable(db, as_of)
        found = select(
            db,
            f"SELECT {DOCUMENT} FROM documents WHERE v_from <= ?4 AND (v_to IS NULL OR v_to > ?4)"
            " AND document_id > ?1 AND (?2 IS NULL OR origin = ?2) ORDER BY document_id LIMIT ?3",
            (after, origin, limit, as_of),
        )
    return [rows.document(row) for row in found]


def _check_readable(db: apsw.Connection, version: int) -> None:
    head, floor = select(db, "SELECT version, floor FROM graph")[0]
    rows.check_readable(version, floor, head)


def chunk_hashes(db: apsw.Connection, document_ids: Collection[str]) -> dict[str, frozenset[bytes]]:
    held: dict[str, frozenset[bytes]] = {}
    for document in documents(db, document_ids, None).values():
        found = select(
            db, "SELECT hash FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (as_list(document.chunk_ids),)
        )
        held[document.document_id] = frozenset(row[0] for row in found)
    return held


def chunks(db: apsw.Connection, chunk_ids: Collection[int], as_of: int | None) -> dict[int, StoredChunk]:
    found = _texts(db, chunk_ids)
    held = _versions(db, "document_id, chunk_ids, chunk_starts", {row[1] for row in found}, as_of)
    return _placed(found, {id_: (unpack(ids), unpack(starts)) for id_, ids, starts in held})


def passages(
    db: apsw.Connection, chunk_ids: Collection[int], as_of: int | None
) -> tuple[dict[int, StoredChunk], dict[str, StoredDocument]]:
    found = _texts(db, chunk_ids)
    held = documents(db, {row[1] for row in found}, as_of)
    return _placed(found, {id_: (version.chunk_ids, version.chunk_starts) for id_, version in held.items()}), held


def _texts(db: apsw.Connection, chunk_ids: Collection[int]) -> list[tuple[Any, ...]]:
    return select(db, f"SELECT {CHUNK} FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (as_list(chunk_ids),))


def _placed(
    texts: Sequence[tuple[Any, ...]], held: Mapping[str, tuple[Sequence[int], Sequence[int]]]
) -> dict[int, StoredChunk]:
    """The chunks with their places; `held` has the ids and starts of the chunks of each document."""
    placed = (rows.chunk(row, *held[row[1]]) for row in texts if row[1] in held)
    return {chunk.id: chunk for chunk in placed if chunk is not None}


def evidence(
    db: apsw.Connection, chunk_ids: Collection[int]
) -> dict[int, tuple[tuple[Mention, ...], tuple[Relation, ...]]]:
    found = select(
        db,
        "SELECT id, mentions, relations FROM chunks WHERE id IN (SELECT value FROM json_each(?))",
        (as_list(chunk_ids),),
    )
    return {id_: (unpack_mentions(mentions), unpack_relations(relations)) for id_, mentions, relations in found}


def changes(db: apsw.Connection, after: int, limit: int, content: bool, began: int | None) -> list[LogEntry]:
    oldest = floor(db)
    if 0 < after < oldest and began != oldest and _entries(db, after, oldest) < oldest - after:
        raise VersionUnavailable(
            f"changes past {after} are collected up to {oldest}; read the graph anew from 0", collected=True
        )
    log = select(
        db,
        f"SELECT {LOG} FROM log WHERE version > ? ORDER BY version LIMIT ?",
        (after, limit),
    )
    if not log:
        return []
    opened: dict[int, StoredDocument] = {}
    created: dict[int, list[NewChunk]] = {}
    if content:
        last = log[-1][0]
        found = select(db, f"SELECT {OPENED} FROM documents WHERE v_from > ? AND v_from <= ?", (after, last))
        opened = {row[0]: rows.document(row) for row in found}
        created = _created_chunks(db, opened)
    return rows.entries(log, opened, created)


def _entries(db: apsw.Connection, after: int, until: int) -> int:
    number: int = db.execute("SELECT count(*) FROM log WHERE version > ? AND version <= ?", (after, until)).get
    return number


def _created_chunks(db: apsw.Connection, opened: dict[int, StoredDocument]) -> dict[int, list[NewChunk]]:
    """The chunks that each of these document versions created."""
    held = {id_ for document in opened.values() for id_ in document.chunk_ids}
    found = select(
        db,
        "SELECT v_from, id, text, mentions FROM chunks WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (as_list(held),),
    )
    created: dict[int, list[NewChunk]] = defaultdict(list)
    for v_from, *row in found:
        if v_from in opened:
            created[v_from].append(rows.new_chunk(row))
    return created


# ---------------------------------------------------------------- the small tables


def records(db: apsw.Connection, scope: str, keys: Collection[str] | None) -> dict[str, str]:
    if keys is None:
        return dict(select(db, "SELECT key, value FROM records WHERE scope = ? ORDER BY key", (scope,)))
    statement = (
        "SELECT key, value FROM records WHERE scope = ? AND key IN (SELECT value FROM json_each(?)) ORDER BY key"
    )
    return dict(select(db, statement, (scope, as_list(keys))))


def record(db: apsw.Connection, scope: str, key: str) -> str | None:
    found = select(db, "SELECT value FROM records WHERE scope = ? AND key = ?", (scope, key))
    return str(found[0][0]) if found else None


def journal(db: apsw.Connection, limit: int) -> list[JournalItem]:
    found = select(db, "SELECT id, kind, payload, actor FROM journal ORDER BY sequence LIMIT ?", (limit,))
    return [JournalItem(*row) for row in found]


def journal_size(db: apsw.Connection) -> JournalSize:
    # octet_length of a column is in the row's head, so that long payloads are not read.
    [(items, size)] = select(db, "SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM journal", ())
    return JournalSize(items, size)


def due(db: apsw.Connection, now: float, limit: int, skip: Collection[str]) -> list[Delivery]:
    found = select(
        db,
        f"SELECT {DELIVERY} FROM deliveries AS d WHERE state = 'pending' AND next_attempt_at <= ?"
        " AND endpoint NOT IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM deliveries AS earlier WHERE earlier.state = 'pending'"
        "  AND earlier.endpoint = d.endpoint AND earlier.subject = d.subject AND d.subject <> ''"
        "  AND earlier.sequence < d.sequence)"
        " ORDER BY sequence LIMIT ?",
        (now, as_list(skip), limit),
    )
    return [rows.delivery(row) for row in found]


def next_due(db: apsw.Connection) -> float | None:
    at: float | None = db.execute("SELECT min(next_attempt_at) FROM deliveries WHERE state = 'pending'").get
    return at


def deliveries(
    db: apsw.Connection, endpoint: str | None, state: str | None, subject: str | None, before: int | None, limit: int
) -> list[Delivery]:
    found = select(
        db,
        f"SELECT {DELIVERY} FROM deliveries WHERE (?1 IS NULL OR endpoint = ?1) AND (?2 IS NULL OR state = ?2)"
        " AND (?3 IS NULL OR subject = ?3) AND (?4 IS NULL OR sequence < ?4) ORDER BY sequence DESC LIMIT ?5",
        (endpoint, state, subject, before, limit),
    )
    return [rows.delivery(row) for row in found]


def delivery(db: apsw.Connection, delivery_id: str) -> Delivery | None:
    found = select(db, f"SELECT {DELIVERY} FROM deliveries WHERE id = ?", (delivery_id,))
    return rows.delivery(found[0]) if found else None


def has_pending(db: apsw.Connection, endpoint: str) -> bool:
    return bool(select(db, "SELECT 1 FROM deliveries WHERE state = 'pending' AND endpoint = ? LIMIT 1", (endpoint,)))


def undelivered(db: apsw.Connection) -> dict[tuple[str, DeliveryState], int]:
    # One statement for each state, so that each is answered from its partial index.
    counts: dict[tuple[str, DeliveryState], int] = {}
    for state in (DeliveryState.PENDING, DeliveryState.DEAD):
        statement = f"SELECT endpoint, COUNT(*) FROM deliveries WHERE state = '{state}' GROUP BY endpoint"
        counts |= {(endpoint, state): count for endpoint, count in select(db, statement)}
    return counts


def attempts(db: apsw.Connection, delivery_id: str) -> list[Attempt]:
    found = select(
        db,
        f"SELECT {ATTEMPT} FROM attempts WHERE delivery_id = ? ORDER BY rowid",
        (delivery_id,),
    )
    return [rows.attempt(row) for row in found]


def audit(
    db: apsw.Connection, action: str | None, actor: str | None, before: int | None, limit: int
) -> list[StoredAuditRecord]:
    found = select(
        db,
        f"SELECT {AUDIT} FROM audit WHERE (?1 IS NULL OR action = ?1)"
        " AND (?2 IS NULL OR actor = ?2) AND (?3 IS NULL OR sequence < ?3) ORDER BY sequence DESC LIMIT ?4",
        (action, actor, before, limit),
    )
    return [rows.audit(row) for row in found]


def trail(db: apsw.Connection, after: int, limit: int, actions: Collection[str] | None) -> list[StoredAuditRecord]:
    named = "" if actions is None else "AND action IN (SELECT value FROM json_each(?))"
    found = select(
        db,
        f"SELECT {AUDIT} FROM audit WHERE sequence > ? {named} ORDER BY sequence LIMIT ?",
        (after, *([] if actions is None else [as_list(actions)]), limit),
    )
    return [rows.audit(row) for row in found]
