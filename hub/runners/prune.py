"""Pruning: documents that are gone at the source are deleted here, with care not to believe an empty shelf."""

from __future__ import annotations

import asyncio

from core.model import Delete
from core.service import GraphService
from hub.instance import Instance, RunReport
from hub.runners.intake import PIECE, Intake
from hub.sdk import Lists

PAGE = 500


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
        known = await self._known()
        async for document_id in connector.list_ids():
            known.pop(document_id, None)
            if not known:
                break
        await self._delete(known, report, force=force)

    async def _known(self) -> dict[str, int]:
        """The documents that this instance brought, with their versions."""
        known: dict[str, int] = {}
        after = ""
        while page := await self._service.store.scan(after=after, limit=PAGE, origin=self._instance.name):
            known.update((document.document_id, document.v_from) for document in page)
            after = page[-1].document_id
        self._total = len(known)
        return known

    async def _delete(self, gone: dict[str, int], report: RunReport, *, force: bool) -> None:
        limit = self._instance.settings.prune_limit
        self._instance.status.prune_waits = None
        if len(gone) > limit * self._total and not force:
            self._instance.status.prune_waits = (
                f"{len(gone)} of {self._total} documents are gone at the source, more than prune_limit "
                f"({limit:.0%}): run with force to delete them"
            )
            self._instance.log.warning("prune waits to be confirmed", gone=len(gone), known=self._total)
            return
        ids = sorted(gone)
        for at in range(0, len(ids), PIECE):
            piece = ids[at : at + PIECE]
            # What was written since it was looked up is at the source again.
            held = await self._service.store.documents(piece)
            same = [id_ for id_ in piece if id_ in held and held[id_].v_from == gone[id_]]
            report.count(await self._intake.submit([Delete(id_) for id_ in same]))
