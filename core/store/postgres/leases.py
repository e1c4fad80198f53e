"""Leases: rows that one process at a time has its name in.

A lease that ends later than anybody could have asked for was taken before the server's clock was set back, and is free.

A commit that is written under a lease keeps its row share-locked to the end, so whoever takes the lease over waits for
that commit, and reads what it wrote. Rows are locked in the order of their names, by everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from core.errors import LeaseLost
from core.store.base import Holding
from core.store.postgres.connection import Connection

KEPT_SECONDS = 7 * 86_400.0

TAKE = """
INSERT INTO leases AS l (name, holder, number, until)
SELECT name, $2, 1, extract(epoch FROM clock_timestamp()) + $3 FROM unnest($1::text[]) AS name ORDER BY name
ON CONFLICT (name) DO UPDATE SET number = l.number + (l.holder <> excluded.holder)::int, holder = excluded.holder,
    until = extract(epoch FROM clock_timestamp()) + $3
WHERE l.holder = excluded.holder
    OR l.until NOT BETWEEN extract(epoch FROM clock_timestamp()) AND extract(epoch FROM clock_timestamp()) + 2 * $3
"""
HELD = "SELECT name, holder, number FROM leases WHERE name = ANY($1)"
LOCK = f"{HELD} ORDER BY name FOR SHARE"
RELEASE = """
UPDATE leases SET until = 0 WHERE name IN (
    SELECT name FROM leases WHERE name = ANY($1) AND holder = $2 ORDER BY name FOR UPDATE
) AND holder = $2
"""
FORGET = "DELETE FROM leases WHERE until < extract(epoch FROM clock_timestamp()) - $1"


async def take(db: Connection, names: Collection[str], holder: str, seconds: float) -> dict[str, Holding]:
    """Take what is free, renew what is `holder`'s; who holds each now."""
    await db.execute(TAKE, list(names), holder, seconds)
    return {row[0]: Holding(*row) for row in await db.fetch(HELD, list(names))}


async def check(db: Connection, fences: Iterable[Holding]) -> None:
    """Keep these leases as they are until the transaction ends. Raises LeaseLost for one that is another's by now."""
    asked = set(fences)
    held = {Holding(*row) for row in await db.fetch(LOCK, sorted({fence.name for fence in asked}))}
    if lost := min(asked - held, default=None):
        raise LeaseLost(f"another node has taken over {lost.name!r}")


async def release(db: Connection, names: Collection[str], holder: str) -> None:
    await db.execute(RELEASE, list(names), holder)


async def forget(db: Connection) -> None:
    """Of what was configured once: leases that nobody has wanted for days."""
    await db.execute(FORGET, KEPT_SECONDS)
