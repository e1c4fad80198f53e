"""The `[connectors.NAME]` table of a webhook."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, field_validator, model_validator

from hub.sdk import InvalidInput, NotifyOptions
from hub.sdk.fields import ConnectorConfig, Duration
from hub.sdk.payloads import MappingConfig
from hub.sdk.webhooks import TOLERANCE, Format, HmacScheme, HmacWebhook, StandardWebhook, Verifier

Secrets = Annotated[
    tuple[SecretStr, ...],
    BeforeValidator(
        lambda value: [value] if isinstance(value, str | SecretStr) else value,
        # The schema tells editors, and the look-up of `file:PATH`, that one may stand alone.
        json_schema_input_type=SecretStr | tuple[SecretStr, ...],
    ),
]
"""One secret, or several while they are rotated."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110 §5.6.2
_OUR_HEADERS = frozenset(
    {"content-type", "content-length", "transfer-encoding", "host", "connection"}
    | {"webhook-id", "webhook-timestamp", "webhook-signature"}
)


class ReceiveConfig(ConnectorConfig):
    """What comes in, at `POST /hooks/NAME`."""

    secret: Secrets
    scheme: Literal["standard", "hmac"] = "standard"
    tolerance: Duration = TOLERANCE
    """How old a signed timestamp may be (`standard`)."""
    header: str = "x-hub-signature-256"
    """Where the signature is (`hmac`), as are the next three."""
    algorithm: Literal["sha256", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    mapping: MappingConfig | None = None
    """None: the payload is in the hub's own form."""

    def verifier(self) -> Verifier:
        """What proves a request. Raises InvalidInput for secrets that do not fit the scheme."""
        if self.scheme == "standard":
            return StandardWebhook(self.secret, tolerance=self.tolerance)
        scheme = HmacScheme(self.header, self.algorithm, self.encoding, self.prefix)
        return HmacWebhook(self.secret, scheme)

    @field_validator("header")
    @classmethod
    def _is_header(cls, name: str) -> str:
        return _header_name(name)

    @model_validator(mode="after")
    def _secret_fits(self) -> Self:
        try:
            self.verifier()
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return self


class NotifyConfig(NotifyOptions):
    """What goes out."""

    url: HttpUrl
    secret: Secrets
    format: Format = "flat"
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent along, for a receiver that wants a key of its own."""
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=60))] = timedelta(seconds=15)
    """For one attempt, until the receiver's answer is read."""

    def signer(self) -> StandardWebhook:
        return StandardWebhook(self.secret)

    @field_validator("url")
    @classmethod
    def _no_user_info(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password:
            raise ValueError("must hold no user and password: put them into notify.headers")
        return url

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if _header_name(name).lower() in _OUR_HEADERS:
                raise ValueError(f"{name} is set by the hub")
            if not value.get_secret_value().isprintable():
                raise ValueError(f"the value of {name} holds a character that no header can")
        return headers

    @model_validator(mode="after")
    def _secret_fits(self) -> Self:
        try:
            self.signer()
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return self


class WebhookConfig(ConnectorConfig):
    """Either direction, or both."""

    receive: ReceiveConfig | None = None
    notify: NotifyConfig | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.receive is None and self.notify is None:
            raise ValueError("a webhook needs a receive table (receive.secret) or a notify table (notify.url)")
        return self


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not the name of a header")
    return name
