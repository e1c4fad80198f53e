"""Into the durable journal, which is bounded: what does not fit is refused, to be sent again later."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import QueueFull
from core.store.base import ChangeSet, JournalItem, RecordScope
from hub.runtime import Hub

MAX_ITEMS = 10_000
MAX_BYTES = 256 * 1024 * 1024
"""Of payloads. One that is larger still has the empty journal for itself."""
RETRY_AFTER = 5.0


class JournalDoor:
    """Where calls put work that they do not wait for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._items = 0
        """Under way to the store; the store may count some of them already."""
        self._bytes = 0

    async def put(self, item: JournalItem, records: Mapping[tuple[RecordScope, str], str | None] | None = None) -> None:
        """Durable when it returns, `records` with it. Raises QueueFull when the journal has no room, StoreError."""
        size = len(item.payload)
        self._items += 1
        self._bytes += size
        try:
            await self._check(size)
            await self._hub.service.write(ChangeSet(journal=(item,), records=records or {}))
        finally:
            self._items -= 1
            self._bytes -= size
        self._hub.journal_arrived()

    async def _check(self, size: int) -> None:
        # Taken before the store is asked: what is written meanwhile is in one of the two counts, and at worst in both.
        items, bytes_ = self._items, self._bytes
        stored = await self._hub.service.store.journal_size()
        items, bytes_ = items + stored.items, bytes_ + stored.bytes
        if items > MAX_ITEMS or (bytes_ > MAX_BYTES and bytes_ > size):
            raise QueueFull("the journal is full", retry_after=RETRY_AFTER)
