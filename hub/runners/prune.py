"""Pruning: documents that are gone at the source are deleted here, with care not to believe an empty shelf."""

from __future__ import annotations

import asyncio

from core.model import Delete
from core.ownership import owned, unchanged
from core.service import GraphService
from hub.instance import Instance, RunReport
from hub.runners.intake import Intake
from hub.sdk import Lists


class Pruner:
    """Compares what the store holds of an instance with what its source lists."""

    def __init__(self, instance: Instance, service: GraphService, intake: Intake) -> None:
        self._instance = instance
        self._service = service
        self._intake = intake
        self._last: float | None = None

    async def run_if_due(self, report: RunReport, *, force: bool) -> None:
        """Prune when the interval has passed; with `force` at once, and whatever the share."""
        every = self._instance.settings.prune
        if every is None:
            return
        now = asyncio.get_running_loop().time()
        if force or self._last is None or now - self._last >= every.total_seconds():
            await self._prune(report, force=force)
            self._last = now

    async def _prune(self, report: RunReport, *, force: bool) -> None:
        connector: object = self._instance.connector
        if not isinstance(connector, Lists):
            return
        # Before listing: a document that arrives meanwhile is not known here, and so is never taken for gone.
        known = await owned(self._service.store, self._instance.name)
        total = len(known)
        async for document_id in connector.list_ids():
            known.pop(document_id, None)
            if not known:
                break
        await self._delete(known, total, report, force=force)

    async def _delete(self, gone: dict[str, int], total: int, report: RunReport, *, force: bool) -> None:
        limit = self._instance.settings.prune_limit
        self._instance.status.prune_waits = None
        if len(gone) > limit * total and not force:
            self._instance.status.prune_waits = (
                f"{len(gone)} of {total} documents are gone at the source, more than prune_limit "
                f"({limit:.0%}): run with force to delete them"
            )
            self._instance.log.warning("prune waits to be confirmed", gone=len(gone), known=total)
            return
        async for same in unchanged(self._service.store, gone):
            report.count(await self._intake.submit([Delete(id_) for id_ in same]))
