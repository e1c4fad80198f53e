"""The `[connectors.NAME]` table of a RabbitMQ broker."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AmqpDsn, Field, SecretStr, field_validator, model_validator

from hub.sdk import ConnectorConfig, Duration, NotifyOptions
from hub.sdk.payloads import MappingConfig
from hub.sdk.webhooks import Format

Name = Annotated[str, Field(min_length=1, max_length=255)]
"""Of a queue, an exchange or a routing key: AMQP's short string."""


class ConsumeConfig(ConnectorConfig):
    """What comes in. The queue has to be there: the hub declares none."""

    queue: Name
    prefetch: Annotated[int, Field(ge=1, le=65535)] = 200
    """Messages that the broker hands over before the first of them is acknowledged. All of them may be in memory."""
    max_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """A larger message is not read."""
    poison: Literal["quarantine", "dead_letter"] = "quarantine"
    """Where a message goes that cannot be taken: into the hub's quarantine, or, rejected, to the queue's dead-letter
    exchange. What is too large for the quarantine is rejected in any case."""
    mapping: MappingConfig | None = None
    """None: messages are in the hub's own form."""


class NotifyConfig(NotifyOptions):
    """What goes out."""

    exchange: Annotated[str, Field(max_length=255)] = ""
    """Empty is the default exchange, which takes a message to the queue that its routing key names."""
    routing_key: Name | None = None
    """The event's type unless set, such as `document.processed`."""
    format: Format = "flat"
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=60))] = timedelta(seconds=15)
    """For one message, until the broker has confirmed it."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if not self.exchange and self.routing_key is None:
            raise ValueError("needs an exchange, or the name of a queue as its routing_key")
        if self.allow_networks:
            raise ValueError("allow_networks means nothing here: the broker is the one that `url` names")
        return self


class RabbitmqConfig(ConnectorConfig):
    """Either direction, or both."""

    url: AmqpDsn
    """`amqp://host:5672/vhost`, or `amqps://…`; the broker's default vhost is `/%2F`, or none."""
    username: str = "guest"
    password: SecretStr | None = None
    """None is the broker's own `guest`, whom it lets in from its own machine alone."""
    consume: ConsumeConfig | None = None
    notify: NotifyConfig | None = None

    @field_validator("url")
    @classmethod
    def _no_user_info(cls, url: AmqpDsn) -> AmqpDsn:
        if url.username or url.password:
            raise ValueError("must hold no user and password: put them into username and password")
        if not url.host:
            raise ValueError("names no host")
        return url

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.consume is None and self.notify is None:
            raise ValueError("needs a consume table (consume.queue) or a notify table (notify.exchange)")
        return self
