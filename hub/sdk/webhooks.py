"""Webhooks, both ways: signing and verifying, the wire forms of a notification, and posting one.

Shared by the `webhook` connector and by the hub's own answers to a `callback_url`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from pydantic import SecretStr
from standardwebhooks import Webhook

from core.errors import AuthFailed, InvalidInput, NotReady, NotSent, VerificationFailed
from hub.sdk.contract import HttpClient, Notification, Outcome

Format = Literal["flat", "standard", "cloudevents"]

TOLERANCE = timedelta(minutes=5)
"""How far a signed timestamp may be from our clock, either way; what Standard Webhooks recommends."""
MAX_SIGNATURES = 16
"""Of one request. More than any rotation needs, and few enough to compare."""
CLOUD_EVENT_SOURCE = "urn:aime:hub"
RESPONSE_BYTES = 16 * 1024
"""How much of a receiver's answer is read."""
KEPT_CHARS = 1000
"""How much of it is kept for the admin."""


# ---------------------------------------------------------------- signatures


class Verifier(Protocol):
    """Proves that a request comes from somebody who holds the secret."""

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
        """Returns when the signature fits; raises VerificationFailed otherwise. `headers` have lower-case names."""
        ...


class StandardWebhook:
    """The Standard Webhooks scheme (https://www.standardwebhooks.com), version v1 (HMAC-SHA256).

    With several secrets a message carries a signature for each, and one that fits any of them is accepted: so both
    sides can rotate without a gap. A secret is base64, with or without `whsec_` before it.
    """

    def __init__(self, secrets: Sequence[SecretStr], *, tolerance: timedelta = TOLERANCE) -> None:
        """Raises InvalidInput, with field `secret`, for no secret or one that is not base64."""
        if not secrets:
            raise InvalidInput("is needed", field="secret")
        self._keys = [_standard_key(secret) for secret in secrets]
        self._tolerance = tolerance

    def sign(self, message_id: str, timestamp: datetime, body: bytes) -> dict[str, str]:
        """The three headers for this body, which is UTF-8."""
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(timestamp.timestamp())),
            "webhook-signature": " ".join(self._signatures(message_id, timestamp, body.decode())),
        }

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
        """See `Verifier`. The library's own `verify` is not used: it cannot be told the time or the tolerance, and
        hostile headers make it raise ValueError, binascii.Error and UnicodeDecodeError."""
        message_id = _header(headers, "webhook-id")
        timestamp = self._timestamp(_header(headers, "webhook-timestamp"), now)
        claimed = [
            signature
            for version, _, signature in (
                token.partition(",") for token in _header(headers, "webhook-signature").split(" ")[:MAX_SIGNATURES]
            )
            if version == "v1"
        ]
        try:
            text = body.decode()
            message_id.encode()
        except UnicodeError:
            raise VerificationFailed("the message is not UTF-8") from None
        expected = [signature.removeprefix("v1,") for signature in self._signatures(message_id, timestamp, text)]
        if not _any_equal([_base64(each) for each in expected], [_base64(each) for each in claimed]):
            raise VerificationFailed("no signature in webhook-signature fits")

    def _signatures(self, message_id: str, timestamp: datetime, text: str) -> list[str]:
        moment = timestamp.astimezone(UTC)  # the library takes any zone for UTC
        return [key.sign(message_id, moment, text) for key in self._keys]

    def _timestamp(self, value: str, now: datetime) -> datetime:
        if not (value.isascii() and value.isdigit() and len(value) <= 12) or value != str(int(value)):
            raise VerificationFailed("webhook-timestamp is not a time in whole seconds")
        seconds = int(value) - now.timestamp()
        if abs(seconds) > self._tolerance.total_seconds():
            raise VerificationFailed(f"webhook-timestamp is too {'new' if seconds > 0 else 'old'}: is a clock wrong?")
        return datetime.fromtimestamp(int(value), UTC)


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """How a sender that has a scheme of its own signs: an HMAC over the raw body, in one header."""

    header: str = "x-hub-signature-256"
    algorithm: Literal["sha256", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    """Before the signature, such as `sha256=`."""


class HmacWebhook:
    """A signature as most systems make it. It covers no time, so a recorded request can be sent again: it changes
    nothing, since taking a document twice is taking it once."""

    def __init__(self, secrets: Sequence[SecretStr], scheme: HmacScheme) -> None:
        """Raises InvalidInput, with field `secret`, for no or an empty secret."""
        keys = [secret.get_secret_value().encode() for secret in secrets]
        if not keys or not all(keys):
            raise InvalidInput("is needed, and must not be empty", field="secret")
        self._keys = keys
        self._scheme = scheme

    def sign(self, body: bytes) -> dict[str, str]:
        """The header for this body, made with the first secret."""
        digest = self._digests(body)[0]
        text = digest.hex() if self._scheme.encoding == "hex" else base64.b64encode(digest).decode()
        return {self._scheme.header: self._scheme.prefix + text}

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:  # noqa: ARG002 (Verifier's)
        """See `Verifier`."""
        scheme = self._scheme
        value = _header(headers, scheme.header.lower())
        if not value.startswith(scheme.prefix):
            raise VerificationFailed(f"{scheme.header} does not begin with {scheme.prefix!r}")
        signature = value.removeprefix(scheme.prefix)
        claimed = _hex(signature) if scheme.encoding == "hex" else _base64(signature)
        if not _any_equal(self._digests(body), [claimed]):
            raise VerificationFailed(f"the signature in {scheme.header} does not fit")

    def _digests(self, body: bytes) -> list[bytes]:
        algorithm = hashlib.sha256 if self._scheme.algorithm == "sha256" else hashlib.sha1
        return [hmac.new(key, body, algorithm).digest() for key in self._keys]


def _standard_key(secret: SecretStr) -> Webhook:
    encoded = secret.get_secret_value().removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InvalidInput("must be base64, with or without whsec_ before it", field="secret")
    return Webhook(key)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise VerificationFailed(f"the header {name} is missing")
    return value


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _hex(text: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        return b""


def _any_equal(expected: Sequence[bytes], claimed: Sequence[bytes]) -> bool:
    """Compares every pair, in constant time for each, so that the time tells nothing about which one fits."""
    fits = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in claimed]
    return any(fits)


# ---------------------------------------------------------------- wire forms


def render(notification: Notification, form: Format = "flat") -> tuple[str, bytes]:
    """A notification as (content type, body). `flat` is its JSON object as it is; `standard` nests what the event
    carries under `data`; `cloudevents` is a structured CloudEvents 1.0 event."""
    carried = {key: value for key, value in notification.data.items() if key not in ("type", "timestamp")}
    timestamp = rfc3339(notification.timestamp)
    match form:
        case "flat":
            return "application/json", _dump({"type": notification.type, "timestamp": timestamp, **carried})
        case "standard":
            return "application/json", _dump({"type": notification.type, "timestamp": timestamp, "data": carried})
        case "cloudevents":
            subject = carried.get("document_id")
            event: dict[str, Any] = {
                "specversion": "1.0",
                "id": notification.id,
                "source": CLOUD_EVENT_SOURCE,
                "type": notification.type,
                "time": timestamp,
                **({"subject": subject} if subject else {}),
                "datacontenttype": "application/json",
                "data": carried,
            }
            return "application/cloudevents+json", _dump(event)


def rfc3339(moment: datetime) -> str:
    """`2026-03-01T09:30:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# ---------------------------------------------------------------- posting


async def post(
    http: HttpClient,
    url: str,
    notification: Notification,
    signer: StandardWebhook,
    *,
    now: datetime,
    form: Format = "flat",
    headers: Mapping[str, str] | None = None,
    timeout: float = 15.0,
) -> Outcome:
    """Send one notification, signed, and say what came of it. Never raises for what the receiver does.

    2xx is delivered. 410 is gone. Everything else is tried again: a redirect too, since a signed body goes nowhere but
    to the address that it was meant for, and a 4xx too, since it is most often a receiver that is wrongly configured
    and will be put right. How often is the dispatcher's business.
    """
    content_type, body = render(notification, form)
    try:
        response = await http.request(
            "POST",
            url,
            headers={
                **(headers or {}),
                "Content-Type": content_type,
                **signer.sign(notification.id, now, body),
            },
            data=body,
            max_bytes=RESPONSE_BYTES,
            cut=True,
            timeout=timeout,
            raise_for_status=False,
        )
    except NotSent as error:
        return Outcome(error=error.message, retry_after=error.retry_after, unsent=True)
    except NotReady as error:
        return Outcome(error=error.message, retry_after=error.retry_after)
    except AuthFailed as error:
        return Outcome(error=error.message)
    kept = response.text().replace("\x00", "")[:KEPT_CHARS]
    if 200 <= response.status < 300:
        return Outcome(status=response.status, response=kept)
    return Outcome(
        error=f"answered {response.status}",
        status=response.status,
        retry_after=response.retry_after,
        gone=response.status == 410,
        response=kept,
    )
