"""Shortest chains between two entities: entity, chunk that names both, entity, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from core.index.view import HUB_FLOOR, HUB_SHARE, View

MAX_LENGTH = 5
"""Steps of the longest chain that may be asked for."""
MAX_PATHS = 50
MAX_CHUNKS = 8
"""Of those that support one step: enough to find a good quotation among them."""
_MAX_FRONTIER = 20_000
"""Entities of one distance that are gone on from, the rarest first: bounds the work, at the price of chains through
crowds."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a chain: two entity numbers, and the positions of some chunks that name both."""

    first: int
    second: int
    positions: tuple[int, ...]


def chains(view: View, ids: Numbers, first: int, last: int, max_length: int, limit: int) -> list[tuple[Link, ...]]:
    """The shortest chains of at most `max_length` steps, at most `limit` of them; none where there is none.

    A chain does not pass through entities that are nearly everywhere, for they tie everything to everything; it may
    begin and end at one. Of equally short chains those through the rarer entities come first, of equally rare ones
    those with the smaller `ids`."""
    graph = _Graph(view, ids)
    distance = graph.distances(last, first, max_length)
    found: list[tuple[int, ...]] = []
    if distance[first] > 0:
        graph.collect((first,), distance, limit, found)
    return [tuple(graph.link(*step) for step in pairwise(chain)) for chain in found]


class _Graph:
    """The view's edges in both directions. Positions and entities are numbers of the index."""

    def __init__(self, view: View, ids: Numbers) -> None:
        self._view = view
        self._ids = ids
        hub = max(HUB_SHARE * len(view.positions), HUB_FLOOR)
        self._passable = view.frequency <= hub

    def distances(self, source: int, target: int, most: int) -> npt.NDArray[np.int8]:
        """How many steps each entity is from the source, as far as the target; -1 for what is not reached."""
        distance = np.full(len(self._passable), -1, np.int8)
        distance[source] = 0
        frontier = np.array([source])
        for steps in range(1, most + 1):
            reached = self._beside(frontier)
            reached = reached[distance[reached] < 0]
            distance[reached] = steps
            if distance[target] >= 0:
                break
            onward = reached[self._passable[reached]]
            frontier = self._rarest_first(onward)[:_MAX_FRONTIER]
        return distance

    def collect(
        self, chain: tuple[int, ...], distance: npt.NDArray[np.int8], limit: int, found: list[tuple[int, ...]]
    ) -> None:
        """Add to `found` every way on from the chain's end that comes one step nearer each time."""
        left = int(distance[chain[-1]])
        if left == 0:
            found.append(chain)
            return
        beside = self._beside(np.array(chain[-1:]))
        nearer = beside[distance[beside] == left - 1]
        if left > 1:
            nearer = nearer[self._passable[nearer]]
        for number in self._rarest_first(nearer)[:limit].tolist():
            if len(found) >= limit:
                return
            self.collect((*chain, number), distance, limit, found)

    def link(self, first: int, second: int) -> Link:
        shared = np.intersect1d(self._view.chunks_of(np.array([first])), self._view.chunks_of(np.array([second])))
        return Link(first, second, tuple(shared[:MAX_CHUNKS].tolist()))

    def _beside(self, entities: Numbers) -> Numbers:
        """The entities that are named in a chunk with one of these."""
        return self._view.entities_of(np.unique(self._view.chunks_of(entities)))

    def _rarest_first(self, entities: Numbers) -> Numbers:
        return entities[np.lexsort((self._ids[entities], self._view.frequency[entities]))]
