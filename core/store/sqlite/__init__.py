"""The embedded store on SQLite."""

from core.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
