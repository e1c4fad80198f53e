"""From the audit trail to deliveries, and from a delivery to the notification that a connector sends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.store.base import Delivery, NewDelivery, StoredAuditRecord
from hub.sdk.contract import Notification
from hub.sdk.webhooks import rfc3339

_SUBJECTS = {"document": "document_id", "connector": "connector", "endpoint": "endpoint"}


def webhook_id(*parts: object) -> str:
    """A delivery's id, made from what it is about: whoever makes it again makes the same one."""
    text = "\0".join(map(str, parts))
    return "msg_" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def delivery_for(record: StoredAuditRecord, endpoint: str) -> NewDelivery:
    """What tells `endpoint` of this record. The record's time is part of the id, since a store that was thrown away and
    begun anew counts from one again, and receivers remember ids."""
    event = record.record.action
    subject = record.record.subject
    payload: dict[str, Any] = {"type": event, "timestamp": rfc3339(record.at)}
    if name := _SUBJECTS.get(event.partition(".")[0]):
        payload[name] = subject or None
    payload.update((key, value) for key, value in record.record.detail.items() if value is not None)
    return NewDelivery(
        id=webhook_id(record.sequence, record.at.timestamp(), endpoint),
        endpoint=endpoint,
        event=event,
        subject=subject,
        payload=dump(payload),
        next_attempt_at=record.at,
    )


def dump(payload: Mapping[str, Any]) -> str:
    """A payload as the store keeps it."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def notification_of(delivery: Delivery) -> Notification:
    """What is sent. Raises ValueError or KeyError for a payload that is none of ours."""
    data = json.loads(delivery.payload)
    return Notification(
        id=delivery.id,
        type=delivery.event,
        timestamp=datetime.fromisoformat(data["timestamp"]),
        data=data,
        target=delivery.target,
    )
