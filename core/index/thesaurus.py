"""Which words may stand for a question's: neighbours in the table of static embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from core.analysis.stems import stems, words_of
from core.index.vectors import EmbeddingTable, Vectors, embedding_table, units

LIKE = 0.5
"""Cosine from which one word may stand for another."""
MOST = 12
_DIMENSIONS = 64
"""The first ones say most: the table was trained to be cut off."""
_BLOCK = 128
_MARGIN = 1e-4
_REMEMBERED_WORDS = 20_000

Likes = tuple[tuple[str, float], ...]


class Thesaurus:
    """Neighbours are sought among the ten thousand words that the table holds whole, whatever is stored: so they depend
    on the question's words alone."""

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._known: dict[str, Likes] = {}

    def load(self) -> None:
        """Read what the first look-up needs."""
        _whole_words()

    def alike(self, text: str) -> Mapping[str, Likes]:
        """For stems of the text the stems of words like them, each with its likeness in 0..1, the most alike first."""
        words: dict[str, str] = {}
        for word in dict.fromkeys(words_of(text.lower())):
            stemmed = stems(word)
            if len(stemmed) == 1 and word.isalpha():
                words.setdefault(stemmed[0], word)
        if len(self._known) + len(words) > _REMEMBERED_WORDS:
            self._known.clear()
        self._learn({word: stem for stem, word in words.items() if word not in self._known})
        return {stem: self._known[word] for stem, word in words.items()}

    def _learn(self, stem_of: Mapping[str, str]) -> None:
        """Look words up, together: it costs a fraction of one by one."""
        if not stem_of:
            return
        held, vectors = _whole_words()
        sought = units(self._table.sums(list(stem_of))[:, :_DIMENSIONS])
        # A product's last bits depend on what else is in it, so what comes near is looked at again. In blocks that are
        # too small for BLAS to take a second thread, which would spin.
        near = np.matmul(vectors.reshape(-1, _BLOCK, _DIMENSIONS), np.ascontiguousarray(sought.T)) > LIKE - _MARGIN
        places, whose = np.divmod(np.flatnonzero(near), len(sought))
        for number, (word, stem) in enumerate(stem_of.items()):
            likely = places[whose == number]
            likeness = np.vecdot(vectors[likely], sought[number])
            best = np.argsort(-likeness, kind="stable")
            likes: dict[str, float] = {}
            for place, alike in zip(likely[best][:MOST].tolist(), likeness[best][:MOST].tolist(), strict=True):
                if alike > LIKE and held[place] != stem:
                    likes.setdefault(held[place], alike)
            self._known[word] = tuple(likes.items())


@cache
def _whole_words() -> tuple[list[str], Vectors]:
    """The stems of the words that the table holds whole, and the words' unit vectors, filled up with zeros to whole
    blocks: made once for all indexes."""
    words, vectors = embedding_table().whole_words()
    held = [(at, stemmed[0]) for at, word in enumerate(words) if (stemmed := stems(word))]
    found = np.zeros((-(-len(held) // _BLOCK) * _BLOCK, _DIMENSIONS), np.float32)
    found[: len(held)] = units(vectors[[at for at, _ in held], :_DIMENSIONS])
    return [stem for _, stem in held], found
