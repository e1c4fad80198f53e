"""What an origin brought, so that it can take back what is gone, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from core.store.base import Store

PAGE = 500
PIECE = 256
"""Ids that are looked up, and deleted, at a time."""


async def owned(store: Store, origin: str) -> dict[str, int]:
    """The documents that `origin` brought, with their versions."""
    found: dict[str, int] = {}
    after = ""
    while page := await store.scan(after=after, limit=PAGE, origin=origin):
        found.update((document.document_id, document.v_from) for document in page)
        after = page[-1].document_id
    return found


async def unchanged(store: Store, versions: Mapping[str, int]) -> AsyncIterator[Sequence[str]]:
    """Those of the documents that still have these versions, piece by piece. What was written since they were looked up
    is at its source again."""
    ids = sorted(versions)
    for at in range(0, len(ids), PIECE):
        piece = ids[at : at + PIECE]
        held = await store.documents(piece)
        yield [id_ for id_ in piece if id_ in held and held[id_].v_from == versions[id_]]
