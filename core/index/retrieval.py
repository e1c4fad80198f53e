"""How a question's chunks are ranked: words, vectors, titles, a walk over shared entities, and links to other titles.

A question that names a known title is likely to need what that document leads to, so a walk over shared entities starts
there. Whatever it names, the documents whose titles the best chunks mention come up too, above all those that hold what
the question asks and the best chunks do not say; and then, for less, those that these lead to. Nothing is learned: the
weights are few, alike for all questions, and lie in the middle of where they do well (see docs/decisions/0008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.index.selection import best
from core.index.view import View

LEXICAL_SHARE = 0.6
"""The rest is the vectors'."""
TITLE_BONUS = 0.3
SEEDS = 3
"""More seeds would have the walk return its own seeds."""
WALK_DENSE = 0.15
WALK_LEXICAL = 0.2
FURTHER_SEEDS = 4
_TIE_DECIMALS = 5

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

Left = Callable[[Positions, Positions], Floats]
"""What the question leaves to find: `left(seeds, among)` is the BM25 score of each chunk of `among`, counting only the
question's stems that no seed holds."""


LINK_SHARE = 0.3
"""How far a document whose title a seed mentions comes up towards that seed…"""
ANSWER_SHARE = 0.6
"""…and how much further, up to this, the more it holds of what the seeds leave unsaid."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for each chunk position; 0 where a chunk is not visible."""

    lexical: Floats
    dense: Floats
    walk: Floats
    titled: Mask
    score: Floats
    walked: bool


def rank(view: View, lexical: Floats, dense: Floats, asked: Sequence[int], left: Left) -> Evidence:
    """Score every chunk position. `lexical` and `dense` are raw, and 0 outside the view; `asked` are entity numbers."""
    lexical = _to_one(lexical)
    dense = np.maximum(dense, 0.0)
    score = LEXICAL_SHARE * lexical + (1 - LEXICAL_SHARE) * _to_one(dense)
    titled = view.titled([number for number in asked if view.titles[number]])
    walked = bool(titled.any())
    walk = np.zeros(len(score))
    if walked:
        score[titled] += TITLE_BONUS
    seeds = _seeds(score, SEEDS)
    if walked and titled[seeds].any():
        seeds = seeds[titled[seeds]]
    if walked:
        # The last bits of a sum depend on its order, which hidden documents have a part in.
        walk = np.round(_to_one(view.graph.walk(seeds, score[seeds] ** 2, asked)), 9)
        score = walk + WALK_LEXICAL * lexical + WALK_DENSE * dense
    score = _follow(view, score, seeds, left)
    score = _follow(view, score, _seeds(score, FURTHER_SEEDS), left)
    return Evidence(lexical, dense, walk, titled, score, walked)


def _follow(view: View, score: Floats, seeds: Positions, left: Left) -> Floats:
    """The scores once what the seeds lead to has come up towards them: never past them."""
    among, reach = view.linked(seeds, score[seeds])
    below = reach > score[among]
    among, reach = among[below], reach[below]
    if len(among):
        share = LINK_SHARE + ANSWER_SHARE * _to_one(left(seeds, among))
        score = score.copy()
        score[among] += share * (reach - score[among])
    return score


def _to_one(values: Floats) -> Floats:
    top = values.max(initial=0.0)
    return values / top if top > 0 else values


def _seeds(score: Floats, count: int) -> Positions:
    """The best chunks. Sums whose last bits differ are a tie, and that falls to the earlier."""
    return best(score, count, _TIE_DECIMALS)
