"""A wake-up call that any number may wait for."""

from __future__ import annotations

import asyncio


class Pulse:
    """Wakes everybody who waits, each time it beats. Who looks at something first, and waits if it is not there yet,
    takes the `count` before it looks: else it would miss a beat that comes in between."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None
        """There while somebody waits: most beats are heard by nobody."""
        self.count = 0
        """Of the beats so far."""

    def beat(self) -> None:
        self.count += 1
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self, timeout: float | None, since: int | None = None) -> bool:
        """Whether it beat within `timeout` seconds, or has beaten since it had counted so many."""
        if since is not None and self.count != since:
            return True
        if self._event is None:
            self._event = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
