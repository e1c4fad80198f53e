"""The `[connectors.NAME]` table of SQS queues."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, model_validator

from hub.sdk import ConnectorConfig, Duration, NotifyOptions
from hub.sdk.payloads import MappingConfig
from hub.sdk.webhooks import Format


def _queue_url(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("must hold no user and password: put them into access_key_id and secret_access_key")
    if len((url.path or "").strip("/").split("/")) != 2:
        raise ValueError("must be a queue's URL, such as https://sqs.eu-central-1.amazonaws.com/123456789012/documents")
    return url


QueueUrl = Annotated[HttpUrl, AfterValidator(_queue_url)]


class ConsumeConfig(ConnectorConfig):
    """What comes in."""

    queue_url: QueueUrl
    visibility: Annotated[Duration, Field(ge=timedelta(seconds=3), le=timedelta(hours=1))] = timedelta(seconds=60)
    """How long others do not see a message that was handed over. It is extended for as long as the message is at work
    here; after a crash it comes again so much later."""
    receivers: Annotated[int, Field(ge=1, le=16)] = 2
    """Requests for messages at a time, of up to ten each."""
    poison: Literal["quarantine", "dead_letter"] = "quarantine"
    """Where a message goes that cannot be taken: into the hub's quarantine, or back, so that the queue's redrive policy
    moves it to the dead-letter queue."""
    mapping: MappingConfig | None = None
    """None: messages are in the hub's own form."""


class NotifyConfig(NotifyOptions):
    """What goes out."""

    queue_url: QueueUrl
    format: Format = "flat"

    @model_validator(mode="after")
    def _has_no_networks(self) -> Self:
        if self.allow_networks:
            raise ValueError("allow_networks means nothing here: the queue is the one that queue_url names")
        return self


class SqsConfig(ConnectorConfig):
    """Either direction, or both. Without keys, the usual chain of AWS finds them: environment, profile, role."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    endpoint_url: HttpUrl | None = None
    """Where SQS is, if it is not at AWS."""
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    consume: ConsumeConfig | None = None
    notify: NotifyConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.consume is None and self.notify is None:
            raise ValueError("needs a consume table (consume.queue_url) or a notify table (notify.queue_url)")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key need each other")
        return self
