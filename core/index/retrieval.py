"""How a question's chunks are ranked: words, vectors, titles, and a walk over shared entities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.index.view import View

LEXICAL_SHARE = 0.75
TITLE_BONUS = 0.3
SEEDS = 3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for each chunk position; 0 where a chunk is not visible."""

    lexical: Floats
    dense: Floats
    titled: npt.NDArray[np.bool_]
    walk: Floats
    score: Floats
    walked: bool


def rank(view: View, lexical: Floats, dense: Floats, asked: list[int], walked: bool | None = None) -> Evidence:
    """Score every chunk position. `lexical` and `dense` are raw and 0 outside the view; `asked` are entity numbers."""
    lexical = _to_one(lexical)
    dense = np.maximum(dense, 0.0)
    single = LEXICAL_SHARE * lexical + (1 - LEXICAL_SHARE) * _to_one(dense)
    title_numbers = [number for number in asked if view.titles[number]]
    titled = np.zeros(len(view.row), np.bool_)
    if title_numbers:
        edges = view.edges
        titled[edges.chunk[edges.title & np.isin(edges.entity, title_numbers)]] = True
        single = single + TITLE_BONUS * titled
    walk = np.zeros(len(view.row))
    if walked is None:
        walked = bool(title_numbers)
    if walked and len(view.positions):
        seeds = np.zeros(len(view.row))
        start = best(single, SEEDS)
        seeds[start] = single[start] ** 2
        named = np.zeros(len(view.titles))
        named[asked] = 1.0
        walk = _to_one(view.graph.walk(seeds, named))
        score = walk + 0.15 * dense
    else:
        score = single
    return Evidence(lexical, dense, titled, walk, score, walked)


def _to_one(values: Floats) -> Floats:
    top = values.max(initial=0.0)
    return values / top if top > 0 else values


def best(values: Floats, count: int) -> npt.NDArray[Any]:
    """The positions of the highest values above nought, highest first, the earlier of equals before."""
    count = min(count, len(values))
    likely = np.flatnonzero(values >= np.partition(values, -count)[-count]) if count else np.empty(0, np.int64)
    likely = likely[values[likely] > 0]
    return likely[np.lexsort((likely, -values[likely]))][:count]
