"""The newest among equally relevant documents, for questions that ask for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from core.analysis.stems import stems

BAND = 0.2
"""What comes within this share of the best score is as relevant as the best."""

_ASKS = re.compile(
    r"""
      \b(?: latest | newest | most\ recent(?:ly)? | up[- ]to[- ]date | right\ now | as\ of\ (?:now|today) | these\ days
          | nowadays | at\ present | currently
          # "Current" is also what flows: it counts as an adjective before what has a state.
          | (?:the|our|your|their|its|his|her|my|a|what'?s|what\ is|what\ are|who\ is)\ current
            (?!\ (?:of|in|is|was|are|were|and|or|flows?|through|between|density|drawn?|that|which)\b)(?=\ \w)
        )\b
    """,
    re.VERBOSE | re.IGNORECASE,
)

Floats = npt.NDArray[np.float64]


def asks_for_newest(question: str) -> bool:
    """Whether an English question asks for the latest or the current state of something."""
    return _ASKS.search(question) is not None


def besides_newness(terms: Mapping[str, float], question: str, language: str) -> Mapping[str, float]:
    """A question's terms without those that ask for the latest: no document has to hold them to say what is. All of
    them, if there are no others."""
    asked = _ASKS.search(question)
    if asked is None:
        return terms
    of_time = frozenset(stems(asked[0], language))
    return {stem: rarity for stem, rarity in terms.items() if stem not in of_time} or terms


def newest_first(scores: Floats, dates: npt.NDArray[Any]) -> Floats:
    """The scores, with those that are about equal to the best handed out anew: the highest to the latest date, of equal
    dates to who had it. `dates` are in seconds, NaN counts as the oldest. It looks at no clock: only at dates among the
    scores above 0."""
    top = scores.max(initial=0.0)
    alike = np.flatnonzero((scores > 0) & (scores >= (1 - BAND) * top))
    if len(alike) < 2:
        return scores
    when = np.where(np.isnan(dates[alike]), -np.inf, dates[alike])
    result = scores.copy()
    result[alike[np.lexsort((alike, -scores[alike], -when))]] = np.sort(scores[alike])[::-1]
    return result
