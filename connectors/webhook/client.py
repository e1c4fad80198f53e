"""The outside system as the connector talks to it."""

from __future__ import annotations

from connectors.webhook.config import NotifyConfig
from hub.sdk import AuthFailed, Context, Health, Notification, NotReady, Outcome
from hub.sdk.webhooks import post


class Receiver:
    """The system at `notify.url`."""

    def __init__(self, config: NotifyConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._signer = config.signer()
        self._headers = {name: value.get_secret_value() for name, value in config.headers.items()}

    async def send(self, notification: Notification) -> Outcome:
        return await post(
            self._context.http,
            str(self._config.url),
            notification,
            self._signer,
            now=self._context.now(),
            form=self._config.format,
            headers=self._headers,
            timeout=self._config.timeout.total_seconds(),
        )

    async def check(self) -> Health:
        """Any answer to a HEAD shows that it is there. Whether it takes the secret, only a notification can show."""
        try:
            answer = await self._context.http.request(
                "HEAD", str(self._config.url), headers=self._headers, raise_for_status=False
            )
        except (NotReady, AuthFailed) as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=True, detail=f"answers {answer.status} to a HEAD request")
