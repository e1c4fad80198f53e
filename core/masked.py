"""The store as a viewer may see it: documents, and the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.index.facets import Filters
from core.model import LogEntry, StoredDocument, Viewer
from core.store.base import Store

PAGE = 500


class MaskedStore:
    """Access that was tightened holds for the past, too. Of a document that is gone the log keeps what was visible of
    its steps, and its versions are the operator's alone (docs/decisions/0011 and 0022)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def documents(
        self, document_ids: Collection[str], viewer: Viewer, as_of: int | None = None
    ) -> dict[str, StoredDocument]:
        """The versions that were current then, by id; those that `viewer` may not see are left out."""
        found = await self._store.documents(document_ids, as_of)
        return {
            id_: document
            for id_, document in found.items()
            if viewer.may_see(document.metadata.access) and await self._may_see_now(document, viewer)
        }

    async def _may_see_now(self, document: StoredDocument, viewer: Viewer) -> bool:
        if viewer.principals is None or document.v_to is None:
            return True
        current = (await self._store.documents([document.document_id])).get(document.document_id)
        return current is not None and viewer.may_see(current.metadata.access)

    async def matching(self, filters: Filters, viewer: Viewer, *, after: str, limit: int) -> list[StoredDocument]:
        """Current documents in the order of their ids, those past `after`."""
        found: list[StoredDocument] = []
        while len(found) < limit:
            page = await self._store.scan(after=after, limit=PAGE)
            found.extend(
                document
                for document in page
                if viewer.may_see(document.metadata.access) and filters.matches(document.document_id, document.metadata)
            )
            if len(page) < PAGE:
                break
            after = page[-1].document_id
        return found[:limit]

    async def changes(self, after: int, viewer: Viewer, *, limit: int, began: int | None) -> list[LogEntry]:
        """The log past `after`. Reads on past what is masked, so that an empty page means that there is nothing more;
        `began` and what is raised are those of `Store.changes`."""
        if after == 0 and began is None:
            began = await self._store.floor()
        while entries := await self._store.changes(after, limit, began=began):
            if visible := await self._steps(entries, viewer):
                return visible
            after = entries[-1].version
        return []

    async def _steps(self, entries: Sequence[LogEntry], viewer: Viewer) -> list[LogEntry]:
        """Those that `viewer` might see when they were taken, and has not been kept from since."""
        shown = [entry for entry in entries if viewer.may_see(entry.access)]
        if viewer.principals is None or not shown:
            return shown
        current = await self._store.documents({entry.document_id for entry in shown})
        return [
            entry
            for entry in shown
            if (held := current.get(entry.document_id)) is None or viewer.may_see(held.metadata.access)
        ]
