"""A look at a store from outside: it takes no lock, changes nothing, and works beside a running hub."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from core.errors import StoreCorrupt
from core.store.schema import migrations
from core.store.sqlite.connection import APPLICATION_ID, translated
from core.store.sqlite.rows import select


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What was found. `problems` are those of SQLite's own integrity check; empty when the file is sound."""

    schema: int
    newest_schema: int
    graph_version: int
    documents: int
    bytes: int
    last_written: float | None
    """The time of the newest audit record, in seconds since the epoch."""
    problems: tuple[str, ...]


def examine(path: str) -> StoreHealth:
    """Blocking: reads the whole file. Raises StoreCorrupt, StoreUnavailable."""
    with translated(path):
        db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            if db.execute("PRAGMA application_id").get != APPLICATION_ID:
                raise StoreCorrupt(f"{path}: not a store of AI.me Hub")
            return StoreHealth(
                schema=db.execute("PRAGMA user_version").get,
                newest_schema=migrations("sqlite")[-1][0],
                graph_version=db.execute("SELECT version FROM graph").get,
                documents=db.execute("SELECT count(*) FROM documents WHERE v_to IS NULL").get,
                bytes=db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").get,
                last_written=db.execute("SELECT max(at) FROM audit").get,
                problems=tuple(row[0] for row in select(db, "PRAGMA integrity_check(20)") if row[0] != "ok"),
            )
        finally:
            db.close()
