"""Static embeddings: the mean of a text's token vectors, at unit length."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.analysis.english import STOP_WORDS
from core.analysis.stems import spaced, stems

DIMENSIONS = 256
_REMEMBERED_WORDS = 200_000
_WORD_CHARS = 64
"""Longer words are data; their first characters stand for them."""
_WORD = re.compile(r"\w+")
_ROW_BYTES = DIMENSIONS * 4

Vectors = npt.NDArray[np.float32]


def words_in(text: str) -> list[str]:
    """The words that are embedded."""
    return _WORD.findall(spaced(text))


class EmbeddingTable:
    """The 256-dimension table of the `wordllama` wheel. Its package is not imported: its loader goes to the network."""

    def __init__(self) -> None:
        spec = find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("the wordllama package, which carries the embedding table, is not installed")
        package = Path(spec.origin).parent
        self._weights = package / "weights" / "l2_supercat_256.safetensors"
        self._vocabulary = package / "tokenizers" / "l2_supercat_tokenizer_config.json"
        self._tokens: dict[str, list[int]] = {}

    @cached_property
    def id(self) -> str:
        """Names the table and tokenizer: another one makes other vectors."""
        sizes = f"{self._weights.name}:{self._weights.stat().st_size}:{self._vocabulary.stat().st_size}"
        return "words-" + hashlib.blake2b(sizes.encode(), digest_size=8).hexdigest()

    @cached_property
    def _halves(self) -> npt.NDArray[Any]:
        """Mapped, not read: a page that no token needs costs nothing. Layout: safetensors' header, then the matrix."""
        with self._weights.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            (tensor,) = json.loads(file.read(header_bytes)).values()
        if tensor["dtype"] != "F16" or tensor["shape"][1] != DIMENSIONS:
            raise ValueError(f"{self._weights.name} is not a float16 table of {DIMENSIONS} dimensions")
        offset = 8 + header_bytes + tensor["data_offsets"][0]
        return np.asarray(np.memmap(self._weights, np.float16, "r", offset=offset, shape=tuple(tensor["shape"])))

    @cached_property
    def _rows(self) -> Vectors:
        """The same as single precision, filled in for the tokens that occur: zeroed pages cost nothing."""
        return np.zeros(self._halves.shape, np.float32)

    @cached_property
    def _marks(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which tokens begin with the mark of a space; no token holds one further in, so each word has exactly one. And
        which rows are filled in: those of stop words stay zero, so that they do not count."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        tokens = np.fromiter(vocabulary.values(), np.intp, len(vocabulary))
        opens, filled = np.zeros((2, len(self._halves)), np.bool_)
        opens[tokens] = [piece.startswith("▁") for piece in vocabulary]
        filled[tokens] = [piece.lstrip("▁").lower() in STOP_WORDS for piece in vocabulary]
        return opens, filled

    @cached_property
    def _tokenizer(self) -> Any:
        # The library is large; a hub that only reads its store's tables never needs it.
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._vocabulary))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text, shape (n, 256): the mean of its tokens' vectors, stop words left out; zeros
        for a text without any. A text's vector does not depend on its neighbours."""
        words = [words_in(text) for text in texts]
        self._learn(set().union(*words))
        known = self._tokens
        result = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, found in enumerate(words):
            tokens = np.fromiter(chain.from_iterable([known[word] for word in found]), np.intp)
            total = self._rows[tokens].sum(axis=0)
            result[row] = total / (np.sqrt(total @ total) or 1.0)
        return result

    def embed_question(self, text: str, rarity: Mapping[str, float]) -> Vectors:
        """A question's unit vector, shape (256,): halfway between its plain vector and one whose words count by the
        `rarity` of their stems. Only a question's can: a stored vector must not depend on what else is stored."""
        words = words_in(text)
        self._learn(set(words))
        plain, weighted = np.zeros((2, DIMENSIONS), np.float32)
        for word, count in Counter(words).items():
            vector = count * self._rows[self._tokens[word]].sum(axis=0)
            plain += vector
            weighted += vector * max((rarity.get(stem, 0.0) for stem in stems(word)), default=0.0)
        return unit(unit(plain) + unit(weighted))

    def word(self, word: str) -> Vectors:
        """The sum of the word's token vectors, shape (256,)."""
        self._learn({word})
        total: Vectors = self._rows[self._tokens[word]].sum(axis=0)
        return total

    def whole_words(self) -> list[str]:
        """The words in small letters that are one token each, at least three letters long, sorted."""
        pieces: dict[str, int] = self._tokenizer.get_vocab()
        words = sorted(piece[1:] for piece in pieces if len(piece) > 3 and piece[0] == "▁" and piece[1:].isalpha())
        words = [word for word in words if word == word.lower()]
        self._learn(set(words))
        return [word for word in words if len(self._tokens[word]) == 1]

    def _learn(self, words: set[str]) -> None:
        """Remember the tokens of these words. No token reaches across a space, so a word's tokens are its own; to look
        them up costs a tenth of finding them."""
        unknown = [word for word in words if word not in self._tokens]
        if not unknown:
            return
        if len(self._tokens) + len(unknown) > _REMEMBERED_WORDS:
            self._tokens.clear()
            unknown = list(words)
        # Joined they cost half of what each costs alone.
        joined = " ".join([word[:_WORD_CHARS] for word in unknown])
        tokens = np.array(self._tokenizer.encode(joined, add_special_tokens=False).ids, np.intp)
        self._fill(np.unique(tokens))
        starts = np.flatnonzero(self._marks[0][tokens]).tolist()
        found = tokens.tolist()
        self._tokens.update(zip(unknown, map(found.__getitem__, map(slice, starts, [*starts[1:], None])), strict=True))

    def _fill(self, tokens: npt.NDArray[np.intp]) -> None:
        _, filled = self._marks
        fresh = tokens[~filled[tokens]]
        if len(fresh):
            self._rows[fresh] = self._halves[fresh]
            filled[fresh] = True


