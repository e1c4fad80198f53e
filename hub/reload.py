"""Follows the configuration file while the hub runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from core.errors import AimeError, ConfigError
from hub.config import Config, load_config

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub.config")

GLANCE_SECONDS = 0.5
"""How often the file is looked at. The system's own notices are of its folder, where a store may be and each commit is
one; and they do not tell of a file behind a link, as a mounted ConfigMap is."""


class ConfigFollower:
    """Hands each readable edit of the file on; `error` is what is wrong with it as it is now."""

    def __init__(self, path: Path, apply: Callable[[Config], Awaitable[None]]) -> None:
        self._path = path
        self._apply = apply
        self._stopping = asyncio.Event()
        self._seen: tuple[int, int, int] | None = None
        self.error: str | None = None

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until it is stopped."""
        await self.look()  # what was edited since it was read for the start
        before = self._seen
        while not await self._stopped(GLANCE_SECONDS):
            now = self._signature()
            # Editors write in several steps: one reload is enough, once they are through.
            if now != self._seen and now == before:
                await self.look()
            before = now

    async def _stopped(self, within: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                return await self._stopping.wait()
        return False

    async def look(self) -> None:
        """Read the file, and hand it on if it can be used. If not, nothing changes."""
        self._seen = self._signature()
        try:
            await self._apply(await asyncio.to_thread(load_config, self._path))
        except ConfigError as error:
            if self.error != error.message:
                log.warning("configuration not followed", error=error.message)
            self.error = error.message
        except AimeError as error:
            log.warning("configuration not followed", error=error.message)
            self.error = error.message
        else:
            self.error = None

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes whenever the file is written or replaced; None while it is not there."""
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
