"""Lets go of versions that nobody may ask for any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from core.errors import StoreError
from core.service import GraphService
from hub.supervisor import Supervisor

EVERY_SECONDS = 3600.0

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")


async def collect_history(
    service: GraphService, supervisor: Supervisor, *, keep: timedelta, now: Callable[[], datetime]
) -> None:
    """Every hour, drop what was replaced longer than `keep` ago; until the supervisor stops. On several nodes, who
    comes first does it."""
    while not supervisor.stopping:
        try:
            before = await service.store.version_at(now() - keep)
            if before > await service.store.floor():
                log.info("history collected", before=before, documents=await service.gc(before))
        except StoreError as error:
            log.warning("history not collected", error=error.message)
        await supervisor.pause(EVERY_SECONDS)
