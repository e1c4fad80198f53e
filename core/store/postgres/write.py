"""Writing a group of change sets in one transaction, under the head row's lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg

from core.model import LogEntry
from core.store.base import Attempt, ChangeSet, DeliveryState
from core.store.group import GroupLayout, Head, changed_documents, check_heads, replaced_chunks
from core.store.postgres import leases
from core.store.postgres.connection import CUT, Connection
from core.store.postgres.read import chunk_hash, collectable

CHANNEL = "aime"
"""Where each commit is told of, with the writer's id."""

LOCK_HEAD = """
SELECT version, next_chunk, next_journal, next_delivery, next_audit,
    extract(epoch FROM clock_timestamp())::double precision FROM graph FOR UPDATE
"""
"""The time is the server's: the clocks of nodes differ, and versions must not go back in time."""
HEADS = """
SELECT document_id, v_from, content_hash, chunk_ids, chunk_starts FROM documents
WHERE v_to IS NULL AND document_id = ANY($1)
"""
CLOSE = """
UPDATE documents AS d SET v_to = closed.v_to FROM unnest($1::bigint[], $2::bigint[]) AS closed (v_to, v_from)
WHERE d.v_from = closed.v_from
"""
WRITE = """
WITH opened AS (
    INSERT INTO documents (v_from, document_id, content_hash, metadata, origin, chunk_ids, chunk_starts)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])
), created AS (
    INSERT INTO chunks (id, v_from, document_id, hash, text, sentences, mentions, relations) SELECT * FROM
    unnest($8::bigint[], $9::bigint[], $10::text[], $11::bytea[], $12::text[], $13::bytea[], $14::text[], $15::text[])
), logged AS (
    INSERT INTO log (version, op, document_id, source, access, at)
    SELECT * FROM unnest($16::bigint[], $17::text[], $18::text[], $19::text[], $20::text[], $21::double precision[])
), audited AS (
    INSERT INTO audit (sequence, at, actor, action, subject, detail)
    SELECT * FROM unnest($22::bigint[], $23::double precision[], $24::text[], $25::text[], $26::text[], $27::text[])
), noted AS (
    INSERT INTO writers (id, number, at) VALUES ($28, $29, $30)
    ON CONFLICT (id) DO UPDATE SET number = excluded.number, at = excluded.at
)
UPDATE graph SET version = $31, next_chunk = $32, next_journal = $33, next_delivery = $34, next_audit = $35
RETURNING pg_notify($36, $28)
"""
"""What every commit writes, in one round trip: the head row is locked meanwhile, and all wait for it."""
PUT_RECORDS = """
INSERT INTO records (scope, key, value) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value
"""
DROP_RECORDS = "DELETE FROM records WHERE (scope, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
INSERT_JOURNAL = """
INSERT INTO journal (sequence, id, kind, payload, actor)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
"""
INSERT_DELIVERIES = """
INSERT INTO deliveries (sequence, id, endpoint, event, subject, payload, target, created_at, next_attempt_at)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::double precision[], $9::double precision[])
ON CONFLICT (id) DO NOTHING
"""
"""The id is made from what the delivery is about: a follower that reads its stretch again adds nothing."""
INSERT_ATTEMPT = """
INSERT INTO attempts (delivery_id, at, duration, state, next_attempt_at, status, error, response)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
TRIED = """
UPDATE deliveries SET state = $2, attempts = attempts + 1, next_attempt_at = $3, error = $4 WHERE id = $1
"""
REPLAY = """
UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = $1, error = NULL
WHERE id = ANY($2) AND state <> 'pending'
"""


class Writer(NamedTuple):
    """Who commits, and how many times it did, with this commit."""

    id: str
    number: int


class OutcomeUnknown(Exception):
    """The connection was lost while the commit was under way. `entries` are the group's, if it landed."""

    def __init__(self, entries: list[list[LogEntry]]) -> None:
        self.entries = entries
        super().__init__()


async def write_group(db: Connection, group: Sequence[ChangeSet], writer: Writer) -> list[list[LogEntry]]:
    """Write all of it or nothing; for each set, the log entries of its changes.

    Raises CommitConflict, LeaseLost, OutcomeUnknown.
    """
    # What is raised before the end is rolled back when the pool gets the connection back.
    await db.execute("BEGIN")
    entries = await _GroupWriter(db, writer).write(group)
    try:
        await db.execute("COMMIT")
    except (*CUT, asyncpg.InterfaceError) as error:
        raise OutcomeUnknown(entries) from error
    return entries


async def landed(db: Connection, writer: Writer) -> bool:
    """Whether the writer's commit of this number stands. Once the head row's lock is ours, the session that may have
    been committing is done either way."""
    async with db.transaction():
        await db.execute("SELECT 1 FROM graph FOR UPDATE")
        number: int | None = await db.fetchval("SELECT number FROM writers WHERE id = $1", writer.id)
    return number is not None and number >= writer.number


