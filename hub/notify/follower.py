"""Follows the audit trail and turns it into deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from pydantic import BaseModel, ConfigDict, Field

from core.service import GraphService
from core.store.base import ChangeSet, Fences, NewDelivery, RecordScope, StoredAuditRecord
from hub.notify.endpoint import Endpoint
from hub.notify.events import delivery_for

PAGE = 500
QUIET_RECORDS = 5000
"""Records that nobody asked for, after which the cursor is written all the same."""
_CURSOR: tuple[RecordScope, str] = ("cursor", "notify")


class Wish(BaseModel):
    """What an endpoint hears of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: int
    """The trail's head when it was first seen: it hears of what came later."""
    events: tuple[str, ...]


class Cursor(BaseModel):
    """How far the trail has been turned into deliveries; the record (`cursor`, `notify`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: int = 0
    wishes: dict[str, Wish] = Field(default_factory=dict)
    """By endpoint."""


async def followed_upto(service: GraphService) -> int | None:
    """The sequence up to which the trail has been turned into deliveries; None while nobody asks for any."""
    stored = await service.store.record(*_CURSOR)
    cursor = Cursor() if stored is None else Cursor.model_validate_json(stored)
    return cursor.after if cursor.wishes else None


class Follower:
    """A follower of the trail with a durable cursor.

    Deliveries and the advanced cursor are one transaction, and a delivery's id is made from the record and the
    endpoint: whenever the process ends, no event is lost and none is written twice.
    """

    def __init__(self, service: GraphService, *, fences: Fences = tuple) -> None:
        self._service = service
        self._fences = fences
        self._cursor: Cursor | None = None
        self._stored: Cursor | None = None
        self._turn = asyncio.Lock()

    def forget(self) -> None:
        """Read the cursor anew: another node may have moved it."""
        self._cursor = None

    async def watch(self, endpoints: Iterable[Endpoint], broken: Collection[str] = ()) -> None:
        """From now on, make deliveries for these. One that was not there before begins at the trail's head. What the
        `broken` ones asked for before is kept for them."""
        async with self._turn:
            cursor = self._cursor or await self._read()
            known = cursor.wishes
            head = await self._head()
            after = cursor.after if known else head  # nobody asked for what came before
            wishes = {name: known[name] for name in broken if name in known}
            for endpoint in endpoints:
                if endpoint.events:
                    since = known[endpoint.name].since if endpoint.name in known else head
                    wishes[endpoint.name] = Wish(since=since, events=endpoint.events)
            await self._write(Cursor(after=after, wishes=wishes))

    async def wait(self, patience: float) -> None:
        """Wait up to `patience` seconds for the trail to grow. May be cancelled at any time."""
        if self._cursor is None or not self._cursor.wishes:
            await asyncio.sleep(patience)
        else:
            await self._service.wait_for_trail(self._cursor.after, patience)

    async def step(self) -> bool:
        """Turn the next page of the trail into deliveries; whether there were any."""
        if self._cursor is None or not self._cursor.wishes:
            return False
        async with self._turn:
            page = await self._service.store.trail(self._cursor.after, PAGE)
            if not page:
                return False
            cursor = Cursor(after=page[-1].sequence, wishes=self._cursor.wishes)
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
        for name, wish in cursor.wishes.items():
            about_itself = action == "endpoint.disabled" and subject == name
            if action in wish.events and record.sequence > wish.since and not about_itself:
                yield delivery_for(record, name)

    async def _read(self) -> Cursor:
        self._stored = None
        stored = await self._service.store.record(*_CURSOR)
        if stored is None:
            return Cursor()
        self._stored = Cursor.model_validate_json(stored)
        return self._stored

    async def _write(self, cursor: Cursor, deliveries: tuple[NewDelivery, ...] = ()) -> None:
        if cursor != self._stored:
            records = {_CURSOR: cursor.model_dump_json()}
            await self._service.write(ChangeSet(records=records, deliveries=deliveries, fences=self._fences()))
            self._stored = cursor
        self._cursor = cursor

    async def _head(self) -> int:
        newest = await self._service.store.audit(limit=1)
        return newest[0].sequence if newest else 0
