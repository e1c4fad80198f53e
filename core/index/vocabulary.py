"""The words that texts are made of: each is looked at once, however often it occurs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.analysis.languages import ENGLISH
from core.analysis.stems import stem_count
from core.index.columns import Column, ranges

REMEMBERED_WORDS = 200_000
"""Once there are more, all are forgotten, and looked at again as they come."""

Numbers = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.int32]

_UNKNOWN = -1


class _Numbering(dict[str, int]):
    """A number for each word, given when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        """By number."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self.words)
        self.words.append(word)
        return number


class Vocabulary:
    """A number for each word, and for each number the word's hash, how many stems it has in `language`, and its tokens.
    `tokenise` finds the tokens of many words: all of them one after the other, and where each word's begin.

    Numbers are good until `numbers` is called again."""

    def __init__(
        self, tokenise: Callable[[Sequence[str]], tuple[Tokens, npt.NDArray[Any]]], language: str = ENGLISH
    ) -> None:
        self._tokenise = tokenise
        self._language = language
        self._forget()

    def _forget(self) -> None:
        self._numbering = _Numbering()
        self._hash = Column(np.int64)
        self._stems = Column(np.int32)
        self._token = Column(np.int32)
        self._first = Column(np.int64)
        self._length = Column(np.int32)

    def numbers(self, texts: Iterable[Sequence[str]]) -> list[Numbers]:
        """The numbers of each text's words, shape (n)."""
        known = len(self._numbering)
        if known > REMEMBERED_WORDS:
            self._forget()
            known = 0
        number = self._numbering.__getitem__
        found = [np.fromiter(map(number, words), np.int32, len(words)) for words in texts]
        self._look_at(self._numbering.words[known:])
        return found

    def _look_at(self, unknown: Sequence[str]) -> None:
        """The words with the next numbers."""
        # `hash` is keyed anew in each process, and these never leave it.
        self._hash.extend_array(np.fromiter([hash(word.lower()) for word in unknown], np.int64, len(unknown)))
        counts = [stem_count(word, self._language) for word in unknown]
        self._stems.extend_array(np.fromiter(counts, np.int32, len(unknown)))
        # Only what is embedded needs tokens; after a restart most texts are embedded already.
        self._first.extend_array(np.zeros(len(unknown), np.int64))
        self._length.extend_array(np.full(len(unknown), _UNKNOWN, np.int32))

    def stems(self, numbers: Numbers) -> npt.NDArray[np.int32]:
        """How many stems each of these words has, shape (n)."""
        stems: npt.NDArray[np.int32] = self._stems.values[numbers]
        return stems

    def hashes(self, numbers: Numbers) -> npt.NDArray[np.uint64]:
        """A hash of each word's lower case, shape (n)."""
        return self._hash.values[numbers].view(np.uint64)

    def tokens(self, numbers: Numbers) -> tuple[Tokens, npt.NDArray[np.int64]]:
        """The tokens of these words, one after the other, and shape (n + 1), where each word's begin and end."""
        lengths = self._length.values[numbers]
        if (lengths == _UNKNOWN).any():
            self._find_tokens(np.unique(numbers[lengths == _UNKNOWN]))
            lengths = self._length.values[numbers]
        ends = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        return self._token.values[ranges(self._first.values[numbers], lengths)], ends

    def _find_tokens(self, numbers: Numbers) -> None:
        tokens, starts = self._tokenise([self._numbering.words[number] for number in numbers.tolist()])
        self._first.values[numbers] = len(self._token) + starts
        self._length.values[numbers] = np.diff(starts, append=len(tokens))
        self._token.extend_array(tokens)
