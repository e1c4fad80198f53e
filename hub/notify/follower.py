"""Follows the audit trail and turns it into deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from core.service import GraphService
from core.store.base import ChangeSet, NewDelivery, RecordScope, StoredAuditRecord
from hub.notify.endpoint import Endpoint
from hub.notify.events import delivery_for

PAGE = 500
QUIET_RECORDS = 5000
"""Records that nobody asked for, after which the cursor is written all the same."""
_CURSOR: tuple[RecordScope, str] = ("cursor", "notify")


class Cursor(BaseModel):
    """How far the trail has been turned into deliveries; the record (`cursor`, `notify`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: int = 0
    since: dict[str, int] = Field(default_factory=dict)
    """Endpoint → the trail's head when it was first seen. It hears of what came later."""


class Follower:
    """A follower of the trail with a durable cursor.

    Deliveries and the advanced cursor are one transaction, and a delivery's id is made from the record and the
    endpoint: whenever the process ends, no event is lost and none is written twice.
    """

    def __init__(self, service: GraphService) -> None:
        self._service = service
        self._cursor: Cursor | None = None
        self._stored: Cursor | None = None
        self._endpoints: tuple[Endpoint, ...] = ()
        self._turn = asyncio.Lock()

    async def watch(self, endpoints: Iterable[Endpoint]) -> None:
        """From now on, make deliveries for these. One that was not there before begins at the trail's head."""
        async with self._turn:
            wanting = tuple(endpoint for endpoint in endpoints if endpoint.events)
            cursor = self._cursor or await self._read()
            head = await self._head()
            after = cursor.after if cursor.since else head  # nobody asked for what came before
            since = {endpoint.name: cursor.since.get(endpoint.name, head) for endpoint in wanting}
            await self._write(Cursor(after=after, since=since))
            self._endpoints = wanting

    async def wait(self, patience: float) -> None:
        """Wait up to `patience` seconds for the trail to grow. May be cancelled at any time."""
        if self._cursor is None or not self._endpoints:
            await asyncio.sleep(patience)
        else:
            await self._service.wait_for_trail(self._cursor.after, patience)

    async def step(self) -> bool:
        """Turn the next page of the trail into deliveries; whether there were any."""
        if self._cursor is None or not self._endpoints:
            return False
        async with self._turn:
            page = await self._service.store.trail(self._cursor.after, PAGE)
            if not page:
                return False
            cursor = Cursor(after=page[-1].sequence, since=self._cursor.since)
            deliveries = tuple(delivery for record in page for delivery in self._deliveries(record, cursor))
            if deliveries or self._stored is None or cursor.after - self._stored.after >= QUIET_RECORDS:
                await self._write(cursor, deliveries)
            self._cursor = cursor
        return bool(deliveries)

    async def close(self) -> None:
        """Write the cursor, so that the next start does not read again what nobody asked for."""
        async with self._turn:
            if self._cursor is not None:
                await self._write(self._cursor)

    def _deliveries(self, record: StoredAuditRecord, cursor: Cursor) -> Iterable[NewDelivery]:
        action, subject = record.record.action, record.record.subject
        for endpoint in self._endpoints:
            about_itself = action == "endpoint.disabled" and subject == endpoint.name
            if action in endpoint.events and record.sequence > cursor.since[endpoint.name] and not about_itself:
                yield delivery_for(record, endpoint.name)

    async def _read(self) -> Cursor:
        self._stored = None
        stored = await self._service.store.record(*_CURSOR)
        if stored is None:
            return Cursor()
        self._stored = Cursor.model_validate_json(stored)
        return self._stored

    async def _write(self, cursor: Cursor, deliveries: tuple[NewDelivery, ...] = ()) -> None:
        if cursor != self._stored:
            await self._service.write(ChangeSet(records={_CURSOR: cursor.model_dump_json()}, deliveries=deliveries))
            self._stored = cursor
        self._cursor = cursor

    async def _head(self) -> int:
        newest = await self._service.store.audit(limit=1)
        return newest[0].sequence if newest else 0