def unit(vector: Vectors) -> Vectors:
    """At length 1; zeros stay zeros."""
    unit: Vectors = vector / (np.sqrt(vector @ vector) or np.float32(1.0))
    return unit


class VectorFile:
    """Rows of float32 vectors, appended and never changed; in memory when `path` is None.

    Rows beyond the first `most` are cut off when the file is opened, as is a tail torn by a crash: nothing vouches for
    the texts that they were made of. A row of zeros is not a vector: the caller embeds it anew."""

    def __init__(self, path: Path | None, most: int) -> None:
        self._path = path
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._count = 0
        self._rows: Vectors = np.zeros((0, DIMENSIONS), np.float32)
        self._tail: list[Vectors] = []
        if self._file is not None:
            self._count = min(os.fstat(self._file).st_size // _ROW_BYTES, most)
            os.ftruncate(self._file, self._count * _ROW_BYTES)
            self._map()

    def __len__(self) -> int:
        return self._count

    def holes(self) -> npt.NDArray[np.bool_]:
        """Which rows are all zeros: never written before a crash, or of a text without tokens."""
        missing: npt.NDArray[np.bool_] = np.logical_not(self.rows.any(axis=1))
        return missing

    def put(self, first: int, vectors: Vectors) -> None:
        """Write rows from `first` on; the end is as far as they may start."""
        if self._file is not None:
            left, offset = memoryview(vectors.tobytes()), first * _ROW_BYTES
            while left:
                written = os.pwrite(self._file, left, offset)
                left, offset = left[written:], offset + written
        else:
            self._tail.append(vectors)
        self._count = max(self._count, first + len(vectors))

    @property
    def rows(self) -> Vectors:
        """All vectors, shape (n, 256)."""
        if self._tail:
            self._rows = np.concatenate([self._rows, *self._tail])
            self._tail = []
        elif len(self._rows) < self._count:
            self._map()
        return self._rows

    def close(self) -> None:
        self._rows = np.zeros((0, DIMENSIONS), np.float32)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _map(self) -> None:
        if self._path is not None and self._count:
            self._rows = np.asarray(np.memmap(self._path, np.float32, "r", shape=(self._count, DIMENSIONS)))
