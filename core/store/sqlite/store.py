"""The embedded store: one SQLite file, one process, one writer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from core.entities import Mention, Relation
from core.errors import StoreUnavailable
from core.model import LogEntry, StoredChunk, StoredDocument
from core.store import rows
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
from core.store.sqlite import read
from core.store.sqlite.connection import Connection, migrate, resolve
from core.store.sqlite.lock import StoreLock
from core.store.sqlite.transfer import SqliteSource, SqliteTarget, filling
from core.store.sqlite.write import collect, trim_audit, trim_deliveries, write_group


class SqliteStore:
    """`core.store.base.Store` on SQLite in WAL mode, `synchronous = FULL`.

    Writes and reads have a connection (and so a thread) each: a reader sees the last commit and waits for none.
    """

    shared = False

    def __init__(self, url: str) -> None:
        self.path = resolve(url)
        self.index_folder = None if self.path == ":memory:" else Path(f"{self.path}-index")
        self._lock = None if self.path == ":memory:" else StoreLock(Path(self.path))
        self._writer = Connection(self.path)
        # Two connections to ":memory:" would be two databases.
        self._reader = Connection(self.path) if self._lock else self._writer

    def exists(self) -> bool:
        """Whether there is anything to open; in memory there is always."""
        return self.path == ":memory:" or Path(self.path).exists()

    async def open(self) -> None:
        if self._lock:
            self._make_folder(Path(self.path).parent)
            self._lock.acquire()
        try:
            await self._writer.open()
            await self._writer.run(migrate, self.path)
            if self._reader is not self._writer:
                await self._reader.open()
        except BaseException:
            await self.close()
            raise

    def announce(self, url: str, token: str) -> None:
        if self._lock:
            self._lock.announce(url, token)

    async def close(self) -> None:
        if self._reader is not self._writer:
            await self._reader.close()
        await self._writer.close()
        if self._lock:
            self._lock.release()

    async def others(self, timeout: float) -> bool:
        await asyncio.sleep(timeout)
        return False

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: cannot be made: {error.strerror}") from error

    # -- writing

    async def commit(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        return await self._writer.run(write_group, group, time.time())

    @asynccontextmanager
    async def source(self) -> AsyncIterator[SqliteSource]:
        yield SqliteSource(self._reader)

    def target(self) -> AbstractAsyncContextManager[SqliteTarget]:
        return filling(self._writer)

    async def gc(self, before: int) -> int:
        return await self._writer.run(collect, before)

    async def trim_audit(self, before: datetime, upto: int, limit: int) -> int:
        return await self._writer.run(trim_audit, before.timestamp(), upto, limit)

    async def trim_deliveries(self, before: datetime, after: int, limit: int) -> int | None:
        return await self._writer.run(trim_deliveries, before.timestamp(), after, limit)

    async def lease(self, names: Collection[str], holder: str, seconds: float) -> dict[str, Holding]:  # noqa: ARG002  it never runs out
        """The file's lock is the lease: nobody else is here."""
        return {name: Holding(name, holder, 1) for name in names}

    async def release(self, names: Collection[str], holder: str) -> None:
        """Nobody waits for one."""

    # -- reading

    async def head(self) -> int:
        return await self._reader.run(read.head)

    async def floor(self) -> int:
        return await self._reader.run(read.floor)

    async def now(self) -> datetime:
        return datetime.now(UTC)

    async def version_at(self, moment: datetime) -> int:
        return await self._reader.run(read.version_at, moment.timestamp())

    async def documents(self, document_ids: Collection[str], as_of: int | None = None) -> dict[str, StoredDocument]:
        return await self._reader.run(read.documents, document_ids, as_of)

    async def scan(
        self, as_of: int | None = None, *, after: str = "", limit: int = 500, origin: str | None = None
    ) -> list[StoredDocument]:
        return await self._reader.run(read.scan, as_of, after, limit, origin)

    async def chunk_hashes(self, document_ids: Collection[str]) -> dict[str, frozenset[bytes]]:
        return await self._reader.run(read.chunk_hashes, document_ids)

    async def chunks(self, chunk_ids: Collection[int], as_of: int | None = None) -> dict[int, StoredChunk]:
        return await self._reader.run(read.chunks, chunk_ids, as_of)

    async def passages(
        self, chunk_ids: Collection[int], as_of: int | None = None
    ) -> tuple[dict[int, StoredChunk], dict[str, StoredDocument]]:
        return await self._reader.run(read.passages, chunk_ids, as_of)

    async def evidence(self, chunk_ids: Collection[int]) -> dict[int, tuple[tuple[Mention, ...], tuple[Relation, ...]]]:
        return await self._reader.run(read.evidence, chunk_ids)

    async def changes(
        self, after: int, limit: int, *, content: bool = False, began: int | None = None
    ) -> list[LogEntry]:
        return await self._reader.run(read.changes, after, limit, content, began)

    async def records(self, scope: RecordScope, keys: Collection[str] | None = None) -> dict[str, str]:
        return await self._reader.run(read.records, scope, keys)

    async def record(self, scope: RecordScope, key: str) -> str | None:
        return await self._reader.run(read.record, scope, key)

    async def journal(self, limit: int) -> list[JournalItem]:
        return await self._reader.run(read.journal, limit)

    async def journal_size(self) -> JournalSize:
        return await self._reader.run(read.journal_size)

    async def due(self, now: datetime, limit: int, *, skip: Collection[str] = ()) -> list[Delivery]:
        return await self._reader.run(read.due, now.timestamp(), limit, skip)

    async def next_due(self) -> datetime | None:
        at = await self._reader.run(read.next_due)
        return None if at is None else rows.moment(at)

    async def deliveries(
        self,
        *,
        endpoint: str | None = None,
        state: DeliveryState | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        return await self._reader.run(read.deliveries, endpoint, state, subject, before, limit)

    async def delivery(self, delivery_id: str) -> Delivery | None:
        return await self._reader.run(read.delivery, delivery_id)

    async def has_pending(self, endpoint: str) -> bool:
        return await self._reader.run(read.has_pending, endpoint)

    async def undelivered(self) -> dict[tuple[str, DeliveryState], int]:
        return await self._reader.run(read.undelivered)

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return await self._reader.run(read.attempts, delivery_id)

    async def audit(
        self, *, action: str | None = None, actor: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[StoredAuditRecord]:
        return await self._reader.run(read.audit, action, actor, before, limit)

    async def trail(self, after: int, limit: int, *, actions: Collection[str] | None = None) -> list[StoredAuditRecord]:
        return await self._reader.run(read.trail, after, limit, actions)
