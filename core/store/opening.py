"""Choosing the store by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import StoreError
from core.store.dsn import is_postgres
from core.store.schema import SchemaState
from core.store.sqlite import SqliteStore
from core.store.sqlite.health import schema_of_file

if TYPE_CHECKING:
    from core.store.postgres import PostgresStore

FORMS = "sqlite:PATH, such as sqlite:aime.db, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def store_of(url: str) -> SqliteStore | PostgresStore:
    """The store, not opened yet. Raises StoreError for a URL that is none of a store."""
    if url.startswith("sqlite:"):
        return SqliteStore(url)
    if is_postgres(url):
        return _postgres(url)
    named = "this" if {"@", "="} & set(url) else repr(url)  # it may hold a password
    raise StoreError(f"{named} is not a store; write {FORMS}")


def _postgres(url: str) -> PostgresStore:
    try:
        from core.store.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        reason = "a PostgreSQL store needs the extra `postgres`: pip install 'aime-hub[postgres]'"
        raise StoreError(reason) from None
    return PostgresStore(url)


async def schema_of(url: str) -> SchemaState:
    """The schema that is there, without a change to it. Raises StoreError, also for what is no store of ours."""
    store = store_of(url)
    if isinstance(store, SqliteStore):
        return schema_of_file(store.path)
    try:
        await store.open_unmigrated()
        return await store.schema()
    finally:
        await store.close()
