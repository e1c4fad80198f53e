"""Reading. Every function sees one snapshot: it is one statement, or a transaction that keeps its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from core.entities import Mention, Relation
from core.errors import VersionUnavailable
from core.model import LogEntry, NewChunk, StoredChunk, StoredDocument
from core.packing import unpack_mentions, unpack_relations
from core.store import rows
from core.store.base import Attempt, Delivery, DeliveryState, JournalItem, JournalSize, StoredAuditRecord
from core.store.group import unpack
from core.store.postgres.connection import Connection
from core.store.rows import ATTEMPT, AUDIT, CHUNK, DELIVERY, DOCUMENT, LOG, OPENED

VISIBLE = "(d.v_from <= {version} AND (d.v_to IS NULL OR d.v_to > {version}))"
CURRENT = "d.v_to IS NULL"


def _of(table: str, columns: str) -> str:
    return ", ".join(column if column == "NULL" else f"{table}.{column}" for column in columns.split(", "))


async def head(db: Connection) -> int:
    version: int = await db.fetchval("SELECT version FROM graph")
    return version


async def floor(db: Connection) -> int:
    version: int = await db.fetchval("SELECT floor FROM graph")
    return version


async def now(db: Connection) -> datetime:
    moment: datetime = await db.fetchval("SELECT clock_timestamp()")
    return moment


async def version_at(db: Connection, at: float) -> int:
    version: int = await db.fetchval(
        "SELECT coalesce((SELECT version FROM log WHERE at <= $1 ORDER BY version DESC LIMIT 1), floor) FROM graph", at
    )
    return version


# ---------------------------------------------------------------- the graph


async def documents(db: Connection, document_ids: Collection[str], as_of: int | None) -> dict[str, StoredDocument]:
    found = await _versions(db, "d.document_id = ANY($1)", [list(document_ids)], as_of)
    return {document.document_id: document for document in found}


async def scan(db: Connection, as_of: int | None, after: str, limit: int, origin: str | None) -> list[StoredDocument]:
    condition = "d.document_id > $1 AND ($2::text IS NULL OR d.origin = $2)"
    return await _versions(db, condition, [after, origin], as_of, f"ORDER BY d.document_id LIMIT {limit:d}")


async def _versions(
    db: Connection, condition: str, bindings: Sequence[Any], as_of: int | None, order: str = ""
) -> list[StoredDocument]:
    """The documents' versions that are visible as of a version, or now."""
    columns = _of("d", DOCUMENT)
    if as_of is None:
        found = await db.fetch(
            f"SELECT {columns} FROM documents AS d WHERE {CURRENT} AND {condition} {order}", *bindings
        )
        return [rows.document(row) for row in found]
    visible = VISIBLE.format(version=f"${len(bindings) + 1}")
    found = await db.fetch(
        f"SELECT g.floor, g.version, {columns} FROM graph AS g"
        f" LEFT JOIN documents AS d ON {visible} AND {condition} {order}",
        *bindings,
        as_of,
    )
    rows.check_readable(as_of, *found[0][:2])
    return [rows.document(row[2:]) for row in map(tuple, found) if row[2] is not None]


async def chunk_hashes(db: Connection, document_ids: Collection[str]) -> dict[str, frozenset[bytes]]:
    async with db.transaction(isolation="repeatable_read", readonly=True):
        held = await documents(db, document_ids, None)
        ids = [id_ for document in held.values() for id_ in document.chunk_ids]
        hashes = await chunk_hash(db, ids)
    return {id_: frozenset(hashes[chunk] for chunk in document.chunk_ids) for id_, document in held.items()}


async def chunk_hash(db: Connection, chunk_ids: Collection[int]) -> Mapping[int, bytes]:
    """The hash of each of these chunks."""
    return dict(await db.fetch("SELECT id, hash FROM chunks WHERE id = ANY($1)", list(chunk_ids)))


async def chunks(db: Connection, chunk_ids: Collection[int], as_of: int | None) -> dict[int, StoredChunk]:
    found = await _held(db, "chunk_ids, chunk_starts", chunk_ids, as_of)
    placed = (rows.chunk(text, unpack(ids), unpack(starts)) for text, (ids, starts) in found)
    return {chunk.id: chunk for chunk in placed if chunk is not None}


