"""A look at the shared store from outside: it changes nothing, and works beside running hubs."""

from __future__ import annotations

import time

from core.errors import StoreCorrupt
from core.store.health import StoreHealth
from core.store.postgres import schema
from core.store.postgres.connection import Connection, Database


async def examine(url: str) -> tuple[StoreHealth | None, float, str]:
    """What it holds (None: nothing yet), how far the server's clock is ahead of this machine's in seconds, and its
    release. Raises StoreError."""
    database = Database(url)
    try:
        await database.open()
        return await database.run(_examine, database.name)
    finally:
        await database.close()


async def _examine(db: Connection, name: str) -> tuple[StoreHealth | None, float, str]:
    before = time.time()
    now, release = await db.fetchrow(
        "SELECT extract(epoch FROM clock_timestamp())::double precision, current_setting('server_version')"
    )
    ahead = now - (before + time.time()) / 2
    found = await schema.state(db, name)
    if not found.version:
        return None, ahead, release
    row = await db.fetchrow(
        "SELECT version, (SELECT count(*) FROM documents WHERE v_to IS NULL), pg_database_size(current_database()),"
        " (SELECT at FROM audit ORDER BY sequence DESC LIMIT 1) FROM graph"
    )
    if row is None:
        raise StoreCorrupt(f"{name}: the head row is missing")
    version, documents, size, last_written = row
    return StoreHealth(found.version, found.newest, version, documents, size, last_written), ahead, release
