"""Entities to look at: lists, and one with its surroundings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from core.analysis import title_name
from core.index.documents import Documents
from core.index.entities import Entities
from core.index.view import View
from core.naming import normalise
from core.views import EntityDocument, EntitySummary, EntityView, NamedEntity, Neighbour

MAX_DOCUMENTS = 100
MAX_NEIGHBOURS = 50
MAX_QUOTED_CHUNKS = 50


class Names:
    """What to call an entity in one view: as the first visible chunk that names it does, or else the first visible
    title. A spelling from a hidden document is not shown."""

    def __init__(self, view: View, entities: Entities, documents: Documents) -> None:
        self._view = view
        self._entities = entities
        self._documents = documents

    def named(self, number: int) -> NamedEntity:
        return NamedEntity(**self.of(number))

    def of(self, number: int) -> dict[str, str]:
        """The fields of a NamedEntity."""
        return {
            "id": f"{int(self._entities.ids.values[number]):016x}",
            "type": self._entities.type(number),
            "name": self.label(number),
        }

    def key(self, number: int) -> str:
        """The normalised name, which all spellings share."""
        return normalise(self._entities.labels[number])

    def ids(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The entities' ids: an order that no document has a part in."""
        ids: npt.NDArray[np.int64] = self._entities.ids.values[numbers]
        return ids

    def label(self, number: int) -> str:
        first_ever = self._entities.labels[number]
        spellings = self._entities.spellings.get(number)
        if spellings is None:
            return first_ever
        first = int(self._view.first_chunk[number])
        if first >= 0:
            return spellings.get(first, first_ever)
        for title in self._documents.titles_of(number, self._view.row):
            return title_name(title)
        return normalise(first_ever)


def summaries(view: View, names: Names, text: str, limit: int) -> list[EntitySummary]:
    """Entities whose name contains `text`: those that begin with it first, then the most mentioned."""
    sought = normalise(text)
    found: list[tuple[bool, int, str, int]] = []
    for number in np.flatnonzero(view.frequency).tolist():
        name = names.key(number)
        if sought in name:
            found.append((not name.startswith(sought), -int(view.frequency[number]), name, number))
    # Two types may have the same name.
    found.sort(key=lambda one: (*one[:3], int(names.ids(np.array([one[3]]))[0])))
    return [
        EntitySummary(
            **names.of(number),
            documents=len(np.unique(view.row[_chunks(view, number)])),
            chunks=int(view.frequency[number]),
        )
        for *_, number in found[:limit]
    ]


def entity_view(view: View, names: Names, documents: Documents, number: int) -> EntityView:
    """The entity with the documents that name it and what they name beside it, the most frequent first."""
    chunks = _chunks(view, number)
    rows, counts = np.unique(view.row[chunks], return_counts=True)
    beside = view.edges.entity[np.isin(view.edges.chunk, chunks)]
    others, shared = np.unique(beside[beside != number], return_counts=True)
    return EntityView(
        **names.of(number),
        documents=len(rows),
        chunks=len(chunks),
        named_in=tuple(
            EntityDocument(
                document_id=documents.ids[rows[at]],
                title=documents.written_title(rows[at]),
                chunks=int(counts[at]),
            )
            for at in np.lexsort((rows, -counts))[:MAX_DOCUMENTS]
        ),
        neighbours=tuple(
            Neighbour(**names.of(int(others[at])), chunks=int(shared[at]))
            for at in np.lexsort((names.ids(others), -shared))[:MAX_NEIGHBOURS]
        ),
    )


def evidence(view: View, number: int) -> npt.NDArray[np.int64]:
    """Positions, ascending: the first chunks that name the entity, and the first of each of some documents."""
    chunks = _chunks(view, number)
    _, firsts = np.unique(view.row[chunks], return_index=True)
    return np.union1d(chunks[:MAX_QUOTED_CHUNKS], chunks[np.sort(firsts)[:MAX_DOCUMENTS]]).astype(np.int64)


def _chunks(view: View, number: int) -> npt.NDArray[np.int32]:
    chunks: npt.NDArray[np.int32] = view.edges.chunk[view.edges.entity == number]
    return chunks
