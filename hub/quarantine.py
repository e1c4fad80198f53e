"""Documents set aside because they cannot be taken: kept on record until a good version of them arrives."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, JsonValue

from core.errors import InvalidInput, NotFound
from core.model import Change, Failure, ProcessResult, Status
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, JournalItem, RecordScope
from hub.callbacks import JournalStatus

MAX_ENTRIES = 10_000
"""Beyond it the audit trail alone tells of refused documents."""
ERROR_CHARS = 1000
MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a queue's message that is kept: all that SQS ever sends."""
MAX_MESSAGES_BYTES = 64 * 1024 * 1024
"""Of all of them together."""

Key = tuple[RecordScope, str]
Records = dict[Key, str | None]


class Quarantined(BaseModel):
    """One document set aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    connector: str
    """The instance it came from, or `api`."""
    document_id: str
    error: str
    at: datetime
    message_bytes: int | None = Field(None, description="A whole message of a queue is kept here: its size.")


class QuarantinedMessage(Quarantined):
    """One message of a queue, as it came."""

    message: Base64Bytes


class _Body(BaseModel):
    """What is kept of one, if anything. `payload` is what was accepted and would be lost otherwise: a document posted
    with `wait=false`; `message` is what a queue sent, in base64."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    payload: str | None = None
    message: str | None = None


