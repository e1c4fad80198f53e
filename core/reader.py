"""The one way out: an index that follows the log, and the questions asked of it.

The index lives in a thread of its own, where feeding and searching take turns; so it needs no locks, and the event loop
is never held. One task owns it: only that task opens, feeds and replaces it. It is a view: whatever happens to it, it
is made again from the log.
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

from core.answering.cache import Edition
from core.errors import AimeError, StoreCorrupt, StoreError, StoreUnavailable, VersionTimeout, VersionUnavailable
from core.index import Index
from core.pulse import Pulse
from core.store.base import Store
from core.writer import Writer

FEED = 256
"""Log entries applied at a time: a query waits for one such turn at the most."""
LINGER_SECONDS = 0.2
BUSY_LINGER_SECONDS = 10.0
"""How long commits may gather before they are applied, unless somebody asks: together they cost a fraction, and while
documents keep coming the index would only compete with their commits, unless those wait for analysis. It goes on as
long as the log's tail has room: what a question then waits for is about a second's work."""
QUIET_SECONDS = 0.5
"""How long nothing is committed before the index prepares for the next question."""
SHORT_CHUNKS = 1_000
"""With fewer new ones there is nothing to prepare…"""
LONG_CHUNKS = 10_000
"""…and with so many a question would wait for long: the index takes none before."""
RETRY_SECONDS = 1.0
RENEW_SECONDS = 600.0

log = structlog.stdlib.get_logger(__name__)

R = TypeVar("R")


class IndexBroken(Exception):
    """The index failed in a way that is not the question's fault: a damaged file, a full disk."""


