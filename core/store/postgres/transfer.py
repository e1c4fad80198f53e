"""The shared store as one end of a copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from core.store.postgres.connection import Connection, Database, translated
from core.store.postgres.write import storable
from core.store.transfer import ROWS_AT_ONCE, TABLES, Counters, Table

ORDERED = {"attempts": "sequence"}
"""Of the others the first column is their key, and tells their order."""
COUNTERS = ("journal", "deliveries", "audit")
NO_HURRY = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""The other end may take its time."""


class PostgresSource:
    def __init__(self, db: Connection) -> None:
        self._db = db

    async def counters(self) -> Counters:
        row = await self._db.fetchrow(
            "SELECT version, floor, next_chunk, next_journal, next_delivery, next_audit FROM graph"
        )
        version, floor, next_chunk, *following = row
        last = {name: number - 1 for name, number in zip(COUNTERS, following, strict=True)}
        return Counters(version, floor, next_chunk, last)

    async def rows(self, table: Table) -> AsyncIterator[Sequence[Sequence[Any]]]:
        order = ORDERED.get(table.name, table.columns[0])
        cursor = await self._db.cursor(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {order}")
        while found := await cursor.fetch(ROWS_AT_ONCE):
            yield [tuple(row) for row in found]


class PostgresTarget:
    def __init__(self, db: Connection) -> None:
        self._db = db

    async def is_empty(self) -> bool:
        filled = " OR ".join(f"EXISTS (SELECT 1 FROM {table.name})" for table in TABLES)
        # Under the head row's lock, so that nobody begins to fill it meanwhile.
        version = await self._db.fetchval("SELECT version FROM graph FOR UPDATE")
        return version == 0 and not await self._db.fetchval(f"SELECT {filled}")

    async def put(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        records = [[storable(value) if isinstance(value, str) else value for value in row] for row in rows]
        await self._db.copy_records_to_table(table.name, records=records, columns=table.columns)

    async def stand_at(self, counters: Counters) -> None:
        await self._db.execute(
            "UPDATE graph SET version = $1, floor = $2, next_chunk = $3,"
            " next_journal = $4, next_delivery = $5, next_audit = $6",
            counters.version,
            counters.floor,
            counters.next_chunk,
            *(counters.last.get(name, 0) + 1 for name in COUNTERS),
        )


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[PostgresSource]:
    """As of one moment, whatever other nodes write meanwhile."""
    async with database.connection() as db, db.transaction(isolation="repeatable_read", readonly=True):
        await db.execute(NO_HURRY)
        yield PostgresSource(db)


@asynccontextmanager
async def filling(database: Database) -> AsyncIterator[PostgresTarget]:
    async with database.connection() as db:
        async with db.transaction():
            await db.execute(NO_HURRY)
            yield PostgresTarget(db)
        # Without statistics every plan would be a guess until the server gathers them by itself.
        with translated(database.name):
            await db.execute("ANALYZE")