async def passages(
    db: Connection, chunk_ids: Collection[int], as_of: int | None
) -> tuple[dict[int, StoredChunk], dict[str, StoredDocument]]:
    found = await _held(db, DOCUMENT, chunk_ids, as_of)
    versions = {text[1]: rows.document(version) for text, version in found}
    placed = (rows.chunk(text, versions[text[1]].chunk_ids, versions[text[1]].chunk_starts) for text, _ in found)
    return {chunk.id: chunk for chunk in placed if chunk is not None}, versions


async def _held(
    db: Connection, columns: str, chunk_ids: Collection[int], as_of: int | None
) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The chunks whose documents have a version that is visible as of a version, or now: the columns `CHUNK`, and these
    of the document's version."""
    found = await db.fetch(
        f"SELECT g.floor, g.version, held.* FROM graph AS g LEFT JOIN (SELECT {_of('c', CHUNK)}, {_of('d', columns)}"
        " FROM chunks AS c JOIN documents AS d ON d.document_id = c.document_id"
        f" WHERE c.id = ANY($1) AND {CURRENT if as_of is None else VISIBLE.format(version='$2')}) AS held ON true",
        list(chunk_ids),
        *(() if as_of is None else (as_of,)),
    )
    if as_of is not None:
        rows.check_readable(as_of, *found[0][:2])
    width = 2 + len(CHUNK.split(", "))
    return [(row[2:width], row[width:]) for row in map(tuple, found) if row[2] is not None]


async def evidence(
    db: Connection, chunk_ids: Collection[int]
) -> dict[int, tuple[tuple[Mention, ...], tuple[Relation, ...]]]:
    found = await db.fetch("SELECT id, mentions, relations FROM chunks WHERE id = ANY($1)", list(chunk_ids))
    return {id_: (unpack_mentions(mentions), unpack_relations(relations)) for id_, mentions, relations in found}


async def changes(db: Connection, after: int, limit: int, content: bool, began: int | None) -> list[LogEntry]:
    async with db.transaction(isolation="repeatable_read", readonly=True):
        oldest = await floor(db)
        if 0 < after < oldest and began != oldest and await _entries(db, after, oldest) < oldest - after:
            raise VersionUnavailable(
                f"changes past {after} are collected up to {oldest}; read the graph anew from 0", collected=True
            )
        log = await db.fetch(f"SELECT {LOG} FROM log WHERE version > $1 ORDER BY version LIMIT $2", after, limit)
        opened: dict[int, StoredDocument] = {}
        created: dict[int, list[NewChunk]] = {}
        if log and content:
            statement = f"SELECT {OPENED} FROM documents WHERE v_from > $1 AND v_from <= $2"
            opened = {row[0]: rows.document(row) for row in await db.fetch(statement, after, log[-1][0])}
            created = await _created_chunks(db, opened)
    return rows.entries(log, opened, created)


async def _entries(db: Connection, after: int, until: int) -> int:
    number: int = await db.fetchval("SELECT count(*) FROM log WHERE version > $1 AND version <= $2", after, until)
    return number


async def _created_chunks(db: Connection, opened: dict[int, StoredDocument]) -> dict[int, list[NewChunk]]:
    """The chunks that each of these document versions created."""
    held = {id_ for document in opened.values() for id_ in document.chunk_ids}
    found = await db.fetch("SELECT v_from, id, text, mentions FROM chunks WHERE id = ANY($1) ORDER BY id", list(held))
    created: dict[int, list[NewChunk]] = defaultdict(list)
    for v_from, *row in found:
        if v_from in opened:
            created[v_from].append(rows.new_chunk(row))
    return created


async def collectable(db: Connection, before: int) -> tuple[set[int], dict[int, int]]:
    """Of the document versions that end by `before`: the chunks that only they hold, and each other chunk of their
    documents with the oldest version that still holds it."""
    gone: set[int] = set()
    touched: set[str] = set()
    for document_id, blob in await db.fetch("SELECT document_id, chunk_ids FROM documents WHERE v_to <= $1", before):
        gone.update(unpack(blob))
        touched.add(document_id)
    kept: dict[int, int] = {}
    for v_from, blob in await db.fetch(
        "SELECT v_from, chunk_ids FROM documents WHERE (v_to IS NULL OR v_to > $1) AND document_id = ANY($2)"
        " ORDER BY v_from DESC",
        before,
        list(touched),
    ):
        kept.update(dict.fromkeys(unpack(blob), v_from))
    return gone - kept.keys(), kept


# ---------------------------------------------------------------- the small tables


