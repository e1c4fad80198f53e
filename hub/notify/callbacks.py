"""Answers that are POSTed to a question's `callback_url`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from yarl import URL

from core.errors import ConfigError, InvalidInput
from core.store.base import NewDelivery
from hub.net.client import Client
from hub.net.guard import IPNetwork
from hub.net.session import Network
from hub.notify.events import dump, webhook_id
from hub.sdk.contract import Notification, Outcome
from hub.sdk.webhooks import StandardWebhook, post, rfc3339

CALLBACK = "callback"
"""The endpoint of every callback. In the store it is `callback:HOST`: each host is a queue of its own, so that one that
does not answer holds up no other."""
MAX_CLIENTS = 256


def _utc_now() -> datetime:
    return datetime.now(UTC)


def callback_delivery(query_id: str, callback_url: str, carried: Mapping[str, Any], *, now: datetime) -> NewDelivery:
    """The delivery that answers a question: `carried` is the answer's JSON object (or what there is to say in place of
    one), sent flat with `type`, `timestamp` and `query_id`. To be written in the transaction that ends the journal
    item."""
    url = URL(callback_url)
    envelope = {"type": "query.answered", "timestamp": rfc3339(now), "query_id": query_id}
    # A connector's own form may have fields of these names; the receiver relies on ours.
    payload = {**envelope, **carried, **envelope}
    return NewDelivery(
        id=webhook_id(CALLBACK, query_id),
        endpoint=f"{CALLBACK}:{url.host}:{url.port}",
        event="query.answered",
        subject=query_id,
        payload=dump(payload),
        next_attempt_at=now,
        target=callback_url,
    )


class Callbacks:
    """The connector behind the endpoint `callback`: signs with the hub's own secret, reaches what the hub's callbacks
    may reach, and has a breaker and a pause for each host."""

    def __init__(
        self,
        network: Network,
        secret: SecretStr | None,
        *,
        allow_networks: Iterable[str | IPNetwork] = (),
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Raises ConfigError for a secret that is not base64. Without one, questions with a `callback_url` are refused
        when they are asked, and what was accepted before is tried again until there is one."""
        try:
            self._signer = None if secret is None else StandardWebhook([secret])
        except InvalidInput as error:
            raise ConfigError(error.reason, where="hub.callbacks.secret") from None
        self._network = network
        self._allow_networks = tuple(allow_networks)
        self._now = now
        self._clients: OrderedDict[str, Client] = OrderedDict()

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        """`Notifies`: the target is each notification's own."""
        return [await self._send(notification) for notification in batch]

    async def _send(self, notification: Notification) -> Outcome:
        if self._signer is None:
            return Outcome(error="hub.callbacks.secret is not set")
        if notification.target is None:
            return Outcome(error="there is no callback_url", permanent=True)
        client = self._client(notification.target)
        return await post(client, notification.target, notification, self._signer, now=self._now())

    def _client(self, url: str) -> Client:
        target = URL(url)
        account = f"{CALLBACK}:{target.host}:{target.port}"
        client = self._clients.pop(account, None) or self._network.client(account, allow_networks=self._allow_networks)
        self._clients[account] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return client
