"""Rows to model types. Both stores have the same columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from core.errors import VersionUnavailable
from core.model import LogEntry, Metadata, NewChunk, Op, StoredChunk, StoredDocument
from core.packing import named, unpack_mentions, unpack_pairs
from core.store.base import Attempt, AuditRecord, Delivery, DeliveryState, StoredAuditRecord
from core.store.group import unpack

Row = Sequence[Any]

DOCUMENT = "v_from, v_to, document_id, content_hash, metadata, origin, chunk_ids, chunk_starts"
OPENED = DOCUMENT.replace("v_to", "NULL")
"""A version as it was when its change opened it, whatever came after."""
CHUNK = "id, document_id, text, sentences, hash"
LOG = "version, op, document_id, at, source, access"
DELIVERY = (
    "sequence, id, endpoint, event, subject, payload, target, state, attempts, created_at, next_attempt_at, error"
)
ATTEMPT = "delivery_id, at, duration, state, next_attempt_at, status, error, response"
AUDIT = "sequence, at, actor, action, subject, detail"


def check_readable(version: int, floor: int, head: int) -> None:
    """Raises VersionUnavailable unless the store holds the version."""
    if not floor <= version <= head:
        raise VersionUnavailable(
            f"version {version} cannot be read: the store holds {floor} to {head}", collected=version < floor
        )


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


def chunk(row: Row, ids: Sequence[int], starts: Sequence[int]) -> StoredChunk | None:
    """From the columns `CHUNK`, and the chunk ids and starts of a version of its document; None when that version does
    not hold it."""
    id_, document_id, text, sentences, hash_ = row
    if id_ not in ids:
        return None
    place = ids.index(id_)
    return StoredChunk(id_, document_id, place, starts[place], text, unpack_pairs(sentences), hash=hash_)


def new_chunk(row: Row) -> NewChunk:
    """From id, text, mentions."""
    id_, text, mentions = row
    return NewChunk(id_, text, named(unpack_mentions(mentions)))


def entries(
    log: Iterable[Row], opened: Mapping[int, StoredDocument], created: Mapping[int, Sequence[NewChunk]]
) -> list[LogEntry]:
    """Log rows with the document versions that they opened and the chunks that they created."""
    return [
        LogEntry(
            version=version,
            op=Op(op),
            document_id=document_id,
            at=moment(at),
            source=source,
            access=None if access is None else tuple(json.loads(access)),
            document=opened.get(version),
            chunks=tuple(created.get(version, ())),
        )
        for version, op, document_id, at, source, access in log
    ]
