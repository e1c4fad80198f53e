"""Follows the configuration file while the hub runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from core.errors import AimeError, ConfigError
from hub.config import Config, load_config

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub.config")

DEBOUNCE_MS = 300
"""Editors write in several steps; one reload is enough."""
GLANCE_MS = 1_000
"""How often the file is compared with what was read: a watch takes a moment to begin, and does not see everything."""
LINKED_FOLDER = "..data"
"""A mounted ConfigMap is replaced by turning this link; the file's own name never changes."""


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
        """Until it is stopped. The folder is watched, since editors put a new file in the old one's place."""
        await self.look()  # what was edited since it was read for the start
        async for changed in awatch(
            self._path.absolute().parent,
            watch_filter=self._concerns,
            debounce=DEBOUNCE_MS,
            stop_event=self._stopping,
            recursive=False,
            rust_timeout=GLANCE_MS,
            yield_on_timeout=True,
        ):
            if changed or self._signature() != self._seen:
                await self.look()

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

    def _concerns(self, _: Change, path: str) -> bool:
        return Path(path).name in (self._path.name, LINKED_FOLDER)
