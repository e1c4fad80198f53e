"""The `webhook` connector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connectors.webhook.client import Receiver
from connectors.webhook.config import NotifyConfig, ReceiveConfig, WebhookConfig
from connectors.webhook.mapping import changes
from hub.sdk import (
    Both,
    Change,
    ConfigError,
    Connector,
    ConnectorSpec,
    Context,
    Health,
    InboundRequest,
    Notification,
    Outcome,
    hookimpl,
)


class Inbound:
    """Receives: a verified request becomes changes."""

    def __init__(self, config: ReceiveConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._verifier = config.verifier()

    async def receive(self, request: InboundRequest) -> Sequence[Change]:
        """Raises VerificationFailed, InvalidInput."""
        self._verifier.verify(request.headers, request.body, now=request.received_at)
        return changes(request.body, mapping=self._config.mapping, source=self._context.source)

    async def check(self) -> Health:
        return Health(ok=True, detail=f"takes requests signed by the {self._config.scheme} scheme")

    async def aclose(self) -> None:
        """Holds nothing open."""


class Outbound:
    """Notifies: each notification is one signed POST."""

    def __init__(self, config: NotifyConfig, context: Context) -> None:
        self._receiver = Receiver(config, context)

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        return [await self._receiver.send(notification) for notification in batch]

    async def check(self) -> Health:
        return await self._receiver.check()

    async def aclose(self) -> None:
        """Holds nothing open."""


def create(config: WebhookConfig, context: Context) -> Connector:
    """An instance that does what its table says, and shows no method for what it does not."""
    match config:
        case WebhookConfig(receive=ReceiveConfig() as receive, notify=NotifyConfig() as notify):
            return Both(Inbound(receive, context), Outbound(notify, context))
        case WebhookConfig(receive=ReceiveConfig() as receive):
            return Inbound(receive, context)
        case WebhookConfig(notify=NotifyConfig() as notify):
            return Outbound(notify, context)
    raise ConfigError("a webhook needs a receive table or a notify table", where=context.name)


@hookimpl
def hub_connectors() -> Iterable[ConnectorSpec]:
    yield ConnectorSpec(
        kind="webhook",
        summary="Takes documents from systems that send webhooks, and sends signed webhooks for every change.",
        config=WebhookConfig,
        create=create,
    )
