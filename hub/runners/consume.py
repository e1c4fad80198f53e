"""The runner of a consuming instance: each message of a queue is committed, then acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

from core.errors import AuthFailed, Busy, NotReady, NotSent, RateLimited, StoreError
from core.model import ProcessResult
from hub.instance import Instance, describe
from hub.runners.intake import Intake
from hub.runners.schedule import backoff
from hub.sdk import Consumes, Delivery

IN_FLIGHT = 256
"""Messages that may be on their way to the commit at a time: enough to fill several group commits. A connector that
hands over fewer before they are acknowledged (its prefetch) sets a lower bound."""
LONGEST_REST = 5.0
"""Seconds. Another try is one connection, and a queue may fill meanwhile."""
SETTLE_SECONDS = 30.0
"""For one acknowledgement."""


class ConsumeRunner:
    """Drives one instance that consumes, until the instance is stopped. Messages reach the writer in the order in which
    they came; what is neither acknowledged nor rejected, the queue delivers again."""

    def __init__(self, instance: Instance, connector: Consumes, intake: Intake) -> None:
        self._instance = instance
        self._connector = connector
        self._intake = intake

    async def run(self) -> None:
        """Until the instance is stopped."""
        instance = self._instance
        while not instance.stopping:
            if instance.halted:
                await instance.changed.wait(None)
                continue
            instance.running()
            delay = await self._attempt()
            if not (instance.stopping or instance.halted):
                instance.waiting(instance.now() + timedelta(seconds=delay))
                await instance.changed.wait(delay)

    async def _attempt(self) -> float:
        """Consume until the queue ends or fails, or the instance is halted; the seconds to rest then."""
        instance = self._instance
        try:
            await self._consume()
        except (NotSent, RateLimited, Busy) as error:
            instance.stumbled(error)
            return backoff(2, error.retry_after)
        except StoreError as error:
            instance.stumbled(error)
            return backoff(2)
        except NotReady as error:
            instance.failed(error)
            return max(min(backoff(instance.status.failures), LONGEST_REST), error.retry_after or 0.0)
        except AuthFailed as error:
            instance.failed(error, for_good=True)
            return 0.0
        except Exception as error:
            instance.log.exception("consuming broke off")
            instance.failed(error)
        return backoff(instance.status.failures)

    async def _consume(self) -> None:
        slots = asyncio.Semaphore(IN_FLIGHT)
        async with AsyncExitStack() as stack:
            deliveries = self._connector.deliveries()
            if close := getattr(deliveries, "aclose", None):
                stack.push_async_callback(close)
            try:
                async with asyncio.TaskGroup() as tasks:
                    reader = tasks.create_task(self._read(deliveries, slots, tasks))
                    guard = tasks.create_task(self._until_halted(reader, slots))
                    reader.add_done_callback(lambda _: guard.cancel())
            except BaseExceptionGroup as group:
                # The first error ended the others; messages under way come again.
                raise group.exceptions[0] from None

    async def _read(
        self, deliveries: AsyncIterator[Delivery], slots: asyncio.Semaphore, tasks: asyncio.TaskGroup
    ) -> None:
        async for delivery in deliveries:
            await slots.acquire()
            if self._instance.stopping or self._instance.halted:
                return
            task = tasks.create_task(self._settle(delivery))
            task.add_done_callback(lambda _: slots.release())

    async def _until_halted(self, reader: asyncio.Task[None], slots: asyncio.Semaphore) -> None:
        """Ends the reader when the instance is paused or stopped: after the messages under way have settled, since what
        closes the reader closes the connection that they are acknowledged by."""
        while not (self._instance.stopping or self._instance.halted):
            await self._instance.changed.wait(None)
        for _ in range(IN_FLIGHT):
            await slots.acquire()
        reader.cancel()

    async def _settle(self, delivery: Delivery) -> None:
        """Acknowledge after the commit. A message of which something was refused is kept whole, or else rejected, so
        that it is not lost: what fits of it is committed in any case."""
        try:
            results = await self._submit(delivery)
        except Poison as poison:
            reason: str | None = str(poison)
        else:
            self._instance.succeeded()
            reason = next((each.error.message for each in results if each.error), None)
        kept = reason is None or (delivery.body is not None and await self._intake.keep(delivery.body, reason))
        async with asyncio.timeout(SETTLE_SECONDS):
            await (delivery.ack() if kept else delivery.reject(reason or ""))

    async def _submit(self, delivery: Delivery) -> list[ProcessResult]:
        """Raises StoreError, and Poison for a message that fails on every try."""
        tries = self._instance.settings.quarantine_after
        for number in range(1, tries + 1):
            try:
                return await self._intake.submit(delivery.changes)
            except StoreError:
                raise
            except Exception as error:
                self._instance.log.exception("message failed", number=number)
                last = error
                if number < tries:
                    await asyncio.sleep(min(1.0, 0.05 * 2**number))
        reason = f"failed {tries} times: {describe(last)}"
        await self._intake.set_aside(delivery.changes, reason)
        raise Poison(reason)


class Poison(Exception):
    """A message that cannot be taken, however often it is tried."""
