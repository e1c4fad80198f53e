"""The part of the graph that one question may see, and the walk over it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from core.index.columns import ranges
from core.index.entities import OWN_TITLE_WEIGHT, Edges

HUB_SHARE = 0.02
"""An entity in more than this share of the chunks leads everywhere; the walk does not pass it…"""
HUB_FLOOR = 20
"""…unless it is in no more chunks than this."""
STEPS = 4

Weights = npt.NDArray[np.float64]


class View:
    """Visible chunks and the edges among them and their visible entities.

    `row` gives for each chunk position its document's row or -1; `titles` marks the entities that title a visible
    document.
    """

    def __init__(self, row: npt.NDArray[np.int32], titles: npt.NDArray[np.bool_], edges: Edges) -> None:
        self.row = row
        self.positions = np.flatnonzero(row >= 0)
        self.titles = titles
        # A title found in a text is a link only while a document of that title can be seen: a hidden document's title
        # must not tie visible chunks together.
        self.edges = edges.only((row[edges.chunk] >= 0) & ((edges.stated > 0) | titles[edges.entity]))
        self.frequency = np.bincount(self.edges.entity, minlength=edges.entity_count)

    def titled(self, entities: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which chunk positions belong to documents with one of these titles."""
        mask = np.zeros(len(self.row), np.bool_)
        if len(entities):
            chunk, entity = self._title_edges
            mask[chunk[np.isin(entity, entities)]] = True
        return mask

    def entities_of(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The entities that these chunks name."""
        first = np.searchsorted(self.edges.chunk, positions)
        last = np.searchsorted(self.edges.chunk, positions, side="right")
        return np.unique(self.edges.entity[ranges(first, last - first)])

    def linked(self, seeds: npt.NDArray[Any], strength: Weights) -> Weights:
        """How strongly each chunk's document is led to: the strength of the strongest of the `seeds` that mention its
        title, for less the more chunks mention it. A chunk does not lead to its own document."""
        found = np.zeros(len(self.row))
        entities, chunks = self._chunks_by_title
        for seed, worth in zip(seeds.tolist(), strength.tolist(), strict=True):
            named = self.edges.entity[slice(*np.searchsorted(self.edges.chunk, (seed, seed + 1)))]
            named = named[self.titles[named] & (self.frequency[named] <= self.hub)]
            first = np.searchsorted(entities, named)
            count = np.searchsorted(entities, named, side="right") - first
            led = chunks[ranges(first, count)]
            worths = worth * np.repeat(self._specificity(named), count)
            other = self.row[led] != self.row[seed]
            # A chunk has one title, so none is named twice.
            found[led[other]] = np.maximum(found[led[other]], worths[other])
        return found

    def _specificity(self, entities: npt.NDArray[Any]) -> Weights:
        """1 for an entity that one chunk mentions, and towards 0 the more do: idf as a share of the highest."""
        total = len(self.positions) + 1
        specificity: Weights = 1.0 - np.log(np.maximum(self.frequency[entities], 1)) / np.log(total)
        return specificity

    @property
    def hub(self) -> float:
        """An entity that more chunks mention than this leads everywhere."""
        return max(HUB_SHARE * len(self.positions), HUB_FLOOR)

    @cached_property
    def _chunks_by_title(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        chunk, entity = self._title_edges
        order = np.argsort(entity, kind="stable")
        return entity[order], chunk[order]

    @cached_property
    def _title_edges(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self.edges.chunk[self.edges.title], self.edges.entity[self.edges.title]

    @cached_property
    def graph(self) -> WalkGraph:
        return WalkGraph(self)


class WalkGraph:
    """The bipartite graph that the walk goes over: edges weighted by (1 + ln tf)(ln((N+1)/df) + 1), without entities
    that are named once (they lead nowhere) or nearly everywhere, normalised in both directions."""

    def __init__(self, view: View) -> None:
        edges, frequency = view.edges, view.frequency
        total = len(view.positions)
        kept = edges.only(((frequency > 1) & (frequency <= view.hub))[edges.entity])
        count = np.where(view.titles[kept.entity], np.maximum(kept.stated, kept.found), kept.stated).astype(np.float64)
        weight = np.where(kept.title, OWN_TITLE_WEIGHT, 1 + np.log(count))
        weight *= np.log((total + 1) / frequency[kept.entity]) + 1
        self._chunk, self._entity = kept.chunk, kept.entity
        self._chunks, self._entities = len(view.row), edges.entity_count
        of_chunk = np.bincount(kept.chunk, weight, self._chunks)
        of_entity = np.bincount(kept.entity, weight, self._entities)
        self._to_entity: Weights = weight / of_chunk[kept.chunk]
        self._to_chunk: Weights = weight / of_entity[kept.entity]

    def walk(self, seeds: npt.NDArray[Any], asked: npt.NDArray[Any], steps: int = STEPS) -> Weights:
        """How often a walk that starts at the `seeds` chunks and returns to them and to the `asked` entities half of
        the time comes by each chunk. Both are weights, scaled here to sum to 1."""
        start, named = _share(seeds), _share(asked)
        chunks = start
        for _ in range(steps):
            reached = _sums(self._entity, self._to_entity * chunks[self._chunk], self._entities)
            entities = 0.5 * reached + 0.5 * named
            returned = _sums(self._chunk, self._to_chunk * entities[self._entity], self._chunks)
            chunks = 0.5 * start + 0.5 * returned
        return chunks


def _sums(groups: npt.NDArray[Any], weights: Weights, count: int) -> Weights:
    """The weights of each group, summed."""
    return np.asarray(np.bincount(groups, weights, count), np.float64)


def _share(weights: npt.NDArray[Any]) -> Weights:
    total = weights.sum()
    return weights.astype(np.float64) / total if total else weights.astype(np.float64)
