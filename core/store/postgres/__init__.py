"""The shared store on PostgreSQL: any number of processes may have it open."""

from core.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
