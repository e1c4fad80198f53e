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
_WIDE = 2
"""Where the walk stands at less than one in so many edges' sources, only these are looked at."""

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
        self.frequency = np.bincount(self.edges.entity, minlength=len(titles))

    def titled(self, entities: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which chunk positions belong to documents with one of these titles."""
        mask = np.zeros(len(self.row), np.bool_)
        if len(entities):
            chunk, entity = self._title_edges
            first = np.searchsorted(entity, entities)
            mask[chunk[ranges(first, np.searchsorted(entity, entities, side="right") - first)]] = True
        return mask

    def entities_of(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The entities that these chunks name."""
        wanted = positions.astype(
            self.edges.chunk.dtype
        )  # else the search would first copy all edges as the wider type
        first = np.searchsorted(self.edges.chunk, wanted)
        last = np.searchsorted(self.edges.chunk, wanted, side="right")
        return np.unique(self.edges.entity[ranges(first, last - first)])

    def linked(self, seeds: npt.NDArray[Any], strength: Weights) -> Weights:
        """How strongly each chunk's document is led to: the strength of the strongest of the `seeds` that mention its
        title, for less the more chunks mention it. A chunk does not lead to its own document."""
        found = np.zeros(len(self.row))
        chunks, entities = self._title_edges
        for seed, worth in zip(seeds.tolist(), strength.tolist(), strict=True):
            named = self.edges.entity[
                slice(*np.searchsorted(self.edges.chunk, np.array((seed, seed + 1), self.edges.chunk.dtype)))
            ]
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
    def _title_edges(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Sorted by entity."""
        chunk, entity = self.edges.chunk[self.edges.title], self.edges.entity[self.edges.title]
        order = np.argsort(entity, kind="stable")
        return chunk[order], entity[order].astype(np.int64)

    @cached_property
    def first_chunk(self) -> npt.NDArray[Any]:
        """For each entity the first position that mentions it; -1 where a title alone ties it to chunks."""
        result = np.full(len(self.titles), -1)
        stated = np.flatnonzero(self.edges.stated > 0)[::-1]
        result[self.edges.entity[stated]] = self.edges.chunk[stated]
        return result

    @cached_property
    def _by_entity(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The chunks of every entity, one entity after the other, and where each entity's begin."""
        order = np.argsort(self.edges.entity, kind="stable")
        return self.edges.chunk[order], np.cumsum(self.frequency) - self.frequency

    def chunks_of(self, entities: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The positions that name one of these entities, those of the first ascending, then those of the next."""
        chunks, begins = self._by_entity
        result: npt.NDArray[Any] = chunks[ranges(begins[entities], self.frequency[entities])]
        return result

    @cached_property
    def graph(self) -> WalkGraph:
        return WalkGraph(self)


class WalkGraph:
    """The bipartite graph that the walk goes over: edges weighted by (1 + ln tf)(ln((N+1)/df) + 1), without entities
    that are named once (they lead nowhere) or nearly everywhere, normalised in both directions."""

    def __init__(self, view: View) -> None:
        edges, frequency = view.edges, view.frequency
        total = len(view.positions)
        passed = (frequency > 1) & (frequency <= view.hub)
        kept = edges.only(passed[edges.entity])
        count = np.where(view.titles[kept.entity], np.maximum(kept.stated, kept.found), kept.stated).astype(np.float64)
        weight = np.where(kept.title, OWN_TITLE_WEIGHT, 1 + np.log(count))
        weight *= np.log((total + 1) / frequency[kept.entity]) + 1
        self._numbers = np.flatnonzero(passed)
        """The entities that take part, by their place in the graph."""
        entity = (np.cumsum(passed) - 1)[kept.entity]
        chunk = kept.chunk.astype(np.intp)
        chunks, entities = len(view.row), len(self._numbers)
        of_chunk = np.bincount(chunk, weight, chunks)
        of_entity = np.bincount(entity, weight, entities)
        by_entity = np.argsort(entity, kind="stable")
        self._to_entities = Spread(chunk, entity, weight / of_chunk[chunk], chunks, entities)
        self._to_chunks = Spread(
            entity[by_entity], chunk[by_entity], (weight / of_entity[entity])[by_entity], entities, chunks
        )

    def walk(self, seeds: npt.NDArray[Any], asked: npt.NDArray[Any], steps: int = STEPS) -> Weights:
        """How often a walk that starts at the `seeds` chunks and returns to them and to the `asked` entities half of
        the time comes by each chunk. Both are weights, scaled here to sum to 1."""
        start, named = _share(seeds), _share(asked)[self._numbers]
        chunks = start
        for _ in range(steps):
            entities = 0.5 * self._to_entities(chunks) + 0.5 * named
            chunks = 0.5 * start + 0.5 * self._to_chunks(entities)
        return chunks


class Spread:
    """One direction of the graph: edges by their source, and the share of what is at the source that each carries to
    its target."""

    def __init__(
        self,
        source: npt.NDArray[np.intp],
        target: npt.NDArray[np.intp],
        share: Weights,
        sources: int,
        targets: int,
    ) -> None:
        self._lengths = np.bincount(source, minlength=sources)
        self._first = np.cumsum(self._lengths) - self._lengths
        self._target, self._share = target, share
        self._targets = targets

    def __call__(self, weights: Weights) -> Weights:
        """What arrives at each target. The order of the sums, and so their last bit, is that of the edges."""
        at = np.flatnonzero(weights)
        lengths = self._lengths[at]
        if _WIDE * lengths.sum() < len(self._target):
            edges = ranges(self._first[at], lengths)
            carried = self._share[edges] * np.repeat(weights[at], lengths)
            arrived = np.bincount(self._target[edges], carried, self._targets)
        else:
            arrived = np.bincount(self._target, self._share * np.repeat(weights, self._lengths), self._targets)
        return np.asarray(arrived, np.float64)


def _share(weights: npt.NDArray[Any]) -> Weights:
    total = weights.sum()
    return weights.astype(np.float64) / total if total else weights.astype(np.float64)
