"""Known titles in running text: word n-grams up to seven, whatever their case and punctuation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from core.analysis.english import STOP_WORDS
from core.analysis.stems import words_of
from core.index.columns import Column, ranges
from core.index.vocabulary import Vocabulary

MAX_WORDS = 7
_MULTIPLIERS = [np.uint64((0x9E3779B97F4A7C15 * (2 * n + 1) ** 5) % 2**64 | 1) for n in range(MAX_WORDS)]
_FILTER_BITS = 5
"""The filter before the exact look-up has 32 places for each title."""

_BLOCK = 4_096
"""Chunks compared with all titles at a time: numpy lets no other thread run meanwhile."""

Words = npt.NDArray[np.uint64]
"""Hashes of words, whatever their case."""
Positions = npt.NDArray[np.int64]


def _ngrams(words: Words, size: int) -> Words:
    """One number for each run of `size` words."""
    count = max(len(words) - size + 1, 0)
    total = np.zeros(count, np.uint64)
    for place in range(size):
        total += (words[place : place + count] ^ (words[place : place + count] >> np.uint64(29))) * _MULTIPLIERS[place]
    return total


class Gazetteer:
    """The words of every chunk and the name of every title, and which contains which.

    Work is put off until it is asked for: `matches` compares the chunks that are new with all titles, and the titles
    that are new with the chunks before. So what is found does not depend on what came first.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._words = Column(np.uint64)
        self._ends = Column(np.int64)
        self._matched = 0
        """Chunks below this position are done with, for all titles that are not new."""
        self._titles: dict[int, tuple[int, ...]] = {}
        """Entities by the n-gram of their name's words; two names may differ in punctuation alone."""
        self._sizes: set[int] = set()
        self._new: dict[int, str] = {}
        """The names of titles that are not compared with anything yet, by entity."""
        self._seen = bytearray()
        """Which entities are titles that were added."""

    def add_chunks(self, words: Words, lengths: npt.NDArray[np.int64]) -> None:
        """The words of the chunks at the next positions, one chunk after the other, and how many each has."""
        self._ends.extend_array(len(self._words) + np.cumsum(lengths))
        self._words.extend_array(words)

    def add_title(self, entity: int, name: str) -> None:
        """A title; one of more than seven words, or of stop words alone, is not looked for."""
        self._seen.extend(bytes(max(entity + 1 - len(self._seen), 0)))
        if not self._seen[entity]:
            self._seen[entity] = True
            self._new[entity] = name

    @property
    def unmatched(self) -> int:
        """Chunks that are not compared with any title yet."""
        return len(self._ends) - self._matched

    @property
    def pending(self) -> bool:
        return bool(self._new) or self.unmatched > 0

    def matches(self, candidates: Callable[[str], Positions]) -> Iterator[tuple[int, int, int]]:
        """What is newly found, as (chunk position, entity, how often). `candidates(name)` are the positions of at least
        those chunks that contain the name."""
        boundary, self._matched = self._matched, len(self._ends)
        for key, size, entity, name in self._take_titles():
            if boundary:
                found = candidates(name)
                chunks, words, owners = self._text(np.sort(found[found < boundary]))
                hits = owners[: len(words) - size + 1][self._runs(words, owners, size) & (_ngrams(words, size) == key)]
                for index, count in Counter(hits.tolist()).items():
                    yield int(chunks[index]), entity, count
        if boundary < self._matched and self._titles:
            filter_ = self._filter()
            for first in range(boundary, self._matched, _BLOCK):
                yield from self._in_chunks(np.arange(first, min(first + _BLOCK, self._matched)), *filter_)

    def _take_titles(self) -> list[tuple[int, int, int, str]]:
        """Take in the titles that are new: (key, number of words, entity, name) of each that is to be looked for."""
        by_size: dict[int, list[tuple[int, str, list[str]]]] = {}
        for entity, name in self._new.items():
            words = words_of(name)
            if 0 < len(words) <= MAX_WORDS and not STOP_WORDS.issuperset([word.lower() for word in words]):
                by_size.setdefault(len(words), []).append((entity, name, words))
        self._new = {}
        taken: list[tuple[int, int, int, str]] = []
        for size, titles in by_size.items():
            keys = _ngrams(self._hashes([word for _, _, words in titles for word in words]), size)[::size]
            for key, (entity, name, _) in zip(keys.tolist(), titles, strict=True):
                self._titles[key] = (*self._titles.get(key, ()), entity)
                taken.append((key, size, entity, name))
        self._sizes.update(by_size)
        return taken

    def _hashes(self, words: Sequence[str]) -> Words:
        return self._vocabulary.hashes(*self._vocabulary.numbers([words]))

    def _filter(self) -> tuple[npt.NDArray[np.bool_], np.uint64]:
        """Which keys may be a title's, by the bits that are left of a key after a shift."""
        bits = (len(self._titles) << _FILTER_BITS).bit_length()
        shift = np.uint64(64 - bits)
        likely = np.zeros(1 << bits, np.bool_)
        likely[np.fromiter(self._titles, np.uint64, len(self._titles)) >> shift] = True
        return likely, shift

    def _in_chunks(
        self, positions: Positions, likely: npt.NDArray[np.bool_], shift: np.uint64
    ) -> Iterator[tuple[int, int, int]]:
        chunks, words, owners = self._text(positions)
        found: Counter[tuple[int, int]] = Counter()
        for size in sorted(self._sizes):
            keys = _ngrams(words, size)
            for index in np.flatnonzero(likely[keys >> shift] & self._runs(words, owners, size)).tolist():
                for entity in self._titles.get(int(keys[index]), ()):
                    found[owners.item(index), entity] += 1
        for (index, entity), count in found.items():
            yield int(chunks[index]), entity, count

    def _text(self, positions: Positions) -> tuple[Positions, Words, Positions]:
        """The positions, their chunks' words one after the other, and for each word the index of its position."""
        ends = self._ends.values[positions]
        starts = np.where(positions > 0, self._ends.values[positions - 1], 0)
        lengths = ends - starts
        return positions, self._words.values[ranges(starts, lengths)], np.repeat(np.arange(len(positions)), lengths)

    @staticmethod
    def _runs(words: Words, owners: Positions, size: int) -> npt.NDArray[np.bool_]:
        """Which runs of `size` words lie in one chunk."""
        count = max(len(words) - size + 1, 0)
        whole: npt.NDArray[np.bool_] = owners[:count] == owners[size - 1 : size - 1 + count]
        return whole
