"""The embedded store as one end of a copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import apsw

from core.store.sqlite.connection import Connection
from core.store.sqlite.rows import select
from core.store.transfer import ROWS_AT_ONCE, TABLES, Counters, Table


class SqliteSource:
    """The lock on the file keeps everybody else from writing meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def counters(self) -> Counters:
        return await self._connection.run(_counters)

    async def rows(self, table: Table) -> AsyncIterator[Sequence[Sequence[Any]]]:
        if table.name == "records":  # which has no rowid
            async for records in self._records(table):
                yield records
            return
        after = -1
        statement = f"SELECT rowid, {', '.join(table.columns)} FROM {table.name} WHERE rowid > ? ORDER BY rowid LIMIT ?"
        while found := await self._connection.run(select, statement, (after, ROWS_AT_ONCE)):
            after = found[-1][0]
            yield [row[1:] for row in found]

    async def _records(self, table: Table) -> AsyncIterator[Sequence[Sequence[Any]]]:
        last: Sequence[Any] = ("", "")
        statement = (
            f"SELECT {', '.join(table.columns)} FROM records WHERE (scope, key) > (?, ?) ORDER BY scope, key LIMIT ?"
        )
        while found := await self._connection.run(select, statement, (*last, ROWS_AT_ONCE)):
            last = found[-1][:2]
            yield found


class SqliteTarget:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def is_empty(self) -> bool:
        counters = await self._connection.run(_counters)
        return counters.version == 0 and not any(
            [await self._connection.run(select, f"SELECT 1 FROM {table.name} LIMIT 1") for table in TABLES]
        )

    async def put(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        places = ", ".join("?" * len(table.columns))
        statement = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})"
        await self._connection.run(_put, statement, rows)

    async def stand_at(self, counters: Counters) -> None:
        await self._connection.run(_stand_at, counters)


@asynccontextmanager
async def filling(connection: Connection) -> AsyncIterator[SqliteTarget]:
    """One transaction over many calls."""
    await connection.run(_execute, "BEGIN IMMEDIATE")
    try:
        yield SqliteTarget(connection)
    except BaseException:
        await connection.run(_roll_back)
        raise
    await connection.run(_execute, "COMMIT")


def _counters(db: apsw.Connection) -> Counters:
    [(version, floor, next_chunk)] = select(db, "SELECT version, floor, next_chunk FROM graph")
    return Counters(version, floor, next_chunk, dict(select(db, "SELECT name, seq FROM sqlite_sequence")))


def _put(db: apsw.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    db.executemany(statement, rows)


def _stand_at(db: apsw.Connection, counters: Counters) -> None:
    standing = (counters.version, counters.floor, counters.next_chunk)
    db.execute("UPDATE graph SET version = ?, floor = ?, next_chunk = ?", standing)
    names = [table.name for table in TABLES if table.numbered]
    db.executemany("DELETE FROM sqlite_sequence WHERE name = ?", [(name,) for name in names])
    last = [(name, counters.last.get(name, 0)) for name in names]
    db.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", last)


def _execute(db: apsw.Connection, statement: str) -> None:
    db.execute(statement)


def _roll_back(db: apsw.Connection) -> None:
    # SQLite has already rolled back after some errors (a full disk, an I/O error).
    if db.in_transaction:
        db.execute("ROLLBACK")
