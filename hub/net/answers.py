"""Reading an answer within its limits, and what its status means to the hub."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp

from core.errors import AuthFailed, ConnectorError, NotReady, RateLimited

LONGEST_PAUSE = 30 * 86_400.0
"""Seconds. A `Retry-After` beyond it is read as this."""


_PASSING = (502, 503, 504)


class TooLong(aiohttp.ClientPayloadError):
    """The answer is longer than its reader allows."""


class Passing(NotReady):
    """A failure of a moment (a lost connection, a 502): a reading request is worth a second try at once."""


async def read_body(response: aiohttp.ClientResponse, max_bytes: int, *, cut: bool) -> bytes:
    """The body, decompressed, at most `max_bytes` of it. What is longer is cut, or raises TooLong. Bytes are counted as
    they come out of the decompressor, so a small answer that unpacks to gigabytes ends here too."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > max_bytes:
            if not cut:
                raise TooLong(f"the answer is longer than {max_bytes:,} bytes")
            del body[max_bytes:]
            break
    return bytes(body)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for (RFC 9110 §10.2.3); None without one, or with one that says nothing.

    A date is measured against the answer's own `Date` where there is one, so that a clock that differs from ours
    neither shortens nor stretches the pause.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(LONGEST_PAUSE, float(value[:12]))
    until = _http_date(value)
    if until is None:
        return None
    since = _http_date(headers.get("Date", "")) or now
    return min(LONGEST_PAUSE, max(0.0, (until - since).total_seconds()))


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def phrase(status: int) -> str:
    """`404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def error_for(status: int, pause: float | None, where: str) -> ConnectorError | None:
    """What a connector raises for this status: None for success and 304; `where` names the upstream, no secret."""
    if 200 <= status < 300 or status == HTTPStatus.NOT_MODIFIED:
        return None
    said = f"{where} answered {phrase(status)}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AuthFailed(f"{said}: check the credentials")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(said, retry_after=pause)
    if status in _PASSING and pause is None:
        return Passing(said)
    return NotReady(said, retry_after=pause)
