"""What a look at a store from outside finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """`problems` are those that an integrity check found; empty when the store is sound."""

    schema: int
    newest_schema: int
    graph_version: int
    documents: int
    bytes: int
    last_written: float | None
    """The time of the newest audit record, in seconds since the epoch."""
    problems: tuple[str, ...] = ()
