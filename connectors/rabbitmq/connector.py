"""The `rabbitmq` connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr, ValidationError

from connectors.rabbitmq.client import Broker, Consumer, Publisher
from connectors.rabbitmq.config import ConsumeConfig, NotifyConfig, RabbitmqConfig
from connectors.rabbitmq.mapping import changes_of, document_message, notification_message
from hub.sdk import (
    Both,
    ConfigError,
    Connector,
    ConnectorSpec,
    Context,
    Delivery,
    Document,
    Feeds,
    Health,
    Notification,
    Outcome,
    hookimpl,
)

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

BATCH = 64
"""Messages on their way to the broker at a time: it confirms many of them at once."""


class Inbound:
    """Consumes: a message becomes changes, and is acknowledged after their commit."""

    def __init__(self, broker: Broker, config: ConsumeConfig, context: Context) -> None:
        self._broker = broker
        self._config = config
        self._context = context
        self._consumer = Consumer(broker, config)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Raises NotReady, AuthFailed."""
        async with aclosing(self._consumer.messages()) as messages:
            async for message in messages:
                yield await self._delivery(message)

    async def _delivery(self, message: AbstractIncomingMessage) -> Delivery:
        return Delivery(
            await changes_of(message.body, self._config, self._context),
            ack=lambda: self._settle(message.ack()),
            # Without requeueing it goes to the queue's dead-letter exchange, if it has one.
            reject=lambda _: self._settle(message.reject(requeue=False)),
            body=message.body if self._config.poison == "quarantine" else None,
        )

    async def _settle(self, answer: Awaitable[None]) -> None:
        with self._broker.told():
            await answer

    async def check(self) -> Health:
        return await self._broker.check(self._look)

    async def _look(self, channel: AbstractChannel) -> str:
        found = (await channel.get_queue(self._config.queue)).declaration_result
        waiting, consumers = found.message_count or 0, found.consumer_count or 0
        return f"queue {self._config.queue!r} holds {waiting:,} waiting messages and has {consumers:,} consumers"

    async def aclose(self) -> None:
        """Holds nothing open: the connection belongs to `deliveries`."""


class Outbound:
    """Notifies: each notification is one persistent, confirmed message."""

    batch = BATCH

    def __init__(self, broker: Broker, config: NotifyConfig) -> None:
        self._broker = broker
        self._config = config
        self._publisher = Publisher(broker, timeout=config.timeout.total_seconds())

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        return await asyncio.gather(*(self._send(notification) for notification in batch))

    async def _send(self, notification: Notification) -> Outcome:
        message = notification_message(notification, self._config.format)
        return await self._publisher.publish(
            message, self._config.exchange, self._config.routing_key or notification.type
        )

    async def check(self) -> Health:
        return await self._broker.check(self._look)

    async def _look(self, channel: AbstractChannel) -> str:
        if not self._config.exchange:
            return "takes messages"
        await channel.get_exchange(self._config.exchange)
        return f"exchange {self._config.exchange!r} takes messages"

    async def aclose(self) -> None:
        await self._publisher.aclose()


class Feeder:
    """Puts documents into the queue that a URL names."""

    batch = BATCH

    def __init__(self, publisher: Publisher, exchange: str, routing_key: str) -> None:
        self._publish = partial(publisher.publish, exchange=exchange, routing_key=routing_key)
        self.aclose = publisher.aclose

    async def feed(self, documents: Sequence[Document]) -> Sequence[Outcome]:
        return await asyncio.gather(*(self._publish(document_message(document)) for document in documents))


def create(config: RabbitmqConfig, context: Context) -> Connector:
    """An instance that does what its table says, and shows no method for what it does not."""
    broker = Broker(config, context.name)
    match config:
        case RabbitmqConfig(consume=ConsumeConfig() as consume, notify=NotifyConfig() as notify):
            return Both(Inbound(broker, consume, context), Outbound(broker, notify))
        case RabbitmqConfig(consume=ConsumeConfig() as consume):
            return Inbound(broker, consume, context)
        case RabbitmqConfig(notify=NotifyConfig() as notify):
            return Outbound(broker, notify)
    raise ConfigError("needs a consume table or a notify table", where=context.name)


def feeder(url: str, context: Context) -> Feeds:
    """Of `amqp://user:password@host:5672/vhost?queue=NAME`, or `?exchange=NAME&routing_key=KEY`. Raises ConfigError."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    queue, exchange = options.pop("queue", None), options.pop("exchange", "")
    routing_key = options.pop("routing_key", queue)
    if routing_key is None or (queue is not None and exchange):
        raise ConfigError("must say ?queue=NAME, or ?exchange=NAME&routing_key=KEY", where=parts.hostname or url[:40])
    query = "&".join(f"{name}={value}" for name, value in options.items())
    table: dict[str, Any] = {
        "url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{query}" if query else "")
    }
    if parts.username is not None:
        table |= {"username": unquote(parts.username), "password": SecretStr(unquote(parts.password or ""))}
    try:
        notify = NotifyConfig(exchange=exchange, routing_key=routing_key)
        config = RabbitmqConfig.model_validate({**table, "notify": notify})
    except ValidationError as error:
        raise ConfigError(f"is no URL of a queue: {error.errors()[0]['msg']}", where="--to") from None
    publisher = Publisher(Broker(config, context.name), timeout=notify.timeout.total_seconds())
    return Feeder(publisher, exchange, routing_key)


@hookimpl
def hub_connectors() -> Iterable[ConnectorSpec]:
    yield ConnectorSpec(
        kind="rabbitmq",
        summary="Takes documents from a RabbitMQ queue, and publishes a confirmed message for every change.",
        config=RabbitmqConfig,
        create=create,
        requires={"aio_pika": "aime-hub[rabbitmq]"},
        feeds={"amqp": feeder, "amqps": feeder},
    )
