"""A message as changes, notifications and documents as messages."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from connectors.sqs.config import ConsumeConfig
from hub.sdk import Change, Context, Document, Notification
from hub.sdk.payloads import body_of, read_message
from hub.sdk.webhooks import Format, render

_GROUP = re.compile(r"[!-~]{1,128}")
"""What SQS takes as a group's id: printable ASCII without the space."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be sent. Messages of one `group` keep their order in a FIFO queue, which drops a second one of the
    same `id` within five minutes."""

    body: str
    type: str
    group: str
    id: str

    @property
    def size(self) -> int:
        """Bytes, as SQS counts them: the body and its attribute."""
        return len(self.body.encode()) + len("type") + len("String") + len(self.type)


async def changes_of(body: str, config: ConsumeConfig, context: Context) -> list[Change]:
    """What a message asks for; one that cannot be read is a Failure that says why."""
    return await read_message(
        body.encode(), mapping=config.mapping, source=context.source, run_blocking=context.run_blocking
    )


def notification_message(notification: Notification, form: Format) -> Outgoing:
    _, body = render(notification, form)
    subjects = (notification.data.get(name) for name in ("document_id", "query_id", "connector", "endpoint"))
    subject = next((each for each in subjects if isinstance(each, str)), notification.type)
    return Outgoing(_text(body), notification.type, _group(subject), notification.id)


def document_message(document: Document) -> Outgoing:
    body = body_of(document)
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    return Outgoing(_text(body), "document", _group(document.document_id), digest)


def _text(body: bytes) -> str:
    """SQS refuses two characters that JSON may hold as they are: they stand in strings, so they can be escaped."""
    return body.decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _group(subject: str) -> str:
    if _GROUP.fullmatch(subject):
        return subject
    return hashlib.blake2b(subject.encode(errors="surrogatepass"), digest_size=16).hexdigest()