class _GroupWriter:
    def __init__(self, db: Connection, writer: Writer) -> None:
        self._db = db
        self._writer = writer
        self._now = 0.0
        self._next_journal = self._next_delivery = self._next_audit = 0

    async def write(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        changed = changed_documents(group)
        version, next_chunk, *numbers, self._now = await self._db.fetchrow(LOCK_HEAD)
        self._next_journal, self._next_delivery, self._next_audit = numbers
        if fences := {fence for change_set in group for fence in change_set.fences}:
            await leases.check(self._db, fences)
        heads = {}
        if changed:
            heads = {row[0]: Head(*row[1:]) for row in map(tuple, await self._db.fetch(HEADS, changed))}
        check_heads(group, heads)
        replaced = replaced_chunks(group, heads)
        hashes = await chunk_hash(self._db, replaced) if replaced else {}
        layout = GroupLayout(version, next_chunk, self._now, heads, hashes)
        entries = layout.lay_out(group)
        rows = layout.rows
        if rows.closed:
            await self._db.execute(CLOSE, *_columns(rows.closed, 2))
        for change_set in group:
            await self._small_tables(change_set)
        audited = [(number, *row) for number, row in enumerate(rows.audit, self._next_audit)]
        await self._db.fetch(
            WRITE,
            *_columns(rows.documents, 7),
            *_columns(rows.chunks, 8),
            *_columns(rows.log, 6),
            *_columns(audited, 6),
            *(self._writer.id, self._writer.number, self._now),
            *(layout.version, layout.next_chunk, self._next_journal, self._next_delivery),
            self._next_audit + len(audited),
            CHANNEL,
        )
        return entries

    # -- the small tables

    async def _small_tables(self, change_set: ChangeSet) -> None:
        put = [(*name, value) for name, value in change_set.records.items() if value is not None]
        if put:
            await self._db.execute(PUT_RECORDS, *_columns(put, 3))
        if dropped := [name for name, value in change_set.records.items() if value is None]:
            await self._db.execute(DROP_RECORDS, *_columns(dropped, 2))
        await self._journal(change_set)
        await self._deliveries(change_set)

    async def _journal(self, change_set: ChangeSet) -> None:
        if change_set.journal:
            items = [
                (number, item.id, item.kind, item.payload, item.actor)
                for number, item in enumerate(change_set.journal, self._next_journal)
            ]
            self._next_journal += len(items)
            await self._db.execute(INSERT_JOURNAL, *_columns(items, 5))
        if change_set.journal_done:
            await self._db.execute("DELETE FROM journal WHERE id = ANY($1)", list(change_set.journal_done))

    async def _deliveries(self, change_set: ChangeSet) -> None:
        if change_set.deliveries:
            new = [
                (n, d.id, d.endpoint, d.event, d.subject, d.payload, d.target, self._now, d.next_attempt_at.timestamp())
                for n, d in enumerate(change_set.deliveries, self._next_delivery)
            ]
            self._next_delivery += len(new)
            await self._db.execute(INSERT_DELIVERIES, *_columns(new, 9))
        for attempt in change_set.attempts:
            await self._attempt(attempt)
        if change_set.replays:
            await self._db.execute(REPLAY, self._now, list(change_set.replays))

    async def _attempt(self, attempt: Attempt) -> None:
        next_at = attempt.next_attempt_at.timestamp()
        error = None if attempt.error is None else storable(attempt.error)
        await self._db.execute(
            INSERT_ATTEMPT,
            attempt.delivery_id,
            attempt.at.timestamp(),
            attempt.duration,
            attempt.state.value,
            next_at,
            attempt.status,
            error,
            storable(attempt.response),
        )
        await self._db.execute(TRIED, attempt.delivery_id, attempt.state.value, next_at, error)


def _columns(rows: Iterable[Sequence[Any]], number: int) -> list[tuple[Any, ...]]:
    """Rows as the arrays that `unnest` makes rows of."""
    return list(zip(*rows, strict=True)) or [()] * number


def storable(text: str) -> str:
    """What another system answered may hold NUL, which PostgreSQL's text does not."""
    return text.replace("\x00", "\ufffd")


async def collect(db: Connection, before: int) -> int:
    """Drop what no version >= `before` sees; the number of document versions dropped."""
    async with db.transaction():
        version, floor = await db.fetchrow("SELECT version, floor FROM graph FOR UPDATE")
        before = min(before, version)
        if before <= floor:
            return 0
        dropped: int = await db.fetchval("SELECT count(*) FROM documents WHERE v_to <= $1", before)
        if dropped:
            gone, kept = await collectable(db, before)
            # A chunk belongs to the version that created it; when that one goes, to the oldest that still holds it.
            await db.execute(
                "UPDATE chunks AS c SET v_from = kept.v_from"
                " FROM unnest($1::bigint[], $2::bigint[]) AS kept (id, v_from)"
                " WHERE c.id = kept.id AND c.v_from < kept.v_from",
                list(kept.keys()),
                list(kept.values()),
            )
            await db.execute("DELETE FROM chunks WHERE id = ANY($1)", list(gone))
            await db.execute("DELETE FROM documents WHERE v_to <= $1", before)
        await db.execute(
            "DELETE FROM log AS l WHERE version <= $1"
            " AND NOT EXISTS (SELECT 1 FROM documents AS d WHERE d.v_from = l.version)",
            before,
        )
        await db.execute("UPDATE graph SET floor = $1", before)
        return dropped


async def trim_audit(db: Connection, before: float, upto: int, limit: int) -> int:
    oldest = "SELECT sequence FROM audit WHERE sequence <= $2 ORDER BY sequence LIMIT $3"
    statement = f"DELETE FROM audit WHERE at < $1 AND sequence IN ({oldest}) RETURNING sequence"
    return len(await db.fetch(statement, before, upto, limit))


async def trim_deliveries(db: Connection, before: float, after: int, limit: int) -> int | None:
    found = await db.fetch(
        "SELECT sequence, id, state, created_at FROM deliveries WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        after,
        limit,
    )
    old = [row for row in found if row["created_at"] < before]
    arrived = [row["id"] for row in old if row["state"] == DeliveryState.DELIVERED]
    async with db.transaction():
        # An admin may have one of them sent again meanwhile.
        statement = "DELETE FROM deliveries WHERE id = ANY($1) AND state = $2 RETURNING id"
        gone = [row["id"] for row in await db.fetch(statement, arrived, DeliveryState.DELIVERED.value)]
        await db.execute("DELETE FROM attempts WHERE delivery_id = ANY($1)", gone)
    return found[-1]["sequence"] if len(old) == limit else None