class Reader:
    """Keeps the index at the head of the log. `language` is the code of that of documents which name none; `has_time`
    says whether the index would hold up no commit now."""

    def __init__(self, store: Store, writer: Writer, language: str, has_time: Callable[[], bool]) -> None:
        self._store = store
        self._directory: Path | None = None
        self._writer = writer
        self._language = language
        self._has_time = has_time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._applied = Pulse()
        self._wake = asyncio.Event()
        """Somebody waits: do not linger."""
        self._index: Index | None = None
        self._prepared = False
        """Whether the index has done, since it was opened, what the first question would wait for."""
        self._opened_at = 0
        """The graph version then."""
        self._floor = 0
        self._broken = False
        self._failures = 0
        """In a row. An index that breaks again at once is kept in memory: its folder may be what is wrong."""
        self._trouble: StoreError | None = None
        """Why the log cannot be read."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._directory = self._store.index_folder
        self._task = asyncio.create_task(self._follow(), name="reader: follow the log")

    async def close(self) -> None:
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            await self._close_index()
        finally:
            self._thread.shutdown()

    @property
    def version(self) -> int:
        """The graph version that the index stands at."""
        return self._index.version if self._index is not None else 0

    @property
    def edition(self) -> Edition:
        """What an answer depends on beside its question."""
        return Edition(self._floor, self.version)

    @property
    def ready(self) -> bool:
        """The index has applied what the log held when it was opened, and no question waits for it to be prepared.
        Others may go on committing faster than it follows."""
        return self._index is not None and self._prepared and not self._broken

    @property
    def caught_up(self) -> bool:
        """It has applied the whole log, too."""
        return self.ready and self.version >= self._writer.head

    async def reach(self, version: int, timeout: float) -> None:
        """Wait until the index has applied `version`. Raises VersionTimeout, or the StoreError that keeps it back."""
        try:
            async with asyncio.timeout(timeout):
                while self._index is None or self._broken or self._index.version < version:
                    if self._trouble is not None:
                        raise self._trouble
                    self._wake.set()
                    await self._applied.wait(None)
        except TimeoutError:
            reason = f"the index is at version {self.version}; {version} was not reached in {timeout:g} s"
            raise VersionTimeout(reason) from None

    async def catch_up(self) -> None:
        """Wait until it has, however long that takes. Raises the StoreError that keeps it back."""
        while not self.caught_up:
            if self._trouble is not None:
                raise self._trouble
            self._wake.set()
            await self._applied.wait(None)

    async def ask(self, question: Callable[[Index], R]) -> R:
        """`question(index)` in the index's thread. Raises what the question raises, and StoreUnavailable when the index
        turns out to be broken; it is then made anew."""
        if self._index is None or self._broken:
            raise StoreUnavailable("the index is being made anew")
        try:
            return await self._on_index(question, self._index)
        except IndexBroken as error:
            log.warning("the index broke on a question", reason=str(error))
            self._broken = True
            self._rouse()
            raise StoreUnavailable("the index is being made anew") from error

    async def renew(self) -> None:
        """Make the index anew once history has been collected; the old one answers until the new one is ready. Raises
        VersionTimeout when that takes more than `RENEW_SECONDS`."""
        floor = await self._store.floor()
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                while self._floor < floor:
                    self._rouse()
                    await self._applied.wait(LINGER_SECONDS)
        except TimeoutError:
            raise VersionTimeout("the index was not made anew in time; it goes on being made") from None

    # -- following

    async def _follow(self) -> None:
        while True:
            try:
                await self._keep_up()
                await self._rest()
            except StoreError as error:
                if self._trouble is None:
                    log.warning("the log cannot be read", reason=error.message)
                self._trouble = error
                self._applied.beat()
                await asyncio.sleep(RETRY_SECONDS)
            except IndexBroken as error:
                self._failures += 1
                log.warning("the index is made anew", reason=str(error), failures=self._failures)
                await self._drop()
                if self._failures > 1:
                    await asyncio.sleep(RETRY_SECONDS)
            else:
                await self._linger()

    async def _rest(self) -> None:
        """Wait until there is something to do. Where nothing is for a while, what the next question would wait for is
        done."""
        within: float | None = QUIET_SECONDS
        while self._index is not None and self.caught_up and not self._wake.is_set():
            if not await self._writer.committed.wait(within):
                within = None
                await self._on_index(Index.prepare, self._index, SHORT_CHUNKS)

    async def _linger(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BUSY_LINGER_SECONDS):
                head = -1
                while head < self._writer.head and self._writer.tail.has_room and not self._has_time():
                    head = self._writer.head
                    if await self._woken(LINGER_SECONDS):
                        break
        self._wake.clear()

    async def _woken(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                return await self._wake.wait()
        except TimeoutError:
            return False

    def _rouse(self) -> None:
        """Have the follower look now."""
        self._wake.set()
        self._writer.committed.beat()

    async def _keep_up(self) -> None:
        """Bring the index to the head of the log, having opened, mended or exchanged it as need be."""
        if self._broken:
            raise IndexBroken("a question found it broken")
        floor = await self._store.floor()
        if self._index is None:
            fresh = await self._open(floor)
            await self._run(self._sweep, floor)
            self._index, self._floor, self._prepared = fresh, floor, False
            self._opened_at = self._writer.head
        while await self._feed(self._index, self._floor):
            self._applied.beat()
            await self._prepare(self._index)
        await self._prepare(self._index)
        if floor != self._floor:
            await self._exchange(self._index, floor)
        await self._on_index(Index.flush, self._index)
        self._writer.tail.drop(self._index.version)
        self._trouble = None
        self._failures = 0
        self._applied.beat()

    async def _prepare(self, index: Index) -> None:
        if not self._prepared and index.version >= self._opened_at:
            await self._on_index(Index.prepare, index, LONG_CHUNKS)
            self._prepared = True

    async def _exchange(self, old: Index, floor: int) -> None:
        """Replace an index that was begun at a lower floor. It answers, and is fed, until the new one is there."""
        fresh = await self._open(floor)
        while await self._feed(fresh, floor):
            await self._feed(old, self._floor)
            self._applied.beat()
        await self._on_index(Index.prepare, fresh, LONG_CHUNKS)
        self._index, self._floor = fresh, floor
        await self._on_index(Index.close, old)
        await self._run(self._sweep, floor)

    async def _feed(self, index: Index, floor: int) -> bool:
        """Apply the next stretch of the log to an index that was begun at this floor; whether there was one."""
        entries = self._writer.tail.after(index.version, FEED)
        if not entries:
            try:
                entries = await self._store.changes(index.version, FEED, content=True, began=floor)
            except VersionUnavailable:
                # Another process collected what this index has not read: the floor rose, so it is exchanged next.
                return False
        if entries:
            await self._on_index(Index.apply, index, entries)
        return bool(entries)

    async def _open(self, floor: int) -> Index:
        kept = self._directory is not None and self._failures < 2
        directory = self._directory / str(floor) if self._directory is not None and kept else None
        index = Index(directory, self._language)
        await self._on_index(Index.open, index, floor)
        return index

    async def _close_index(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            try:
                await self._on_index(Index.close, index)
            except IndexBroken as error:
                # It is a view, and is made again at the next start.
                log.warning("the index did not close", reason=str(error))

    async def _drop(self) -> None:
        await self._close_index()
        self._broken = False
        if self._directory is not None:
            await self._run(partial(shutil.rmtree, ignore_errors=True), self._directory)

    def _sweep(self, floor: int) -> None:
        """Remove the folders of indexes made before the floor rose."""
        for folder in self._directory.iterdir() if self._directory and self._directory.is_dir() else ():
            if folder.name != str(floor):
                shutil.rmtree(folder, ignore_errors=True)

    async def _on_index(self, work: Callable[..., R], *args: Any) -> R:
        """Work on an index. Errors of the question pass; all others are raised as IndexBroken."""
        try:
            return await self._run(work, *args)
        except StoreCorrupt as error:
            raise IndexBroken(error.message) from error
        except (AimeError, asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # A panic in the index's native code derives from BaseException; it ends the call, not the process.
            raise IndexBroken(f"{type(error).__name__}: {error}") from error

    async def _run(self, work: Callable[..., R], *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args))
