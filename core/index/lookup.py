"""Entities to look at: lists, and one with its surroundings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.index.documents import Documents
from core.index.entities import Entities
from core.index.view import View
from core.model import EntityDocument, EntitySummary, EntityView, NamedEntity, Neighbour
from core.naming import normalise

MAX_DOCUMENTS = 100
MAX_NEIGHBOURS = 50


def named(entities: Entities, number: int) -> NamedEntity:
    return NamedEntity(**_name(entities, number))


def summaries(view: View, entities: Entities, text: str, limit: int) -> list[EntitySummary]:
    """Entities whose name contains `text`: those that begin with it first, then the most mentioned."""
    sought = normalise(text)
    found: list[tuple[bool, int, int]] = []
    for number in np.flatnonzero(view.frequency).tolist():
        name = entities.labels[number].casefold()
        if sought in name:
            found.append((not name.startswith(sought), -int(view.frequency[number]), number))
    numbers = [number for _, _, number in sorted(found)[:limit]]
    return [
        EntitySummary(
            **_name(entities, number),
            documents=len(np.unique(view.row[_chunks(view, number)])),
            chunks=int(view.frequency[number]),
        )
        for number in numbers
    ]


def entity_view(view: View, entities: Entities, documents: Documents, number: int) -> EntityView:
    """The entity with the documents that name it and what they name beside it, the most frequent first."""
    chunks = _chunks(view, number)
    rows, counts = np.unique(view.row[chunks], return_counts=True)
    beside = view.edges.entity[np.isin(view.edges.chunk, chunks)]
    others, shared = np.unique(beside[beside != number], return_counts=True)
    return EntityView(
        **_name(entities, number),
        documents=len(rows),
        chunks=len(chunks),
        named_in=tuple(
            EntityDocument(
                document_id=documents.ids[rows[at]],
                title=entities.labels[title] if (title := documents.title.values[rows[at]]) >= 0 else None,
                chunks=int(counts[at]),
            )
            for at in np.lexsort((rows, -counts))[:MAX_DOCUMENTS]
        ),
        neighbours=tuple(
            Neighbour(**_name(entities, int(others[at])), chunks=int(shared[at]))
            for at in np.lexsort((others, -shared))[:MAX_NEIGHBOURS]
        ),
    )


def _chunks(view: View, number: int) -> npt.NDArray[np.int32]:
    chunks: npt.NDArray[np.int32] = view.edges.chunk[view.edges.entity == number]
    return chunks


def _name(entities: Entities, number: int) -> dict[str, str]:
    return {
        "id": f"{int(entities.ids.values[number]):016x}",
        "type": entities.types[number],
        "name": entities.labels[number],
    }