class Quarantine:
    """The records of scope `quarantine`; and of scope `quarantined` what is kept of each, which may be large."""

    def __init__(self, service: GraphService) -> None:
        self._service = service
        self._keys: set[Key] = set()
        """What is set aside, or was since the start: of anything else there is no record to remove."""
        self._message_bytes = 0
        """Of messages that are kept."""

    async def open(self) -> None:
        """Learn what is set aside, so that good documents cost no look-up."""
        records = await self._service.store.records("quarantine")
        self._keys = {("quarantine", key) for key in records}
        self._message_bytes = sum(Quarantined.model_validate_json(text).message_bytes or 0 for text in records.values())

    # -- what a transaction writes

    def records(self, connector: str, changes: Sequence[Change]) -> Records:
        """Of these changes: failures are set aside, their good successors set free."""
        found: Records = {}
        for change in changes:
            if change.document_id is None:
                continue
            if isinstance(change, Failure):
                found.update(self._entry(connector, change.document_id, change.error))
            elif (key := _key(connector, change.document_id)) in self._keys:
                found |= _without(key)
        return found

    def dead_letter(self, connector: str, document_id: str, error: str, payload: str) -> Mapping[Key, str | None]:
        """Of accepted work that cannot be done: the work itself."""
        return dict(self._entry(connector, document_id, error, payload))

    def refused(self, connector: str, result: ProcessResult) -> ChangeSet:
        """Sets aside what only the core found to be unusable, in the transaction that refuses it."""
        if result.document_id is None or result.error is None:
            return ChangeSet()
        return ChangeSet(records=dict(self._entry(connector, result.document_id, result.error.message)))

    def heard(self, connector: str, document_id: str) -> None:
        """A node has refused a document of this connector: a good version that arrives here sets it free."""
        if len(self._keys) < MAX_ENTRIES:
            self._keys.add(_key(connector, document_id))

    # -- what a queue sent

    async def keep(self, connector: str, message: bytes, error: str) -> bool:
        """Set a whole message aside, under a name made from its bytes: one that comes again is the same entry. False
        where there is no room for it. Raises StoreError."""
        name = f"message-{hashlib.blake2b(message, digest_size=12).hexdigest()}"
        key = _key(connector, name)
        if key not in self._keys:
            if len(message) > MAX_MESSAGE_BYTES or self._message_bytes + len(message) > MAX_MESSAGES_BYTES:
                return False
            if len(self._keys) >= MAX_ENTRIES:
                return False
            self._message_bytes += len(message)
        entries = dict(self._entry(connector, name, error, message=message))
        detail: dict[str, JsonValue] = {"connector": connector, "bytes": len(message), "error": error[:ERROR_CHARS]}
        audit = AuditRecord(connector, "message.quarantined", subject=name, detail=detail)
        await self._service.write(ChangeSet(records=entries, audit=(audit,)))
        return True

    async def message(self, connector: str, document_id: str) -> QuarantinedMessage:
        """Raises NotFound."""
        entry, body = await self._kept(connector, document_id)
        if body.message is None:
            raise NotFound(f"of {document_id!r} of {connector!r} no message is kept")
        return QuarantinedMessage.model_validate(entry.model_dump() | {"message": body.message})

    # -- for the admin

    async def list(self) -> list[Quarantined]:
        """Everything that is set aside, oldest first."""
        records = await self._service.store.records("quarantine")
        return sorted((Quarantined.model_validate_json(text) for text in records.values()), key=lambda entry: entry.at)

    async def retry(self, connector: str, document_id: str, *, actor: str) -> None:
        """Put a document that was accepted back into the journal. Raises NotFound, and InvalidInput for one whose
        content was not kept, since its connector brings it again when it changes."""
        entry, body = await self._kept(connector, document_id)
        if body.message is not None:
            raise InvalidInput(f"message {document_id!r} cannot be read as it is: read it, and publish it again mended")
        if body.payload is None:
            raise InvalidInput(
                f"the hub did not keep {document_id!r}: connector {connector!r} brings it when it changes at its source"
            )
        item = JournalItem(uuid.uuid4().hex, "document", body.payload, actor)
        status = JournalStatus(status=Status.ACCEPTED, journal_id=item.id, actor=actor, at=datetime.now(UTC))
        await self._service.write(
            ChangeSet(
                journal=(item,),
                records={
                    **_without(_key(connector, document_id)),
                    ("journal_status", document_id): status.model_dump_json(),
                },
                audit=(_about("quarantine.retried", entry, actor),),
            )
        )

    async def drop(self, connector: str, document_id: str, *, actor: str) -> None:
        """Forget one for good. Raises NotFound."""
        entry, body = await self._kept(connector, document_id)
        key = _key(connector, document_id)
        await self._service.write(ChangeSet(records=_without(key), audit=(_about("quarantine.dropped", entry, actor),)))
        if body.message is not None:
            self._keys.discard(key)
            self._message_bytes -= entry.message_bytes or 0

    async def _kept(self, connector: str, document_id: str) -> tuple[Quarantined, _Body]:
        key = _key(connector, document_id)
        text = await self._service.store.record(*key)
        if text is None:
            raise NotFound(f"there is no document {document_id!r} of {connector!r} in quarantine")
        # An earlier release wrote both into one.
        body = await self._service.store.record(*_body_of(key)) or text
        return Quarantined.model_validate_json(text), _Body.model_validate_json(body)

    def _entry(
        self, connector: str, document_id: str, error: str, payload: str | None = None, message: bytes | None = None
    ) -> Iterator[tuple[Key, str]]:
        key = _key(connector, document_id)
        if payload is None and key not in self._keys and len(self._keys) >= MAX_ENTRIES:
            return
        self._keys.add(key)
        entry = Quarantined(
            connector=connector,
            document_id=document_id,
            error=error[:ERROR_CHARS],
            at=datetime.now(UTC),
            message_bytes=None if message is None else len(message),
        )
        yield key, entry.model_dump_json()
        # Else what is kept stays: it was accepted, whatever was refused since.
        if payload is not None or message is not None:
            body = _Body(payload=payload, message=None if message is None else base64.b64encode(message).decode())
            yield _body_of(key), body.model_dump_json(exclude_none=True)


def _key(connector: str, document_id: str) -> Key:
    # JSON keeps apart what a separator of our own could not.
    return ("quarantine", json.dumps([connector, document_id]))


def _body_of(key: Key) -> Key:
    return "quarantined", key[1]


def _without(key: Key) -> Records:
    """What removes an entry."""
    return {key: None, _body_of(key): None}


def _about(action: str, kept: Quarantined, actor: str) -> AuditRecord:
    return AuditRecord(actor, action, subject=kept.document_id, detail={"connector": kept.connector})
