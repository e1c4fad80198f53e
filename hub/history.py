"""Lets go of what nobody asks for any more: replaced versions, notifications that have arrived, old audit records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from core.errors import StoreError
from core.service import GraphService
from hub.config import HubSettings
from hub.notify.follower import followed_upto
from hub.supervisor import Supervisor

EVERY_SECONDS = 3600.0
ROWS_AT_ONCE = 1_000
"""In one transaction, so that commits come in between."""
_ALL = 2**63 - 1

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")


async def keep_house(
    service: GraphService, supervisor: Supervisor, settings: HubSettings, *, now: Callable[[], datetime]
) -> None:
    """Every hour, drop what is older than `settings` say; until the supervisor stops. On several nodes, who comes first
    does it, by the clock of the store that they share: one whose own is ahead would drop what is to be kept."""
    while not supervisor.stopping:
        try:
            moment = await service.store.now() if service.store.shared else now()
            await collect_history(service, moment - settings.keep_history)
            await trim_deliveries(service, moment - settings.keep_deliveries)
            if settings.keep_audit is not None:
                await trim_audit(service, moment - settings.keep_audit)
        except StoreError as error:
            log.warning("what is old was not dropped", error=error.message)
        await supervisor.pause(EVERY_SECONDS)


async def collect_history(service: GraphService, before: datetime) -> None:
    """Drop what was replaced before then."""
    version = await service.store.version_at(before)
    if version > await service.store.floor():
        log.info("history collected", before=version, documents=await service.gc(version))


async def trim_deliveries(service: GraphService, before: datetime) -> None:
    """Drop notifications that were made before then and have arrived."""
    after: int | None = 0
    while after is not None:
        after = await service.store.trim_deliveries(before, after, ROWS_AT_ONCE)


async def trim_audit(service: GraphService, before: datetime) -> None:
    """Drop audit records from before then, and none that notifications are still to be made of."""
    upto = await followed_upto(service)
    while await service.store.trim_audit(before, _ALL if upto is None else upto, ROWS_AT_ONCE):
        pass
