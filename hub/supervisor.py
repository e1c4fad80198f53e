"""Owns every task of the running hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Self

import structlog

from hub.runners.schedule import backoff

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")

CANCEL_SECONDS = 2.0


class Supervisor:
    """Keeps tasks going. Runners handle what they expect; what they do not expect is a defect: it is logged, the task
    starts again after a rest, and no other is touched."""

    def __init__(self) -> None:
        self._alive: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends every task. A task group would wait for one that does not let itself be cancelled, for ever if need be;
        here it is given up after `CANCEL_SECONDS`, by its name."""
        await self.finish(within=0.0)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def begin_stop(self) -> None:
        """Start nothing again, and wake whoever pauses."""
        self._stopping.set()

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run until it returns."""
        task = asyncio.create_task(self._keep_going(name, run), name=name)
        self._alive.add(task)
        task.add_done_callback(self._alive.discard)
        return task

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past the beginning of a stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def finish(
        self, tasks: Collection[asyncio.Task[None]] | None = None, *, within: float, grace: float = CANCEL_SECONDS
    ) -> None:
        """Wait for these tasks (without: for all), and cut off those that have not ended in time; they get `grace` to
        clean up. What they held unsettled comes again: it is neither acknowledged nor checkpointed."""
        waited = [task for task in (self._alive if tasks is None else tasks) if not task.done()]
        if not waited:
            return
        _, late = await asyncio.wait(waited, timeout=within)
        for task in late:
            log.warning("cut off", task=task.get_name())
            task.cancel()
        if late:
            _, lost = await asyncio.wait(late, timeout=grace)
            for task in lost:
                log.error("does not let itself be cut off; it is left behind", task=task.get_name())
                self._alive.discard(task)

    async def _keep_going(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            try:
                await run()
            except Exception:  # whatever the defect: one task must not end the hub, nor stay down unseen
                failures += 1
                log.exception("task broke off", task=name, failures=failures)
            else:
                return
            await self.pause(backoff(failures))
            if self.stopping:
                return
