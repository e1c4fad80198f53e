"""The `sqs` connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from connectors.sqs.client import BATCH, Message, Queue
from connectors.sqs.config import ConsumeConfig, NotifyConfig, SqsConfig
from connectors.sqs.mapping import changes_of, document_message, notification_message
from connectors.sqs.receiving import Receiver
from hub.sdk import (
    Both,
    ConfigError,
    Connector,
    ConnectorSpec,
    Context,
    Delivery,
    Document,
    Feeds,
    Notification,
    Outcome,
    hookimpl,
)


class Inbound:
    """Consumes: a message becomes changes, and is deleted after their commit."""

    def __init__(self, queue: Queue, config: ConsumeConfig, context: Context) -> None:
        self._queue = queue
        self._config = config
        self._context = context
        self.check = queue.check
        self.aclose = queue.aclose

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Raises NotReady, RateLimited, AuthFailed."""
        receiver = Receiver(self._queue, self._config, self._context.log)
        async with aclosing(receiver.messages()) as messages:
            async for message in messages:
                yield await self._delivery(message, receiver)

    async def _delivery(self, message: Message, receiver: Receiver) -> Delivery:
        return Delivery(
            await changes_of(message.body, self._config, self._context),
            ack=partial(receiver.delete, message),
            reject=lambda _: receiver.reject(message),
            body=message.body.encode() if self._config.poison == "quarantine" else None,
        )


class Outbound:
    """Notifies: in batches, each entry of which is checked."""

    batch = BATCH

    def __init__(self, queue: Queue, config: NotifyConfig) -> None:
        self._queue = queue
        self._config = config
        self.check = queue.check
        self.aclose = queue.aclose

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        return await self._queue.send([notification_message(each, self._config.format) for each in batch])


class Feeder:
    """Puts documents into the queue that a URL names."""

    batch = BATCH

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.aclose = queue.aclose

    async def feed(self, documents: Sequence[Document]) -> Sequence[Outcome]:
        return await self._queue.send([document_message(document) for document in documents])


def create(config: SqsConfig, context: Context) -> Connector:
    """An instance that does what its table says, and shows no method for what it does not."""
    match config:
        case SqsConfig(consume=ConsumeConfig() as consume, notify=NotifyConfig() as notify):
            inbound = Inbound(Queue(config, str(consume.queue_url), context), consume, context)
            return Both(inbound, Outbound(Queue(config, str(notify.queue_url), context), notify))
        case SqsConfig(consume=ConsumeConfig() as consume):
            return Inbound(Queue(config, str(consume.queue_url), context), consume, context)
        case SqsConfig(notify=NotifyConfig() as notify):
            return Outbound(Queue(config, str(notify.queue_url), context), notify)
    raise ConfigError("needs a consume table or a notify table", where=context.name)


def feeder(url: str, context: Context) -> Feeds:
    """Of `sqs://sqs.eu-central-1.amazonaws.com/123456789012/documents`, or, where SQS is not at AWS,
    `sqs+http://127.0.0.1:4566/000000000000/documents?region=us-east-1`. Raises ConfigError."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    host = parts.hostname or ""
    at_aws = parts.scheme == "sqs"
    region = options.pop("region", host.split(".")[1] if at_aws and host.count(".") >= 2 else None)
    if region is None or options:
        raise ConfigError("must be sqs://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE", where=host or url[:40])
    origin = f"https://{parts.netloc}" if at_aws else f"{parts.scheme.removeprefix('sqs+')}://{parts.netloc}"
    table: dict[str, Any] = {"region": region, "notify": {"queue_url": f"{origin}{parts.path}"}}
    try:
        config = SqsConfig.model_validate(table if at_aws else {**table, "endpoint_url": origin})
    except ValidationError as error:
        raise ConfigError(f"is no URL of a queue: {error.errors()[0]['msg']}", where="--to") from None
    return Feeder(Queue(config, f"{origin}{parts.path}", context))


@hookimpl
def hub_connectors() -> Iterable[ConnectorSpec]:
    yield ConnectorSpec(
        kind="sqs",
        summary="Takes documents from an Amazon SQS queue, and sends a message for every change.",
        config=SqsConfig,
        create=create,
        requires={"aiobotocore": "aime-hub[sqs]"},
        feeds={"sqs": feeder, "sqs+http": feeder, "sqs+https": feeder},
    )
