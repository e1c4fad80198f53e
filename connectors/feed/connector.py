"""The `feed` connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from connectors.feed.checkpoint import FeedCheckpoint
from connectors.feed.client import Answer, FeedServer, parse
from connectors.feed.config import FeedConfig
from connectors.feed.mapping import Entry, entries_of
from hub.sdk import Batch, Connector, ConnectorSpec, Context, Health, Window, hookimpl


class Feed:
    """Pulls the entries that are new or edited. One that the feed no longer holds stays: feeds show only the latest."""

    def __init__(self, config: FeedConfig, context: Context) -> None:
        self._server = FeedServer(config, context)
        self._prefix = f"{context.name}-" if config.prefix is None else config.prefix
        self._context = context

    async def check(self) -> Health:
        return await self._server.check()

    async def aclose(self) -> None:
        """Holds nothing open."""

    async def pull(self, since: FeedCheckpoint | None, window: Window) -> AsyncIterator[Batch[FeedCheckpoint]]:
        """Raises NotReady for a feed that cannot be fetched, or is none."""
        url = self._server.url
        if since is not None and since.url != url:
            since = None
        answer = await self._server.fetch(since)
        if answer is None:
            return
        known = since.seen if since else {}
        entries: list[Entry] = await self._context.run_blocking(self._read, answer)
        fresh = [entry for entry in entries if known.get(entry.document_id) != entry.digest]
        seen = {entry.document_id: entry.digest for entry in entries if known.get(entry.document_id) == entry.digest}
        for at in range(0, len(fresh), window.page_size):
            page = fresh[at : at + window.page_size]
            seen |= {entry.document_id: entry.digest for entry in page}
            yield Batch([entry.change for entry in page], FeedCheckpoint(url=url, seen=dict(seen)))
        # Only now is the answer read, so only now may the next request ask for what is newer.
        final = FeedCheckpoint(url=url, etag=answer.etag, last_modified=answer.last_modified, seen=seen)
        if final != since:
            yield Batch([], final)

    def _read(self, answer: Answer) -> list[Entry]:
        feed = parse(answer)
        if feed.bozo:
            self._context.log.info("feed is broken; read as far as it goes", problem=str(feed.bozo_exception)[:200])
        return entries_of(feed, self._prefix)


@hookimpl
def hub_connectors() -> Iterable[ConnectorSpec]:
    yield ConnectorSpec(
        kind="feed",
        summary="Reads the entries of an RSS or Atom feed, asking only for what is new.",
        config=FeedConfig,
        checkpoint=FeedCheckpoint,
        create=create,
    )


def create(config: FeedConfig, context: Context) -> Connector:
    return Feed(config, context)
