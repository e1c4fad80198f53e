"""Choosing the store by its URL."""

from __future__ import annotations

from core.errors import StoreError
from core.store.base import Store
from core.store.dsn import is_postgres
from core.store.sqlite import SqliteStore

FORMS = "sqlite:PATH, such as sqlite:aime.db, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def store_of(url: str) -> Store:
    """The store, not opened yet. Raises StoreError for a URL that is none of a store."""
    if url.startswith("sqlite:"):
        return SqliteStore(url)
    if is_postgres(url):
        try:
            from core.store.postgres import PostgresStore
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise StoreError(
                "a PostgreSQL store needs the extra `postgres`: pip install 'aime-hub[postgres]'"
            ) from None
        return PostgresStore(url)
    named = "a URL" if "@" in url else repr(url)  # it may hold a password
    raise StoreError(f"{named} is not a store; write {FORMS}")
