"""The feed's server, and the parser of what it sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import feedparser

from connectors.feed.checkpoint import FeedCheckpoint
from connectors.feed.config import FeedConfig
from hub.sdk import AuthFailed, Context, Health, NotReady

NOT_MODIFIED = 304
PEEK_BYTES = 4096
_ACCEPT = "application/atom+xml, application/rss+xml, application/rdf+xml;q=0.9, application/xml;q=0.8, */*;q=0.1"
_FIRST_ELEMENT = re.compile(rb"<[A-Za-z]")
_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """A feed as it was sent, and what to ask with the next time."""

    body: bytes
    headers: Mapping[str, str]
    url: str
    etag: str | None
    last_modified: str | None


class FeedServer:
    """The server at `url`."""

    def __init__(self, config: FeedConfig, context: Context) -> None:
        self.url = str(config.url)
        self._max_bytes = config.max_bytes
        self._headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        self._http = context.http

    async def fetch(self, since: FeedCheckpoint | None) -> Answer | None:
        """The feed, or None when it is as it was. Raises NotReady, RateLimited, AuthFailed."""
        headers = {"Accept": _ACCEPT, **self._headers}
        if since is not None and since.etag:
            headers["If-None-Match"] = since.etag
        if since is not None and since.last_modified:
            headers["If-Modified-Since"] = since.last_modified
        answer = await self._http.request("GET", self.url, headers=headers, max_bytes=self._max_bytes)
        if answer.status == NOT_MODIFIED:
            return None
        fields = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.body, fields, answer.url, fields.get("etag"), fields.get("last-modified"))

    async def check(self) -> Health:
        """Fetches the first bytes: many servers of feeds answer no HEAD."""
        try:
            answer = await self._http.request(
                "GET", self.url, headers={"Accept": _ACCEPT, **self._headers}, max_bytes=PEEK_BYTES, cut=True
            )
        except (NotReady, AuthFailed) as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=True, detail=f"answers {answer.status}")


def parse(answer: Answer) -> Any:
    """Blocking: the feed as `feedparser` reads it, as far as it can be read. Raises NotReady for what is no feed.

    A document type that declares entities is refused before it is parsed: no feed needs it, and a few lines of it can
    stand for gigabytes.
    """
    plain = answer.body.replace(b"\x00", b"")  # of UTF-16 and UTF-32, the ASCII that markup is made of
    first = _FIRST_ELEMENT.search(plain)
    if _ENTITY.search(plain, 0, first.start() if first else len(plain)):
        raise NotReady(f"{_origin(answer.url)} declares XML entities, which are not read")
    headers = {"content-location": answer.url}
    if content_type := answer.headers.get("content-type"):
        headers["content-type"] = content_type
    # Markup is not cleaned here: the core reads the text out of it, and nothing else.
    feed = feedparser.parse(answer.body, response_headers=headers, sanitize_html=False, resolve_relative_uris=False)
    if not feed.entries and not feed.get("version"):
        raise NotReady(f"{_origin(answer.url)} is not a feed")
    return feed


def _origin(url: str) -> str:
    """What an error may say of an address: its path and query may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
