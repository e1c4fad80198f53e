"""Hearing that another node committed: LISTEN on a connection of its own, made again whenever it is lost.

A notification only wakes. One that is missed costs the time until the log is looked at anyway, never an entry.
"""

from __future__ import annotations

import asyncio

import structlog

from core.errors import StoreError
from core.pulse import Pulse
from core.store.postgres.connection import Connection, Database, translated
from core.store.postgres.write import CHANNEL

RETRY_SECONDS = 1.0

log = structlog.stdlib.get_logger(__name__)


class Listener:
    """Beats `heard` for each commit of a writer other than `own`."""

    def __init__(self, database: Database, own: str) -> None:
        self.heard = Pulse()
        self._database = database
        self._own = own
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="postgres: listen")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except StoreError as error:
                log.info("other nodes are not heard; the log is looked at instead", reason=error.message)
            await asyncio.sleep(RETRY_SECONDS)

    async def _hear(self) -> None:
        """Returns, or raises StoreError, once the connection is lost."""
        connection = await self._database.alone()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            with translated(self._database.name):
                await connection.add_listener(CHANNEL, self._on_commit)
            # What was committed before now was not heard.
            self.heard.beat()
            await lost.wait()
        finally:
            connection.terminate()

    def _on_commit(self, _connection: Connection, _pid: int, _channel: str, writer: str) -> None:
        if writer != self._own:
            self.heard.beat()
