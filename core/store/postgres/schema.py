"""The schema: who made it, and bringing it up to date while older nodes run.

Each migration is a transaction of its own, under an advisory lock that every node takes, and with a bound on how long
it waits for the table locks of those that run. A migration adds; what a release no longer needs is removed by a later
one, so that nodes of the release before go on meanwhile.
"""

from __future__ import annotations

import asyncpg

from core.errors import StoreCorrupt, StoreError
from core.store.postgres.connection import Connection
from core.store.schema import SchemaState, migrations

LOCK = 0x41694D65  # "AiMe"
MARK = """
CREATE TABLE IF NOT EXISTS aime_store (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema integer NOT NULL,
    id     uuid NOT NULL DEFAULT gen_random_uuid()
)
"""
"""Marks the database as ours."""
STRANGERS = """
SELECT count(*) FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
"""Tables, views and sequences that no extension brought."""


async def state(connection: Connection, name: str) -> SchemaState:
    """Raises StoreCorrupt for a database of something else, StoreError for one that cannot be ours."""
    newest = migrations("postgres")[-1][0]
    if await connection.fetchval("SELECT to_regclass('aime_store') IS NOT NULL"):
        try:
            version = await connection.fetchval("SELECT schema FROM aime_store")
        except asyncpg.UndefinedColumnError:
            raise StoreCorrupt(f"{name}: a database of another application") from None
        return SchemaState(version or 0, newest)
    if await connection.fetchval("SELECT current_schema() IS NULL"):
        raise StoreError(f"{name}: the search_path names no schema that is there")
    if encoding := await connection.fetchval("SELECT nullif(current_setting('server_encoding'), 'UTF8')"):
        raise StoreError(f"{name}: the database's encoding is {encoding}; make one with ENCODING 'UTF8'")
    if await connection.fetchval(STRANGERS):
        raise StoreCorrupt(f"{name}: a database of another application; the store needs one of its own")
    return SchemaState(0, newest)


async def store_id(connection: Connection) -> str:
    """Names the store apart from its address."""
    return str(await connection.fetchval("SELECT id FROM aime_store"))


async def migrate(connection: Connection, name: str) -> SchemaState:
    """Bring the schema up to date; what it was before. Raises StoreTooNew, and what `state` raises."""
    before = await state(connection, name)
    before.check(name)
    if before.is_current:
        return before
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        # Another node may have done it meanwhile.
        before = await state(connection, name)
        before.check(name)
        for number, sql in migrations("postgres"):
            if number > before.version:
                async with connection.transaction():
                    await connection.execute("SET LOCAL lock_timeout = '5s'")
                    await connection.execute(sql)
                    await connection.execute(MARK)
                    await connection.execute(
                        "INSERT INTO aime_store (schema) VALUES ($1) ON CONFLICT (one) DO UPDATE SET schema = $1",
                        number,
                    )
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
    return before
