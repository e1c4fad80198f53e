"""The shared store: one PostgreSQL database, any number of processes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

from core.entities import Mention, Relation
from core.errors import StoreError, StoreUnavailable
from core.model import LogEntry, StoredChunk, StoredDocument
from core.store import dsn
from core.store.base import (
    Attempt,
    ChangeSet,
    Delivery,
    DeliveryState,
    Holding,
    JournalItem,
    JournalSize,
    RecordScope,
    StoredAuditRecord,
)
from core.store.postgres import leases, read, schema, transfer, write
from core.store.postgres.cache import IndexFolder
from core.store.postgres.connection import Connection, Database, persistently
from core.store.postgres.listen import Listener
from core.store.rows import moment as as_moment
from core.store.schema import SchemaState

SETTLE_SECONDS = 120.0
"""How long it is tried to find out what became of a commit whose answer was lost; nothing is committed meanwhile."""
WRITER_KEPT_SECONDS = 7 * 86_400


class PostgresStore:
    """`core.store.base.Store` on PostgreSQL 13 or newer.

    What is committed takes its versions under the head row's lock, so that they grow in commit order. Reads and commits
    are tried again while the server restarts; a commit whose answer was lost is looked up before anything is repeated.
    """

    shared = True

    def __init__(self, url: str) -> None:
        self._database = Database(dsn.check(url))
        self.name = self._database.name
        self._writer = uuid.uuid4().hex
        self._commits = 0
        self._committing = asyncio.Lock()
        self._listener = Listener(self._database, self._writer)
        self._told = self._listener.heard.count
        self._index = IndexFolder()
        self.index_folder: Path | None = None

    async def open(self) -> None:
        """Open, and bring the schema up to date. Raises StoreTooNew, StoreCorrupt, StoreUnavailable, StoreError."""
        await self.open_unmigrated()
        try:
            await self._database.run(schema.migrate, self.name)
            await self._database.run(_forget_writers)
            await self._database.run(leases.forget)
            self.index_folder = self._index.acquire(await self._database.run(schema.store_id))
        except BaseException:
            await self.close()
            raise
        self._listener.start()

    async def open_unmigrated(self) -> None:
        """Connect, for a look at the schema."""
        await self._database.open()

    async def schema(self) -> SchemaState:
        return await self._database.run(schema.state, self.name)

    async def close(self) -> None:
        await self._listener.close()
        await self._database.close()
        self._index.release()

    def announce(self, url: str, token: str) -> None:
        """Nobody needs to be told: others open the store, too."""

    async def others(self, timeout: float) -> bool:
        heard = self._listener.heard
        told = await heard.wait(timeout, self._told)
        self._told = heard.count
        return told

    # -- writing

    async def commit(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        async with self._committing:
            while True:
                self._commits += 1
                writer = write.Writer(self._writer, self._commits)
                try:
                    return await self._database.run(write.write_group, group, writer)
                except write.OutcomeUnknown as unknown:
                    if await self._landed(writer):
                        return unknown.entries

    async def _landed(self, writer: write.Writer) -> bool:
        async def look() -> bool:
            return await self._database.run(write.landed, writer)

        try:
            return await persistently(look, SETTLE_SECONDS)
        except StoreUnavailable as error:
            raise StoreError(f"{error.message}; whether the last commit stands is not known") from error

    def source(self) -> AbstractAsyncContextManager[transfer.PostgresSource]:
        return transfer.reading(self._database)

    def target(self) -> AbstractAsyncContextManager[transfer.PostgresTarget]:
        return transfer.filling(self._database)

    async def gc(self, before: int) -> int:
        return await self._database.run(write.collect, before)

    async def trim_audit(self, before: datetime, upto: int, limit: int) -> int:
        return await self._database.run(write.trim_audit, before.timestamp(), upto, limit)

    async def trim_deliveries(self, before: datetime, after: int, limit: int) -> int | None:
        return await self._database.run(write.trim_deliveries, before.timestamp(), after, limit)

    # -- leases

    async def lease(self, names: Collection[str], holder: str, seconds: float) -> dict[str, Holding]:
        return await self._database.run(leases.take, names, holder, seconds)

    async def release(self, names: Collection[str], holder: str) -> None:
        await self._database.run(leases.release, names, holder)

    # -- reading

    async def head(self) -> int:
        return await self._database.run(read.head)

    async def floor(self) -> int:
        return await self._database.run(read.floor)

    async def now(self) -> datetime:
        return await self._database.run(read.now)

    async def version_at(self, moment: datetime) -> int:
        return await self._database.run(read.version_at, moment.timestamp())

    async def documents(self, document_ids: Collection[str], as_of: int | None = None) -> dict[str, StoredDocument]:
        return await self._database.run(read.documents, document_ids, as_of)

    async def scan(
        self, as_of: int | None = None, *, after: str = "", limit: int = 500, origin: str | None = None
    ) -> list[StoredDocument]:
        return await self._database.run(read.scan, as_of, after, limit, origin)

    async def chunk_hashes(self, document_ids: Collection[str]) -> dict[str, frozenset[bytes]]:
        return await self._database.run(read.chunk_hashes, document_ids)

    async def chunks(self, chunk_ids: Collection[int], as_of: int | None = None) -> dict[int, StoredChunk]:
        return await self._database.run(read.chunks, chunk_ids, as_of)

    async def passages(
        self, chunk_ids: Collection[int], as_of: int | None = None
    ) -> tuple[dict[int, StoredChunk], dict[str, StoredDocument]]:
        return await self._database.run(read.passages, chunk_ids, as_of)

    async def evidence(self, chunk_ids: Collection[int]) -> dict[int, tuple[tuple[Mention, ...], tuple[Relation, ...]]]:
        return await self._database.run(read.evidence, chunk_ids)

    async def changes(
        self, after: int, limit: int, *, content: bool = False, began: int | None = None
    ) -> list[LogEntry]:
        return await self._database.run(read.changes, after, limit, content, began)

    async def records(self, scope: RecordScope, keys: Collection[str] | None = None) -> dict[str, str]:
        return await self._database.run(read.records, scope, keys)

    async def record(self, scope: RecordScope, key: str) -> str | None:
        return await self._database.run(read.record, scope, key)

    async def journal(self, limit: int) -> list[JournalItem]:
        return await self._database.run(read.journal, limit)

    async def journal_size(self) -> JournalSize:
        return await self._database.run(read.journal_size)

    async def due(self, now: datetime, limit: int, *, skip: Collection[str] = ()) -> list[Delivery]:
        return await self._database.run(read.due, now.timestamp(), limit, skip)

    async def next_due(self) -> datetime | None:
        at = await self._database.run(read.next_due)
        return None if at is None else as_moment(at)

    async def deliveries(
        self,
        *,
        endpoint: str | None = None,
        state: DeliveryState | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        return await self._database.run(read.deliveries, endpoint, state, subject, before, limit)

    async def delivery(self, delivery_id: str) -> Delivery | None:
        return await self._database.run(read.delivery, delivery_id)

    async def has_pending(self, endpoint: str) -> bool:
        return await self._database.run(read.has_pending, endpoint)

    async def undelivered(self) -> dict[tuple[str, DeliveryState], int]:
        return await self._database.run(read.undelivered)

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return await self._database.run(read.attempts, delivery_id)

    async def audit(
        self, *, action: str | None = None, actor: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[StoredAuditRecord]:
        return await self._database.run(read.audit, action, actor, before, limit)

    async def trail(self, after: int, limit: int, *, actions: Collection[str] | None = None) -> list[StoredAuditRecord]:
        return await self._database.run(read.trail, after, limit, actions)


async def _forget_writers(db: Connection) -> None:
    """Writers that have long ended: each process is one."""
    await db.execute(
        "DELETE FROM writers WHERE at < extract(epoch FROM clock_timestamp()) - $1", float(WRITER_KEPT_SECONDS)
    )