async def records(db: Connection, scope: str, keys: Collection[str] | None) -> dict[str, str]:
    if keys is None:
        return dict(await db.fetch("SELECT key, value FROM records WHERE scope = $1 ORDER BY key", scope))
    statement = "SELECT key, value FROM records WHERE scope = $1 AND key = ANY($2) ORDER BY key"
    return dict(await db.fetch(statement, scope, list(keys)))


async def record(db: Connection, scope: str, key: str) -> str | None:
    value: str | None = await db.fetchval("SELECT value FROM records WHERE scope = $1 AND key = $2", scope, key)
    return value


async def journal(db: Connection, limit: int) -> list[JournalItem]:
    found = await db.fetch("SELECT id, kind, payload, actor FROM journal ORDER BY sequence LIMIT $1", limit)
    return [JournalItem(*row) for row in found]


async def journal_size(db: Connection) -> JournalSize:
    return JournalSize(*await db.fetchrow("SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM journal"))


async def due(db: Connection, now: float, limit: int, skip: Collection[str]) -> list[Delivery]:
    found = await db.fetch(
        f"SELECT {DELIVERY} FROM deliveries AS d WHERE state = 'pending' AND next_attempt_at <= $1"
        " AND endpoint <> ALL($2)"
        " AND NOT EXISTS (SELECT 1 FROM deliveries AS earlier WHERE earlier.state = 'pending'"
        "  AND earlier.endpoint = d.endpoint AND earlier.subject = d.subject AND d.subject <> ''"
        "  AND earlier.sequence < d.sequence)"
        " ORDER BY sequence LIMIT $3",
        now,
        list(skip),
        limit,
    )
    return [rows.delivery(row) for row in found]


async def next_due(db: Connection) -> float | None:
    at: float | None = await db.fetchval("SELECT min(next_attempt_at) FROM deliveries WHERE state = 'pending'")
    return at


async def deliveries(
    db: Connection, endpoint: str | None, state: str | None, subject: str | None, before: int | None, limit: int
) -> list[Delivery]:
    found = await db.fetch(
        f"SELECT {DELIVERY} FROM deliveries WHERE ($1::text IS NULL OR endpoint = $1)"
        " AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR subject = $3)"
        " AND ($4::bigint IS NULL OR sequence < $4) ORDER BY sequence DESC LIMIT $5",
        endpoint,
        state,
        subject,
        before,
        limit,
    )
    return [rows.delivery(row) for row in found]


async def delivery(db: Connection, delivery_id: str) -> Delivery | None:
    found = await db.fetchrow(f"SELECT {DELIVERY} FROM deliveries WHERE id = $1", delivery_id)
    return None if found is None else rows.delivery(found)


async def has_pending(db: Connection, endpoint: str) -> bool:
    there: bool = await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'pending' AND endpoint = $1)", endpoint
    )
    return there


async def undelivered(db: Connection) -> dict[tuple[str, DeliveryState], int]:
    found = await db.fetch(
        "SELECT endpoint, state, count(*) FROM deliveries WHERE state = 'pending' GROUP BY endpoint, state"
        " UNION ALL SELECT endpoint, state, count(*) FROM deliveries WHERE state = 'dead' GROUP BY endpoint, state"
    )
    return {(endpoint, DeliveryState(state)): count for endpoint, state, count in found}


async def attempts(db: Connection, delivery_id: str) -> list[Attempt]:
    found = await db.fetch(f"SELECT {ATTEMPT} FROM attempts WHERE delivery_id = $1 ORDER BY sequence", delivery_id)
    return [rows.attempt(row) for row in found]


async def audit(
    db: Connection, action: str | None, actor: str | None, before: int | None, limit: int
) -> list[StoredAuditRecord]:
    found = await db.fetch(
        f"SELECT {AUDIT} FROM audit WHERE ($1::text IS NULL OR action = $1) AND ($2::text IS NULL OR actor = $2)"
        " AND ($3::bigint IS NULL OR sequence < $3) ORDER BY sequence DESC LIMIT $4",
        action,
        actor,
        before,
        limit,
    )
    return [rows.audit(row) for row in found]


async def trail(db: Connection, after: int, limit: int, actions: Collection[str] | None) -> list[StoredAuditRecord]:
    found = await db.fetch(
        f"SELECT {AUDIT} FROM audit WHERE sequence > $1 AND ($3::text[] IS NULL OR action = ANY($3))"
        " ORDER BY sequence LIMIT $2",
        after,
        limit,
        None if actions is None else list(actions),
    )
    return [rows.audit(row) for row in found]
