"""Documents set aside because they cannot be taken: kept on record until a good version of them arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, JsonValue

from core.model import Change, Failure, ProcessResult, Status
from core.service import GraphService
from core.store.base import ChangeSet, RecordScope

MAX_ENTRIES = 10_000
"""Beyond it the audit trail alone tells of refused documents."""


class Quarantined(BaseModel):
    """One document set aside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connector: str
    """The instance it came from, or `api`."""
    document_id: str
    error: str
    at: datetime
    payload: JsonValue = None
    """What was accepted and would be lost otherwise: a journal item's document or question."""


Key = tuple[RecordScope, str]


def _key(connector: str, document_id: str) -> Key:
    # JSON keeps apart what a separator of our own could not.
    return ("quarantine", json.dumps([connector, document_id]))


class Quarantine:
    """The records of scope `quarantine`."""

    def __init__(self, service: GraphService) -> None:
        self._service = service
        self._keys: set[Key] = set()
        """What is set aside, or was since the start: of anything else there is no record to remove."""

    async def open(self) -> None:
        """Learn what is set aside, so that good documents cost no look-up."""
        self._keys = {("quarantine", key) for key in await self._service.store.records("quarantine")}

    def records(self, connector: str, changes: Sequence[Change]) -> Mapping[Key, str | None]:
        """What a transaction of these changes writes: failures are set aside, their good successors set free."""
        found: dict[Key, str | None] = {}
        for change in changes:
            if change.document_id is None:
                continue
            key = _key(connector, change.document_id)
            if isinstance(change, Failure):
                found.update(self._entry(connector, change.document_id, change.error))
            elif key in self._keys:
                found[key] = None
        return found

    async def add_refused(self, connector: str, changes: Sequence[Change], results: Sequence[ProcessResult]) -> None:
        """Set aside what only the core found to be unusable."""
        records: dict[Key, str | None] = {}
        for change, result in zip(changes, results, strict=True):
            if result.status is Status.REJECTED and not isinstance(change, Failure) and change.document_id:
                reason = result.error.message if result.error else "was refused"
                records.update(self._entry(connector, change.document_id, reason))
        if records:
            await self._service.write(ChangeSet(records=records))

    def dead_letter(self, connector: str, name: str, error: str, payload: JsonValue) -> Mapping[Key, str | None]:
        """The record of accepted work that cannot be done, with the work itself."""
        return dict(self._entry(connector, name, error, payload))

    async def list(self) -> list[Quarantined]:
        """Everything that is set aside, oldest first."""
        records = await self._service.store.records("quarantine")
        return sorted((Quarantined.model_validate_json(text) for text in records.values()), key=lambda entry: entry.at)

    async def release(self, connector: str, document_id: str) -> bool:
        """Forget one; whether it was there."""
        key = _key(connector, document_id)
        if await self._service.store.record("quarantine", key[1]) is None:
            return False
        await self._service.write(ChangeSet(records={key: None}))
        return True

    def _entry(
        self, connector: str, document_id: str, error: str, payload: JsonValue = None
    ) -> Iterator[tuple[Key, str | None]]:
        key = _key(connector, document_id)
        if payload is None and key not in self._keys and len(self._keys) >= MAX_ENTRIES:
            return
        self._keys.add(key)
        entry = Quarantined(
            connector=connector, document_id=document_id, error=error[:1000], at=datetime.now(UTC), payload=payload
        )
        yield key, entry.model_dump_json()
