"""The entities that chunks name, and the links between the two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from core.entities import Entity, EntityType, Naming
from core.index.columns import Column, Texts

OWN_TITLE_WEIGHT = 3.0
"""How much a chunk's link to its own document's title counts, in units of one mention."""

_TYPES = list(EntityType)
_PLACES: dict[str, int] = {type_: place for place, type_ in enumerate(_TYPES)}


class Entities:
    """Every entity ever named, in the order of the log: a number for each, its label and type.

    `labels` are first spellings, which may come from a document that a viewer does not see; `spellings` has, by entity
    and chunk position, those that differ."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        """By id."""
        self.ids = Column(np.int64)
        self.labels = Texts()
        self._types = bytearray()
        """Places in `_TYPES`."""
        self.spellings: dict[int, dict[int, str]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def number(self, entity: Entity) -> int:
        """The entity's number; a new one if it is new."""
        number = self.numbers.get(entity.id)
        return self._new(entity.id, entity.label, entity.type) if number is None else number

    def numbered(self, named: Naming, position: int) -> list[int]:
        """The numbers of those that the chunk at this position names; new ones for new entities."""
        held = self.numbers.get
        numbers = []
        for id_, label, type_ in zip(named.ids, named.labels, named.types, strict=True):
            number = held(id_)
            if number is None:
                number = self._new(id_, label, type_)
            elif label != self.labels[number]:
                self.spellings.setdefault(number, {})[position] = label
            numbers.append(number)
        return numbers

    def _new(self, id_: int, label: str, type_: str) -> int:
        number = self.numbers[id_] = len(self.labels)
        self.ids.append(id_)
        self.labels.append(label)
        self._types.append(_PLACES[type_])
        return number

    def type(self, number: int) -> EntityType:
        return _TYPES[self._types[number]]

    def find(self, entity_id: int) -> int | None:
        return self.numbers.get(entity_id)


class Links:
    """Edges between chunk positions and entity numbers, of two kinds: mentions, which the chunk's own document
    supports, and titles found in its text, which hold only while a document of that title is visible.

    What is added waits until the edges are asked for, and then joins those that are in order already."""

    def __init__(self) -> None:
        self._edges = Edges.none()
        self._await()

    def _await(self) -> None:
        self._mention_chunk = Column(np.int32)
        self._mention_entity = Column(np.int32)
        self._mention_count = Column(np.float32)
        self._mention_title = Column(np.bool_)
        self._found_chunk = Column(np.int32)
        self._found_entity = Column(np.int32)
        self._found_count = Column(np.float32)

    def add_mentions(self, position: int, named: Naming, entities: Entities) -> None:
        self._mention_chunk.extend([position] * len(named.ids))
        self._mention_entity.extend(entities.numbered(named, position))
        self._mention_count.extend(named.counts)
        self._mention_title.extend([id_ == named.title for id_ in named.ids])

    def add_found(self, matches: Iterable[tuple[int, int, int]]) -> None:
        rows = list(matches)
        if rows:
            chunks, entities, counts = zip(*rows, strict=True)
            self._found_chunk.extend(chunks)
            self._found_entity.extend(entities)
            self._found_count.extend(counts)

    def edges(self) -> Edges:
        """All edges, in one canonical order however they came."""
        mentions, found = len(self._mention_chunk), len(self._found_chunk)
        if mentions or found:
            added = Edges.joined(
                chunk=np.concatenate([self._mention_chunk.values, self._found_chunk.values]),
                entity=np.concatenate([self._mention_entity.values, self._found_entity.values]),
                stated=np.concatenate([self._mention_count.values, np.zeros(found, np.float32)]),
                found=np.concatenate([np.zeros(mentions, np.float32), self._found_count.values]),
                title=np.concatenate([self._mention_title.values, np.zeros(found, np.bool_)]),
            )
            self._edges = self._edges.with_added(added)
            self._await()
        return self._edges


class Edges:
    """Edges as parallel arrays, by chunk, then entity, each pair once. `stated` counts mentions, `found` titles matched
    in the text."""

    __slots__ = ("chunk", "entity", "found", "stated", "title")

    def __init__(
        self,
        *,
        chunk: npt.NDArray[Any],
        entity: npt.NDArray[Any],
        stated: npt.NDArray[Any],
        found: npt.NDArray[Any],
        title: npt.NDArray[Any],
    ) -> None:
        self.chunk = chunk
        self.entity = entity
        self.stated = stated
        self.found = found
        self.title = title

    @classmethod
    def none(cls) -> Edges:
        integers, counts = np.empty(0, np.int32), np.empty(0, np.float32)
        return cls(chunk=integers, entity=integers, stated=counts, found=counts, title=np.empty(0, np.bool_))

    @classmethod
    def joined(
        cls,
        *,
        chunk: npt.NDArray[Any],
        entity: npt.NDArray[Any],
        stated: npt.NDArray[Any],
        found: npt.NDArray[Any],
        title: npt.NDArray[Any],
    ) -> Edges:
        """Of at least one edge in any order, perhaps several of one pair: the largest counts hold."""
        key = _pairs(chunk, entity)
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        keep = order[first]
        return cls(
            chunk=chunk[keep],
            entity=entity[keep],
            stated=np.maximum.reduceat(stated[order], first),
            found=np.maximum.reduceat(found[order], first),
            title=np.logical_or.reduceat(title[order], first),
        )

    def with_added(self, added: Edges) -> Edges:
        """These and others; of a pair in both, the larger counts hold. It costs a copy, not a sort."""
        held, keys = _pairs(self.chunk, self.entity), _pairs(added.chunk, added.entity)
        place = np.searchsorted(held, keys)
        known = np.zeros(len(keys), np.bool_)
        inside = np.flatnonzero(place < len(held))
        known[inside] = held[place[inside]] == keys[inside]
        both, new = place[known], place[~known]

        def merged(old: npt.NDArray[Any], other: npt.NDArray[Any], larger: np.ufunc) -> npt.NDArray[Any]:
            if len(both):
                old = old.copy()
                old[both] = larger(old[both], other[known])
            return np.insert(old, new, other[~known])

        return Edges(
            chunk=np.insert(self.chunk, new, added.chunk[~known]),
            entity=np.insert(self.entity, new, added.entity[~known]),
            stated=merged(self.stated, added.stated, np.maximum),
            found=merged(self.found, added.found, np.maximum),
            title=merged(self.title, added.title, np.logical_or),
        )

    def only(self, mask: npt.NDArray[np.bool_]) -> Edges:
        """Those that are marked; where all are, these themselves."""
        if mask.all():
            return self
        return Edges(
            chunk=self.chunk[mask],
            entity=self.entity[mask],
            stated=self.stated[mask],
            found=self.found[mask],
            title=self.title[mask],
        )


def _pairs(chunk: npt.NDArray[Any], entity: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Chunk and entity as one number each, in the order of the two."""
    pairs: npt.NDArray[np.int64] = (chunk.astype(np.int64) << 32) | entity
    return pairs
