"""A message as changes, a notification and a document as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.rabbitmq.config import ConsumeConfig
from hub.sdk import Change, Context, Document, Failure, Notification
from hub.sdk.payloads import body_of, read_message
from hub.sdk.webhooks import Format, render

if TYPE_CHECKING:
    from aio_pika import Message


async def changes_of(body: bytes, config: ConsumeConfig, context: Context) -> list[Change]:
    """What a message asks for; one that cannot be read is a Failure that says why."""
    if len(body) > config.max_bytes:
        return [Failure(f"the message is {len(body):,} bytes; the cap is {config.max_bytes:,} (consume.max_bytes)")]
    return await read_message(body, mapping=config.mapping, source=context.source, run_blocking=context.run_blocking)


def notification_message(notification: Notification, form: Format) -> Message:
    """Persistent. Its `message_id` is the notification's, so that a receiver knows one that comes twice."""
    content_type, body = render(notification, form)
    message = _message(body, content_type, notification.id)
    message.type = notification.type
    message.timestamp = notification.timestamp
    return message


def document_message(document: Document) -> Message:
    return _message(body_of(document), "application/json", None)


def _message(body: bytes, content_type: str, message_id: str | None) -> Message:
    from aio_pika import DeliveryMode, Message

    return Message(
        body,
        content_type=content_type,
        content_encoding="utf-8",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=message_id,
        app_id="aime",
    )
