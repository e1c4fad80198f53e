"""The entities that chunks name, and the links between the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from core.index.columns import Column
from core.model import Entity, EntityType, StoredChunk
from core.naming import MAX_NAME_CHARS, normalise

EMPTY: Mapping[int, str] = {}
OWN_TITLE_WEIGHT = 3.0
"""How much a chunk's link to its own document's title counts, in units of one mention."""


class Entities:
    """Every entity ever named, in the order of the log: a number for each, its label and type.

    `labels` are first spellings, which may come from a document that a viewer does not see; `spellings` has, by entity
    and chunk position, those that differ, and None for a chunk that names it without spelling it out."""

    def __init__(self) -> None:
        self._number: dict[int, int] = {}
        self.ids = Column(np.int64)
        self.labels: list[str] = []
        self.types: list[EntityType] = []
        self.spellings: dict[int, dict[int, str | None]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def number(self, entity: Entity) -> int:
        """The entity's number; a new one if it is new."""
        number = self._number.get(entity.id)
        if number is None:
            number = self._number[entity.id] = len(self.labels)
            self.ids.append(entity.id)
            self.labels.append(entity.label)
            self.types.append(entity.type)
        return number

    def spell(self, number: int, position: int, spelling: str | None) -> None:
        """How the chunk at a position spells the entity."""
        if spelling != self.labels[number]:
            self.spellings.setdefault(number, {}).setdefault(position, spelling)

    def find(self, entity_id: int) -> int | None:
        return self._number.get(entity_id)


class Links:
    """Edges between chunk positions and entity numbers, of two kinds: mentions, which the chunk's own document
    supports, and titles found in its text, which hold only while a document of that title is visible."""

    def __init__(self) -> None:
        self._mention_chunk = Column(np.int32)
        self._mention_entity = Column(np.int32)
        self._mention_count = Column(np.float32)
        self._mention_title = Column(np.bool_)
        self._found_chunk = Column(np.int32)
        self._found_entity = Column(np.int32)
        self._found_count = Column(np.float32)
        self._edges: Edges | None = None

    def add_mentions(
        self, position: int, chunk: StoredChunk, entities: Entities, stated: Mapping[int, str] = EMPTY
    ) -> None:
        """`stated` has the labels, by entity id, that the document's metadata gives."""
        counts: dict[int, int] = {}
        title = -1
        for named, sentence, start, end, extractor, _ in chunk.mentions:
            number = entities.number(named)
            if sentence < 0 and extractor == "title":
                title = number
            if number not in counts:
                # The store keeps one label for an entity, so a spelling is read where it stands.
                spelled: str | None = chunk.text[start:end]
                if extractor != "span" and (sentence < 0 or normalise(chunk.text[start:end]) != named.name):
                    spelled = stated.get(named.id)
                if spelled != entities.labels[number]:
                    entities.spell(number, position, spelled and " ".join(spelled.split())[:MAX_NAME_CHARS])
            counts[number] = counts.get(number, 0) + 1
        self._mention_chunk.extend([position] * len(counts))
        self._mention_entity.extend(counts)
        self._mention_count.extend(counts.values())
        self._mention_title.extend([number == title for number in counts])
        self._edges = None

    def add_found(self, matches: Iterable[tuple[int, int, int]]) -> None:
        rows = list(matches)
        if rows:
            chunks, entities, counts = zip(*rows, strict=True)
            self._found_chunk.extend(chunks)
            self._found_entity.extend(entities)
            self._found_count.extend(counts)
            self._edges = None

    def edges(self, entities: int) -> Edges:
        """All edges, in one canonical order however they came."""
        if self._edges is None or self._edges.entity_count != entities:
            self._edges = self._join(entities)
        return self._edges

    def _join(self, entities: int) -> Edges:
        mentions, found = len(self._mention_chunk), len(self._found_chunk)
        chunk = np.concatenate([self._mention_chunk.values, self._found_chunk.values])
        entity = np.concatenate([self._mention_entity.values, self._found_entity.values])
        key = chunk.astype(np.int64) * max(entities, 1) + entity
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        stated = np.concatenate([self._mention_count.values, np.zeros(found, np.float32)])[order]
        seen = np.concatenate([np.zeros(mentions, np.float32), self._found_count.values])[order]
        title = np.concatenate([self._mention_title.values, np.zeros(found, np.bool_)])[order]
        keep = order[first]
        return Edges(
            chunk=chunk[keep],
            entity=entity[keep],
            stated=np.maximum.reduceat(stated, first) if len(first) else stated,
            found=np.maximum.reduceat(seen, first) if len(first) else seen,
            title=np.logical_or.reduceat(title, first) if len(first) else title,
            entity_count=entities,
        )


class Edges:
    """Edges as parallel arrays, by chunk, then entity. `stated` counts mentions, `found` titles matched in the text."""

    __slots__ = ("chunk", "entity", "entity_count", "found", "stated", "title")

    def __init__(
        self,
        *,
        chunk: npt.NDArray[Any],
        entity: npt.NDArray[Any],
        stated: npt.NDArray[Any],
        found: npt.NDArray[Any],
        title: npt.NDArray[Any],
        entity_count: int,
    ) -> None:
        self.chunk = chunk
        self.entity = entity
        self.stated = stated
        self.found = found
        self.title = title
        self.entity_count = entity_count

    def only(self, mask: npt.NDArray[np.bool_]) -> Edges:
        return Edges(
            chunk=self.chunk[mask],
            entity=self.entity[mask],
            stated=self.stated[mask],
            found=self.found[mask],
            title=self.title[mask],
            entity_count=self.entity_count,
        )
