"""A look at a store from outside: it takes no lock, changes nothing, and works beside a running hub."""

from __future__ import annotations

from pathlib import Path

import apsw

from core.errors import StoreCorrupt
from core.store.health import StoreHealth
from core.store.schema import SchemaState, migrations
from core.store.sqlite.connection import APPLICATION_ID, translated
from core.store.sqlite.rows import select


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


def schema_of_file(path: str) -> SchemaState:
    """The schema of the file; 0 for one that is not there. Raises StoreCorrupt, StoreUnavailable."""
    newest = migrations("sqlite")[-1][0]
    if not Path(path).exists():
        return SchemaState(0, newest)
    with translated(path):
        db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            if db.execute("PRAGMA application_id").get == APPLICATION_ID:
                return SchemaState(db.execute("PRAGMA user_version").get, newest)
            if db.execute("SELECT count(*) FROM sqlite_schema").get:
                raise StoreCorrupt(f"{path}: not a store of AI.me Hub")
            return SchemaState(0, newest)
        finally:
            db.close()
