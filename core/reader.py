"""The one way out: an index that follows the log, and the questions asked of it.

The index lives in a thread of its own, where feeding and searching take turns; so it needs no locks, and the event loop
is never held. It is a view: whatever happens to it, it is made again from the log.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from core.errors import StoreUnavailable, VersionTimeout
from core.index import Index
from core.pulse import Pulse
from core.store.base import Store
from core.writer import Writer

FEED = 256
"""Log entries applied at a time: a query waits for one such turn at the most."""
LINGER_SECONDS = 0.2
BUSY_LINGER_SECONDS = 2.0
"""How long commits may gather before they are applied, unless somebody asks: together they cost a fraction, and while
documents keep coming the index would only compete with their commits."""
RETRY_SECONDS = 1.0
OPEN_SECONDS = 60.0
"""How long the first index may take to open."""

log = structlog.stdlib.get_logger(__name__)

R = TypeVar("R")


class Reader:
    """Keeps the index at the head of the log. `directory` None keeps it in memory only."""

    def __init__(self, store: Store, directory: Path | None, writer: Writer) -> None:
        self._store = store
        self._directory = directory
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._applied = Pulse()
        self._hurry = asyncio.Event()
        self._turn = asyncio.Lock()
        """Held while the current index is fed or exchanged."""
        self._index: Index | None = None
        self._floor = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="reader: follow the log")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._index is not None:
            await self._run(self._index.close)
        self._thread.shutdown()

    @property
    def version(self) -> int:
        """The graph version that the index stands at."""
        return self._index.version if self._index is not None else 0

    @property
    def caught_up(self) -> bool:
        return self._index is not None and self._index.version >= self._writer.head

    async def reach(self, version: int, timeout: float) -> None:
        """Wait until the index has applied `version`. Raises VersionTimeout."""
        try:
            async with asyncio.timeout(timeout):
                while self._index is None or self._index.version < version:
                    self._hurry.set()
                    await self._applied.wait(None)
        except TimeoutError:
            reason = f"the index is at version {self.version}; {version} was not reached in {timeout:g} s"
            raise VersionTimeout(reason) from None

    async def ask(self, question: Callable[[Index], R]) -> R:
        """`question(index)` in the index's thread."""
        if self._index is None:
            raise StoreUnavailable("the index is being built")
        return await self._run(question, self._index)

    async def renew(self) -> None:
        """Make the index anew, once history has been collected; the old one answers until the new one is ready."""
        # The follower sweeps away other indexes while it opens the first one.
        await self.reach(0, OPEN_SECONDS)
        floor = await self._store.floor()
        if floor == self._floor:
            return
        fresh = await self._open(floor)
        while await self._feed(fresh, floor):
            pass
        async with self._turn:
            while await self._feed(fresh, floor):
                pass
            old, self._index, self._floor = self._index, fresh, floor
            if old is not None:
                await self._run(old.close)
        await self._run(self._sweep, floor)

    # -- following

    async def _follow(self) -> None:
        while True:
            try:
                await self._catch_up()
            except Exception:
                # Whatever broke it (a full disk, a damaged file), the index is a view: begin again from the log.
                log.exception("the index failed and is made anew", retry_seconds=RETRY_SECONDS)
                await self._drop()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if self.caught_up:
                await self._writer.committed.wait(None)
                await self._linger()

    async def _linger(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BUSY_LINGER_SECONDS):
                while not await self._hurried(LINGER_SECONDS) and self._writer.queued:
                    pass
        self._hurry.clear()

    async def _hurried(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                return await self._hurry.wait()
        except TimeoutError:
            return False

    async def _catch_up(self) -> None:
        if self._index is None:
            self._floor = await self._store.floor()
            fresh = await self._open(self._floor)
            await self._run(self._sweep, self._floor)
            self._index = fresh
        while True:
            async with self._turn:
                more = await self._feed(self._index, self._floor)
                self._writer.tail.drop(self._index.version)
                if not more:
                    await self._run(self._index.flush)
            self._applied.beat()
            if not more:
                return

    async def _feed(self, index: Index, floor: int) -> bool:
        """Apply the next stretch of the log to an index that was begun at this floor; whether there was one."""
        entries = self._writer.tail.after(index.version, FEED)
        if not entries:
            entries = await self._store.changes(index.version, FEED, content=True, began=floor)
        if entries:
            await self._run(index.apply, entries)
        return bool(entries)

    async def _open(self, floor: int) -> Index:
        index = Index(self._directory / str(floor) if self._directory else None)
        await self._run(index.open, floor)
        return index

    async def _drop(self) -> None:
        index, self._index = self._index, None
        await self._run(self._discard, index)

    def _discard(self, index: Index | None) -> None:
        try:
            if index is not None:
                index.close()
        except Exception:
            log.exception("the broken index did not close")
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _sweep(self, floor: int) -> None:
        """Remove the folders of indexes made before the floor rose."""
        for folder in self._directory.iterdir() if self._directory else ():
            if folder.name != str(floor):
                shutil.rmtree(folder, ignore_errors=True)

    async def _run(self, work: Callable[..., R], *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args))
