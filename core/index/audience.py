"""BM25 over what one viewer may see, and over nothing else.

tantivy counts every chunk that it holds: hidden ones, and those of the past. How common a word is among them would show
in the scores of what a viewer does see. So for a viewer who is not shown everything the scores are made here, from how
often each chunk holds each word, with the counts of the visible chunks: hidden documents then change nothing at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.index.lexical import K1, B, Lexical

_REMEMBERED = 1_000_000
"""Postings that are kept, at 12 bytes each."""

Positions = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float64]


def _norms() -> npt.NDArray[np.int64]:
    """The 256 lengths that tantivy (and Lucene, in SmallFloat.byte4ToInt) tells apart, ascending: exact up to 40, then
    with three bits behind the leading one."""
    exact = np.arange(24)
    codes = np.arange(256 - 24)
    shifts = np.maximum((codes >> 3) - 1, 0)
    return np.concatenate([exact, 24 + np.where(codes < 8, codes, ((codes & 7) | 8) << shifts)])


_NORMS = _norms()


def _damping(lengths: npt.NDArray[Any], mean: float) -> Scores:
    """BM25's K of chunks of these lengths: how many occurrences of a word make half of the most that it can score."""
    rounded = _NORMS[np.searchsorted(_NORMS, lengths, side="right") - 1]
    damping: Scores = np.asarray(K1 * (1 - B + B * rounded / (mean or 1.0)), np.float64)
    return damping


class Postings:
    """Which chunks hold a word, and how often, for a lexical index that does not change meanwhile."""

    def __init__(self, lexical: Lexical) -> None:
        self._lexical = lexical
        self._known: OrderedDict[str, tuple[Positions, Counts]] = OrderedDict()
        self._size = 0
        self._mean = float(lexical.lengths.mean()) if len(lexical.lengths) else 0.0

    @property
    def lengths(self) -> npt.NDArray[Any]:
        """The number of stems in each chunk, by position."""
        return self._lexical.lengths

    def of(self, term: str) -> tuple[Positions, Counts]:
        """Positions and how often the term stands in each."""
        found = self._known.pop(term, None)
        if found is None:
            found = self._read(term)
            self._size += len(found[0])
            while self._known and self._size > _REMEMBERED:
                self._size -= len(self._known.popitem(last=False)[1][0])
        self._known[term] = found
        return found

    def _read(self, term: str) -> tuple[Positions, Counts]:
        """tantivy hands out scores and no counts; with the statistics that it used, one follows from the other."""
        positions, scores, idf = self._lexical.scored(term)
        share = np.minimum(scores / (idf * (K1 + 1)), 1 - 1e-9) if idf > 0 else np.zeros(len(scores))
        counts = share * _damping(self.lengths[positions], self._mean) / (1 - share)
        return positions, np.maximum(np.rint(counts), 1).astype(np.int32)


class Audience:
    """The chunks that one viewer may see at one version, whatever the filters, as the whole collection."""

    def __init__(self, postings: Postings, visible: Positions, total: int) -> None:
        """`visible` are positions among the first `total`."""
        self._postings = postings
        self._visible = np.zeros(total, np.bool_)
        self._visible[visible] = True
        self._count = len(visible)
        self._mean = float(postings.lengths[visible].sum()) / max(len(visible), 1)

    def idf(self, terms: Sequence[str]) -> dict[str, float]:
        """BM25's inverse document frequency of each stem."""
        return {term: self._idf(len(self._of(term)[0])) for term in terms}

    def scores(self, terms: Sequence[str], allowed: npt.NDArray[np.bool_], depth: int) -> Scores:
        """The BM25 score of each position; 0 where it is not among the `allowed`, which this viewer must see, or not
        among the `depth` best, or equal to the first that is not."""
        result = np.zeros(len(self._visible))
        for term in terms:
            positions, counts = self._of(term)
            idf = self._idf(len(positions))
            damping = _damping(self._postings.lengths[positions], self._mean)
            result[positions] += idf * (K1 + 1) * counts / (counts + damping)
        result[~allowed] = 0.0
        if len(result) > depth:
            cut = np.partition(result, -depth - 1)[-depth - 1]
            result[result <= cut] = 0.0
        return result

    def left(self, terms: Sequence[str], seeds: Positions, among: Positions) -> Scores:
        """The score of each chunk of `among`, counting only the terms that no chunk of `seeds` holds."""
        missing = [term for term in terms if not np.isin(seeds, self._of(term)[0]).any()]
        allowed = np.zeros(len(self._visible), np.bool_)
        allowed[among] = True
        return self.scores(missing, allowed, len(allowed))[among]

    def _of(self, term: str) -> tuple[Positions, Counts]:
        positions, counts = self._postings.of(term)
        # On disk there may be more than has been fed yet.
        fed = positions < len(self._visible)
        seen = fed.copy()
        seen[fed] = self._visible[positions[fed]]
        return positions[seen], counts[seen]

    def _idf(self, frequency: int) -> float:
        return float(np.log1p((self._count - frequency + 0.5) / (frequency + 0.5)))
