"""BM25 over what one viewer may see, and over nothing else.

tantivy counts every chunk that it holds: hidden ones, and those of the past. How common a word is among them would show
in the scores of what a viewer does see. So the scores are made here, from how often each chunk holds each word, with
the counts of the visible chunks: hidden documents then change nothing at all. For the operator every chunk counts, and
the scores are tantivy's.

A stem counts as itself or, for less, as one that is like it; and once more in the title, where it weighs as much as it
is rare in texts, not in titles. Neighbours in the question count where they are neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from core.index.bm25 import K1, damping, idf
from core.index.lexical import Field, Lexical, Sought
from core.index.postings import OVERHEAD, Postings
from core.index.reading import Reading
from core.index.recent import Recent
from core.index.selection import nth_highest
from core.index.thesaurus import Likes

_TITLE_WEIGHT = 0.3
"""Of a stem in the title, beside what it counts as one of the chunk's."""
_PHRASE_WEIGHT = 0.1
_REMEMBERED = 1_000_000
"""Scores of words that are kept, at eight bytes each."""

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Positions, ascending, and their scores."""


class Audience:
    """A viewer's chunks at one version, whatever the filters, as the whole collection: those at `visible` of the first
    `size` positions, or for None all there are. It is good until the index grows."""

    def __init__(self, lexical: Lexical, postings: Postings, size: int, visible: Positions | None = None) -> None:
        self._lexical = lexical
        self._postings = postings
        self._size = size
        self._visible: Mask | None = None
        if visible is None:
            self._total = lexical.found
            self._damping = {field: lexical.damping(field) for field in Field}
        else:
            self._visible = np.zeros(size, np.bool_)
            self._visible[visible] = True
            self._total = len(visible)
            self._damping = {field: _damping(lexical.lengths(field)[:size], visible) for field in Field}
        self._recent: Recent[tuple[str, Likes], tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]] = Recent(
            _REMEMBERED
        )

    def idf(self, stems: Sequence[str], language: str) -> dict[str, float]:
        """The inverse document frequency of each stem of a language."""
        return {stem: self._idf(self._lexical.term(stem, language)) for stem in stems}

    def scores(self, reading: Reading, allowed: Mask, depth: int) -> Scores:
        """Each chunk's score for a question, shape (size,); 0 where it is not among the `allowed`, which this viewer
        must see, or not among the `depth` best, or equal to the first that is not."""
        result = np.zeros(self._size)
        self._postings.fetch(self._sought(reading))
        for stem in reading.stems:
            found, scores = self._of_stem(reading, stem)
            # Numpy takes longer over indices of another type.
            result[found.astype(np.intp)] += scores
        for phrase in self._phrases(reading):
            positions, share = self._saturation(phrase)
            if len(positions):
                rarity = self._idf(phrase.term) + self._idf(phrase.second)
                result[positions] += _PHRASE_WEIGHT * rarity * (K1 + 1) * share
        result *= allowed
        scored = result[result > 0]
        if len(scored) > depth:
            result[result <= nth_highest(scored, depth + 1)] = 0.0
        return result

    def left(self, stems: Sequence[str], language: str, seeds: Positions, among: Positions) -> Scores:
        """The score of each chunk of `among`, counting only the stems themselves that no chunk of `seeds` holds; all of
        these chunks the viewer must see."""
        result = np.zeros(len(among))
        # As another type they would be sought in a copy of all rows.
        sought = np.concatenate([seeds, among]).astype(np.int32)
        for stem in stems:
            term = self._lexical.term(stem, language)
            rows = self._postings.of(Sought(term))
            at, held = _places(rows.positions, sought)
            if not held[: len(seeds)].any():
                at, held = at[len(seeds) :], held[len(seeds) :]
                counts = rows.counts[at[held]]
                share = counts / (counts + self._damping[Field.TEXT][among[held]])
                result[held] += self._idf(term) * (K1 + 1) * share
        return result

    def _sought(self, reading: Reading) -> Iterator[Sought]:
        """All that is read for a question."""
        for stem in reading.stems:
            term, alike = self._lexical.term(stem, reading.language), reading.alike.get(stem, ())
            yield Sought(term)
            if self._recent.get((term, alike)) is None:
                yield Sought(term, Field.TITLE)
                yield from (Sought(self._lexical.term(like, reading.language)) for like, _ in alike)
        yield from self._phrases(reading)

    def _phrases(self, reading: Reading) -> Iterator[Sought]:
        for (first, second), gap in reading.neighbours.items():
            term, after = (self._lexical.term(stem, reading.language) for stem in (first, second))
            yield Sought(term, Field.TEXT, after, gap)

    def _of_stem(self, reading: Reading, stem: str) -> Found:
        """The chunks that hold a stem, or one like it, and what each scores for it."""
        term = self._lexical.term(stem, reading.language)
        alike = reading.alike.get(stem, ())
        found = self._recent.get((term, alike))
        if found is None:
            scores = np.zeros(self._size)
            rarity = self._idf(term)
            for like, likeness in ((stem, 1.0), *alike):
                other = self._lexical.term(like, reading.language)
                positions, share = self._saturation(Sought(other))
                weight = likeness * min(rarity, self._idf(other)) * (K1 + 1)
                scores[positions] = np.maximum(scores[positions], weight * share)
            positions, share = self._saturation(Sought(term, Field.TITLE))
            scores[positions] += _TITLE_WEIGHT * rarity * (K1 + 1) * share
            positions = np.flatnonzero(scores > 0)
            found = positions.astype(np.int32), scores[positions].astype(np.float32)
            self._recent.put((term, alike), found, len(positions) + OVERHEAD)
        return found

    def _saturation(self, sought: Sought) -> tuple[Positions, Scores]:
        """The visible chunks that hold what is sought, and how near each comes to the most that it can score for it,
        as a share of that."""
        positions, counts = self._rows(sought)
        return positions, counts / (counts + self._damping[sought.field][positions])

    def _rows(self, sought: Sought) -> tuple[Positions, npt.NDArray[np.uint16]]:
        rows = self._postings.of(sought)
        positions, counts = rows.positions.astype(np.intp), rows.counts
        # On disk there may be more than has been fed yet.
        if len(positions) and positions[-1] >= self._size:
            fed = int(np.searchsorted(positions, self._size))
            positions, counts = positions[:fed], counts[:fed]
        if self._visible is None:
            return positions, counts
        seen = self._visible[positions]
        return positions[seen], counts[seen]

    def _idf(self, term: str) -> float:
        if self._visible is None:
            return idf(self._total, self._lexical.frequency(term))
        return idf(self._total, len(self._rows(Sought(term))[0]))


def _damping(lengths: npt.NDArray[np.int32], counted: Positions) -> Scores:
    return damping(lengths, float(lengths[counted].mean()) if len(counted) else 0.0)


def _places(positions: npt.NDArray[np.int32], sought: npt.NDArray[np.int32]) -> tuple[Positions, Mask]:
    """Where each of the sought positions stands in the ascending `positions`, or would stand; and whether it does."""
    at = positions.searchsorted(sought)
    if not len(positions):
        return at, np.zeros(len(sought), np.bool_)
    return at, positions.take(at, mode="clip") == sought
