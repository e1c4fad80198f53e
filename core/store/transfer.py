"""Copying a whole store into an empty one of another kind: graph, log, history, checkpoints, deliveries, audit trail.

The source is read as of one moment, and the target is written in one transaction: a copy that is broken off leaves the
target as empty as it was, and is simply made again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from core.errors import StoreError

ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Table:
    """One that both kinds of store have, with the same columns."""

    name: str
    columns: tuple[str, ...]
    numbered: bool = False
    """Whether `sequence` goes on from a number that is kept apart from the rows."""


TABLES = (
    Table("log", ("version", "op", "document_id", "source", "access", "at")),
    Table(
        "documents",
        ("v_from", "v_to", "document_id", "content_hash", "metadata", "origin", "chunk_ids", "chunk_starts"),
    ),
    Table("chunks", ("id", "v_from", "document_id", "hash", "text", "sentences", "mentions", "relations")),
    Table("records", ("scope", "key", "value")),
    Table("journal", ("sequence", "id", "kind", "payload", "actor"), numbered=True),
    Table(
        "deliveries",
        (
            *("sequence", "id", "endpoint", "event", "subject", "payload", "target", "state"),
            *("attempts", "created_at", "next_attempt_at", "error"),
        ),
        numbered=True,
    ),
    Table("attempts", ("delivery_id", "at", "duration", "state", "next_attempt_at", "status", "error", "response")),
    Table("audit", ("sequence", "at", "actor", "action", "subject", "detail"), numbered=True),
)


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a store stands: the head row, and the last number that each numbered table gave out."""

    version: int
    floor: int
    next_chunk: int
    last: Mapping[str, int]


class Source(Protocol):
    """A store as of one moment."""

    async def counters(self) -> Counters: ...

    def rows(self, table: Table) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """All rows, some at a time, in the order in which they were written where that matters."""
        ...


class Target(Protocol):
    """An open transaction on a store."""

    async def is_empty(self) -> bool: ...

    async def put(self, table: Table, rows: Sequence[Sequence[Any]]) -> None: ...

    async def stand_at(self, counters: Counters) -> None: ...


class Copyable(Protocol):
    """A store that is open, and that nobody else writes to."""

    def source(self) -> AbstractAsyncContextManager[Source]: ...

    def target(self) -> AbstractAsyncContextManager[Target]:
        """Committed when the context is left, unless by an error."""
        ...


async def copy(source: Copyable, target: Copyable, progress: Callable[[str, int], None]) -> dict[str, int]:
    """Copy everything; the number of rows of each table. `progress` hears of a table and how many of its rows went over
    since it last heard. Raises StoreError when the target holds something, and then writes nothing."""
    copied = dict.fromkeys((table.name for table in TABLES), 0)
    async with source.source() as reading, target.target() as writing:
        if not await writing.is_empty():
            raise StoreError("the store to copy into is not empty; name a new one")
        for table in TABLES:
            async for rows in reading.rows(table):
                await writing.put(table, rows)
                copied[table.name] += len(rows)
                progress(table.name, len(rows))
        await writing.stand_at(await reading.counters())
    return copied
