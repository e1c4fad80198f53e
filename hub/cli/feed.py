"""The way of files into a queue, for the hubs that consume it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from core.errors import ConfigError, InvalidDocument, NotReady
from core.model import Document
from hub.cli.intake import Defaults, Files, count_documents, progress_of, records_of
from hub.cli.output import warn
from hub.net import Network
from hub.plugins import Plugins
from hub.runners.schedule import backoff
from hub.sdk import Context, Feeds, Outcome
from hub.sdk.files import FileRecord

TRIES = 5
"""For documents that the queue could not take for a reason that passes."""


@dataclass(slots=True)
class Feeding:
    """Documents on their way, a batch at a time: one document in two versions keeps their order."""

    queue: Feeds
    published: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
    _batch: dict[str, tuple[str, Document]] = field(default_factory=dict)
    """By id: where each was found, and the document."""

    async def add(self, where: str, document: Document) -> None:
        """Raises NotReady when the queue cannot take what came before."""
        if document.document_id in self._batch or len(self._batch) == self.queue.batch:
            await self.flush()
        self._batch[document.document_id] = (where, document)

    def reject(self, where: str, reason: str) -> None:
        warn(f"{where}: {reason}")
        self.rejected += 1

    async def flush(self) -> None:
        """Raises NotReady."""
        rest = list(self._batch.values())
        self._batch.clear()
        for tries in range(1, TRIES + 1):
            outcomes = await self.queue.feed([document for _, document in rest])
            rest = self._judge(rest, outcomes, last=tries == TRIES)
            if not rest:
                return
            await asyncio.sleep(backoff(tries))

    def _judge(
        self, batch: Sequence[tuple[str, Document]], outcomes: Sequence[Outcome], *, last: bool
    ) -> list[tuple[str, Document]]:
        """Counts them; those that are worth another try. Raises NotReady when there is none."""
        again = []
        for (where, document), outcome in zip(batch, outcomes, strict=True):
            if outcome.error is None:
                self.published += 1
            elif outcome.permanent:
                self.reject(where, f"document {document.document_id}: {outcome.error}")
            elif (outcome.unsent or (outcome.status or 0) >= 500) and not last:
                again.append((where, document))
            else:
                done = f"{self.published:,} documents are published, {where} is the first that is not"
                raise NotReady(f"{outcome.error} ({done})")
        return again

    def as_json(self) -> dict[str, Any]:
        return {
            "documents": self.published + self.rejected,
            "published": self.published,
            "rejected": self.rejected,
            "seconds": round(time.monotonic() - self.started, 3),
        }


async def feed(url: str, files: Files, defaults: Defaults, max_content_bytes: int) -> dict[str, Any]:
    """Publish what the files hold, confirmed; names each document that was rejected on stderr, and counts the others.

    Raises ConfigError, PluginError for a URL that cannot be used, NotReady when the queue takes no more, and
    CancelledError for a SIGTERM.
    """
    with progress_of(files) as progress:
        task = progress.add_task("documents", total=count_documents(files) if progress.live.is_started else None)
        async with Network() as network, aclosing(_queue(url, _context(network))) as queue:
            feeding = Feeding(queue)
            with _stoppable(feeding):
                async with aclosing(records_of(files, defaults, max_content_bytes)) as records:
                    async for where, document in _documents(records, feeding, max_content_bytes):
                        await feeding.add(where, document)
                        progress.update(task, completed=feeding.published + feeding.rejected)
                await feeding.flush()
    return feeding.as_json()


async def _documents(
    records: AsyncIterable[FileRecord], feeding: Feeding, max_content_bytes: int
) -> AsyncIterator[tuple[str, Document]]:
    """What the records hold, and where; what is none is rejected here and now."""
    async for record in records:
        if record.error is not None or record.fields is None:
            feeding.reject(record.where, record.error or "holds no document")
            continue
        try:
            yield record.where, Document.parse(record.fields, max_content_bytes=max_content_bytes)
        except InvalidDocument as error:
            feeding.reject(record.where, error.message)


@contextmanager
def _stoppable(feeding: Feeding) -> Iterator[None]:
    """SIGTERM breaks the block off, as Ctrl-C does by itself; either says how far it came."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        perhaps = f"and perhaps some of the next {feeding.queue.batch}"
        warn(f"stopped: {feeding.published:,} documents are published, {perhaps}")
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _queue(url: str, context: Context) -> Feeds:
    scheme = url.partition(":")[0]
    spec = Plugins().feeding(scheme)
    try:
        return spec.feeds[scheme](url, context)
    except ValueError:  # its text may repeat a password
        raise ConfigError("is no URL of a queue: it cannot be taken apart", where="--to") from None


def _context(network: Network) -> Context:
    return Context(
        name="ingest",
        source="ingest",
        http=network.client("ingest"),
        log=structlog.stdlib.get_logger("hub.cli"),
        now=lambda: datetime.now(UTC),
        run_blocking=asyncio.to_thread,
    )
