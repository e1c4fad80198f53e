"""What a consumer does beside receiving: it hides its messages for as long as they are at work, and deletes them
together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import structlog

from connectors.sqs.client import BATCH, Message, Queue
from connectors.sqs.config import ConsumeConfig
from hub.sdk import ConnectorError, NotReady

DELETERS = 4
"""Deletions that are under way at a time."""
DELETE_TRIES = 3
RELEASE_SECONDS = 2.0
LONGEST_REJECTION = 900
"""Seconds until a message that was rejected comes again, at most."""

Leaving = tuple[Message, "asyncio.Future[None]", int]
"""A message that is to be deleted, who waits for it, and how often it was tried."""


class Receiver:
    """Takes the messages of one queue, once: another start needs another receiver."""

    def __init__(self, queue: Queue, config: ConsumeConfig, log: structlog.stdlib.BoundLogger) -> None:
        self._queue = queue
        self._config = config
        self._log = log
        self._visibility = round(config.visibility.total_seconds())
        self._held: dict[str, tuple[Message, float]] = {}
        """By receipt: what was received and is not settled, and since when it is hidden."""
        self._arrived: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=BATCH * config.receivers)
        self._leaving: asyncio.Queue[Leaving] = asyncio.Queue()
        self._failure: Exception | None = None

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Until closed; what is not settled by then is there for others at once. Raises NotReady, AuthFailed."""
        receivers = [self._receive() for _ in range(self._config.receivers)]
        deleters = [self._delete_all() for _ in range(DELETERS)]
        work = [asyncio.create_task(self._guarded(each)) for each in (*receivers, self._hide_all(), *deleters)]
        try:
            while True:
                message = await self._arrived.get()
                if self._failure is not None:
                    raise self._failure
                if message is not None:
                    yield message
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._release()

    async def delete(self, message: Message) -> None:
        """Returns once SQS has confirmed it. Raises NotReady, AuthFailed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving.put_nowait((message, done, 1))
        await done

    async def reject(self, message: Message) -> None:
        """Lets it come again, later each time, until the queue's redrive policy takes it away."""
        self._held.pop(message.receipt, None)
        await self._queue.hide([message], min(LONGEST_REJECTION, 2 ** min(message.received - 1, 20)))

    # -- at work meanwhile

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for message in await self._queue.receive(self._visibility):
                self._held[message.receipt] = (message, loop.time())
                await self._arrived.put(message)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Whoever waits for messages hears what ended any of the work: without all of it they come no more."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  # `messages` raises it
            self._failure = self._failure or error
            if self._arrived.empty():
                self._arrived.put_nowait(None)

    async def _hide_all(self) -> None:
        """Hides a message anew before its time is up, until it is settled."""
        loop = asyncio.get_running_loop()
        rest = self._visibility / 3
        while True:
            await asyncio.sleep(rest)
            aging = [message for message, since in self._held.values() if loop.time() - since >= rest]
            for start in range(0, len(aging), BATCH):
                await self._hide(aging[start : start + BATCH])

    async def _hide(self, batch: Sequence[Message]) -> None:
        now = asyncio.get_running_loop().time()
        try:
            refused = await self._queue.hide(batch, self._visibility)
        except ConnectorError as error:
            self._log.info("messages not hidden; they may come twice", messages=len(batch), reason=error.message)
            return
        for at, message in enumerate(batch):
            if message.receipt not in self._held:
                continue  # settled meanwhile
            if at in refused:
                self._log.info("message not hidden; it may come twice", reason=refused[at].reason)
                del self._held[message.receipt]
            else:
                self._held[message.receipt] = (message, now)

    async def _delete_all(self) -> None:
        while True:
            batch = [await self._leaving.get()]
            while len(batch) < BATCH and not self._leaving.empty():
                batch.append(self._leaving.get_nowait())
            await self._delete(batch)

    async def _delete(self, batch: Sequence[Leaving]) -> None:
        try:
            refused = await self._queue.delete([message for message, _, _ in batch])
        except ConnectorError as error:
            for _, done, _ in batch:
                if not done.done():
                    done.set_exception(error)
            return
        for at, (message, done, tries) in enumerate(batch):
            refusal = refused.get(at)
            if refusal is not None and not refusal.ours:
                if tries < DELETE_TRIES:
                    self._leaving.put_nowait((message, done, tries + 1))
                elif not done.done():
                    done.set_exception(NotReady(f"{self._queue.url}: a message is not deleted: {refusal.reason}"))
                continue
            if refusal is not None:
                # Its time was up and it was handed over anew: what is committed already is found unchanged then.
                self._log.info("message not deleted; it comes again", reason=refusal.reason)
            self._held.pop(message.receipt, None)
            if not done.done():
                done.set_result(None)

    async def _release(self) -> None:
        messages = iter([message for message, _ in self._held.values()])
        with suppress(ConnectorError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                while batch := list(islice(messages, BATCH)):
                    await self._queue.hide(batch, 0)
