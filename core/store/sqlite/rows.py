"""Rows to model types and back."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import apsw

from core.model import Metadata, StoredDocument
from core.store.base import Attempt, AuditRecord, Delivery, DeliveryState, StoredAuditRecord

Row = Sequence[Any]

DOCUMENT = "v_from, v_to, document_id, content_hash, metadata, origin, chunk_ids, chunk_starts"
OPENED = DOCUMENT.replace("v_to", "NULL")
"""A version as it was when its change opened it, whatever came after."""
DELIVERY = (
    "sequence, id, endpoint, event, subject, payload, target, state, attempts, created_at, next_attempt_at, error"
)


def select(db: apsw.Connection, statement: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows; columns have the types that the schema's STRICT tables guarantee."""
    return db.execute(statement, bindings).fetchall()


def pack(integers: Iterable[int]) -> bytes:
    return array("q", integers).tobytes()


def unpack(blob: bytes) -> tuple[int, ...]:
    return tuple(array("q", blob))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def document(row: Row) -> StoredDocument:
    v_from, v_to, document_id, content_hash, metadata, origin, chunk_ids, chunk_starts = row
    return StoredDocument(
        document_id=document_id,
        v_from=v_from,
        v_to=v_to,
        content_hash=content_hash,
        metadata=Metadata.model_validate_json(metadata),
        origin=origin,
        chunk_ids=unpack(chunk_ids),
        chunk_starts=unpack(chunk_starts),
    )


def delivery(row: Row) -> Delivery:
    sequence, id_, endpoint, event, subject, payload, target, state, attempts, created, next_attempt, error = row
    return Delivery(
        sequence=sequence,
        id=id_,
        endpoint=endpoint,
        event=event,
        subject=subject,
        payload=payload,
        target=target,
        state=DeliveryState(state),
        attempts=attempts,
        created_at=moment(created),
        next_attempt_at=moment(next_attempt),
        error=error,
    )


def attempt(row: Row) -> Attempt:
    delivery_id, at, duration, state, next_attempt, status, error, response = row
    return Attempt(
        delivery_id=delivery_id,
        at=moment(at),
        duration=duration,
        state=DeliveryState(state),
        next_attempt_at=moment(next_attempt),
        status=status,
        error=error,
        response=response,
    )


def audit(row: Row) -> StoredAuditRecord:
    sequence, at, actor, action, subject, detail = row
    return StoredAuditRecord(sequence, moment(at), AuditRecord(actor, action, subject, json.loads(detail)))


def as_list(values: Iterable[int | str]) -> str:
    """Values for `IN (SELECT value FROM json_each(?))`: one bound parameter, however many there are."""
    return json.dumps(list(values))
