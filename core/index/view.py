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
STEPS = 3
_NEXT_TO_NOTHING = 1e-4
"""Of the most that stands anywhere. What is less reaches nearly everything and ranks none of it."""
_WIDE = 3
"""Where the walk stands at less than one in so many sources, only their edges are looked at."""

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
        self.frequency = np.bincount(self.edges.entity, minlength=len(titles)).astype(np.int32)

    def titled(self, entities: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which chunk positions belong to documents with one of these titles."""
        mask = np.zeros(len(self.row), np.bool_)
        mask[self._titled_by(np.array(entities, np.int32))[0]] = True
        return mask

    def entities_of(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The entities that these chunks name."""
        return np.unique(self._named_by(positions)[0])

    def linked(self, seeds: npt.NDArray[Any], strength: Weights) -> tuple[npt.NDArray[Any], Weights]:
        """The chunks whose documents the `seeds` lead to, ascending, and how strongly: the strength of the strongest
        seed that mentions the document's title, for less the more chunks mention it. A chunk does not lead to its own
        document."""
        named, seed = self._named_by(seeds)
        known = self.titles[named] & (self.frequency[named] <= self.hub)
        named, seed = named[known], seed[known]
        led, count = self._titled_by(named)
        seed, worth = np.repeat(seed, count), np.repeat(strength[seed] * self._specificity(named), count)
        other = self.row[led] != self.row[seeds[seed]]
        chunks, place = np.unique(led[other], return_inverse=True)
        strongest = np.zeros(len(chunks))
        np.maximum.at(strongest, place, worth[other])
        return chunks, strongest

    def _titled_by(self, entities: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The chunks of the documents with one of these titles, those of the first title first; and how many each
        title has."""
        chunks, titles = self._title_edges
        first = np.searchsorted(titles, entities)
        count = np.searchsorted(titles, entities, side="right") - first
        return chunks[ranges(first, count)], count

    def _named_by(self, positions: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The entities that these chunks name, those of the first chunk first, each with its chunk's place among
        them."""
        # As another type they would be sought in a copy of all edges.
        wanted = positions.astype(self.edges.chunk.dtype)
        first = np.searchsorted(self.edges.chunk, wanted)
        count = np.searchsorted(self.edges.chunk, wanted, side="right") - first
        return self.edges.entity[ranges(first, count)], np.repeat(np.arange(len(wanted)), count)

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
        return chunk[order], entity[order]

    @cached_property
    def first_chunk(self) -> npt.NDArray[Any]:
        """For each entity the first position that mentions it; -1 where a title alone ties it to chunks."""
        result = np.full(len(self.titles), -1, np.int32)
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

    def prepare(self) -> None:
        """Make what every ranking needs."""
        self._title_edges  # noqa: B018 - is kept
        self.graph  # noqa: B018 - is kept


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
        self._passed = passed
        self._numbers = np.flatnonzero(passed)
        """The entities that take part, by their place in the graph."""
        entity = (np.cumsum(passed) - 1)[kept.entity]
        chunk = kept.chunk.astype(np.intp)
        chunks, entities = len(view.row), len(self._numbers)
        of_chunk = np.bincount(chunk, weight, chunks)
        of_entity = np.bincount(entity, weight, entities)
        by_entity = np.argsort(entity, kind="stable")
        # A walk goes on half of the time, and else returns.
        self._to_entities = Spread(chunk, entity, 0.5 * weight / of_chunk[chunk], chunks, entities)
        self._to_chunks = Spread(
            entity[by_entity], chunk[by_entity], (0.5 * weight / of_entity[entity])[by_entity], entities, chunks
        )

    def walk(self, seeds: npt.NDArray[Any], strength: Weights, asked: Sequence[int], steps: int = STEPS) -> Weights:
        """How often a walk that starts at the `seeds` chunks, at each by its strength, and returns to them and to the
        `asked` entities half of the time comes by each chunk."""
        start = 0.5 * strength / strength.sum()
        named = np.array(asked, np.int64)
        named = named[self._passed[named]]
        named = np.searchsorted(self._numbers, named)
        chunks = np.zeros(self._to_chunks.targets)
        chunks[seeds] = 2 * start
        for _ in range(steps):
            entities = self._to_entities(chunks)
            entities[named] += 0.5 / max(len(asked), 1)
            chunks = self._to_chunks(entities)
            chunks[seeds] += start
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
        self.targets = targets

    def __call__(self, weights: Weights) -> Weights:
        """What arrives at each target, without what is next to nothing: a walk would soon carry that over all edges.
        The order of the sums, and so their last bit, is that of the edges."""
        stands = weights > _NEXT_TO_NOTHING * weights.max(initial=0.0)
        if _WIDE * np.count_nonzero(stands) < len(weights):
            at = np.flatnonzero(stands)
            lengths = self._lengths[at]
            edges = ranges(self._first[at], lengths)
            target, carried = self._target[edges], np.repeat(weights[at], lengths)
            carried *= self._share[edges]
        else:
            target, carried = self._target, np.repeat(weights, self._lengths)
            carried *= self._share
        return np.asarray(np.bincount(target, carried, self.targets), np.float64)
