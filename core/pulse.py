"""A wake-up call that any number may wait for."""

from __future__ import annotations

import asyncio


class Pulse:
    """Wakes everybody who waits, each time it beats."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None
        """There while somebody waits: most beats are heard by nobody."""

    def beat(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self, timeout: float | None) -> bool:
        """Whether it beat within `timeout` seconds."""
        if self._event is None:
            self._event = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
