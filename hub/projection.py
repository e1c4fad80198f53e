"""Keeps the projection of `[projection]` going beside everything else: it owns no part of a commit and nobody waits for
it, so a graph server that is down, hangs or answers garbage makes its lag grow, and nothing more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from core.errors import AimeError, StoreError
from core.service import GraphService
from core.store.base import Fences
from hub.config import ProjectionSettings
from hub.extras import require
from hub.runners.schedule import backoff

if TYPE_CHECKING:
    from core.aws.neptune import NeptuneClient
    from core.projection.projection import Projection

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")

IDLE_SECONDS = 15.0
"""How often a server is asked whether it still holds the projection, while nothing changes."""
LONGEST_REST = 30.0


def graph_client(settings: ProjectionSettings) -> NeptuneClient:
    """A client of the configured server. Raises ConfigError where the extra is not installed."""
    require("projection")
    from core.aws.neptune import NeptuneClient

    host, port, tls = settings.address
    return NeptuneClient(host, port, tls, settings.region, pool_size=1, timeout=settings.timeout_seconds)


class ProjectionRunner:
    """Follows the log into the graph server until `stop`. Making one raises ConfigError where the extra is missing."""

    def __init__(self, service: GraphService, settings: ProjectionSettings, *, fences: Fences = tuple) -> None:
        self.error: str | None = None
        """Why the last step failed; None while it works."""
        self._service = service
        self._settings = settings
        self._fences = fences
        self._projection: Projection | None = None
        self._stopping = asyncio.Event()
        require("projection")

    @property
    def version(self) -> int:
        """Up to which graph version the server is known to be written."""
        return self._projection.version if self._projection is not None else 0

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`; a step under way is cut off then, and done again at the next start."""
        from core.projection.gremlin import GremlinGraph
        from core.projection.projection import Projection

        async with graph_client(self._settings) as client:
            graph = GremlinGraph(client)
            projection = Projection(self._service, graph, with_chunks=self._settings.chunks, fences=self._fences)
            self._projection = projection
            following = asyncio.create_task(self._follow(projection), name="projection: following")
            stopping = asyncio.create_task(self._stopping.wait(), name="projection: stopping")
            try:
                await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.error = None
                following.cancel()
                stopping.cancel()
                await asyncio.wait({following, stopping})
            if not following.cancelled():
                following.result()  # only a defect ends it
            with suppress(StoreError):  # then the last step is done again
                await projection.close()

    async def _follow(self, projection: Projection) -> None:
        failures = 0
        while True:
            try:
                while await projection.step():
                    self._well()
                self._well()
                await projection.wait(IDLE_SECONDS)
                failures = 0
            except AimeError as error:
                failures += 1
                if self.error is None:
                    log.warning("projection fails", url=self._settings.url, error=error.message)
                self.error = error.message
                await asyncio.sleep(min(LONGEST_REST, backoff(failures)))

    def _well(self) -> None:
        if self.error is not None:
            log.info("projection works again", url=self._settings.url)
        self.error = None
