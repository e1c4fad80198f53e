"""How a question's chunks are ranked: words, vectors, titles, and a walk over shared entities.

A question that names no known title is ranked by words and vectors alone. One that does is likely to need what those
documents lead to, so a walk starts there: the documents whose titles the seeds mention, and what shares entities with
them. The weights were chosen on the 2WikiMultihopQA, SciFact (train) and doc2dial questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.index.view import View

LEXICAL_SHARE = 0.6
"""The rest is the vectors'."""
TITLE_BONUS = 0.3
SEEDS = 3
"""More seeds would have the walk return its own seeds."""
WALK_DENSE = 0.15
WALK_LEXICAL = 0.2
WALK_LINK = 0.3
"""For a chunk whose document's title a seed mentions."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for each chunk position; 0 where a chunk is not visible."""

    lexical: Floats
    dense: Floats
    walk: Floats
    titled: Mask
    score: Floats
    walked: bool


def rank(view: View, lexical: Floats, dense: Floats, asked: Sequence[int]) -> Evidence:
    """Score every chunk position. `lexical` and `dense` are raw, and 0 outside the view; `asked` are entity numbers."""
    lexical = _to_one(lexical)
    dense = np.maximum(dense, 0.0)
    score = LEXICAL_SHARE * lexical + (1 - LEXICAL_SHARE) * _to_one(dense)
    titled = view.titled([number for number in asked if view.titles[number]])
    walked = bool(titled.any())
    walk = np.zeros(len(score))
    if walked:
        score = score + TITLE_BONUS * titled
        seeds = best(score, SEEDS)
        if titled[seeds].any():
            seeds = seeds[titled[seeds]]
        # The last bits of a sum depend on its order, which hidden documents have a part in.
        walk = np.round(_to_one(_walk(view, seeds, score[seeds] ** 2, asked)), 9)
        mentioned = view.entities_of(seeds)
        linked = view.titled(mentioned[view.titles[mentioned]])
        score = walk + WALK_LINK * linked + WALK_LEXICAL * lexical + WALK_DENSE * dense
    return Evidence(lexical, dense, walk, titled, score, walked)


def _walk(view: View, seeds: npt.NDArray[Any], weights: Floats, asked: Sequence[int]) -> Floats:
    start = np.zeros(len(view.row))
    start[seeds] = weights
    named = np.zeros(len(view.titles))
    named[list(asked)] = 1.0
    return view.graph.walk(start, named)


def _to_one(values: Floats) -> Floats:
    top = values.max(initial=0.0)
    return values / top if top > 0 else values


def best(values: Floats, count: int) -> npt.NDArray[np.int64]:
    """The positions of the highest values above nought, highest first, of equals the earlier first."""
    # Those at nought are left out first: partitioning takes a hundred times as long where most values are equal.
    likely = np.flatnonzero(values > 0)
    if 0 < count < len(likely):
        held = values[likely]
        likely = likely[held >= np.partition(held, -count)[-count]]
    return likely[np.lexsort((likely, -values[likely]))][:count]
