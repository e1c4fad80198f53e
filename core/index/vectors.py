"""Static embeddings: the mean of a text's token vectors, at unit length."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.analysis.english import STOP_WORDS

DIMENSIONS = 256
_WORD_CHARS = 64
"""Longer words are data; their first characters stand for them."""
_ROW_BYTES = DIMENSIONS * 4
_MANY_TOKENS = 1000
_JOINED = 50

Vectors = npt.NDArray[np.float32]


class EmbeddingTable:
    """The 256-dimension table of the `wordllama` wheel. Its package is not imported: its loader goes to the network."""

    def __init__(self) -> None:
        spec = find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("the wordllama package, which carries the embedding table, is not installed")
        package = Path(spec.origin).parent
        self._weights = package / "weights" / "l2_supercat_256.safetensors"
        self._vocabulary = package / "tokenizers" / "l2_supercat_tokenizer_config.json"

    @cached_property
    def id(self) -> str:
        """Names the table and tokenizer: another one makes other vectors."""
        sizes = f"{self._weights.name}:{self._weights.stat().st_size}:{self._vocabulary.stat().st_size}"
        return "words-" + hashlib.blake2b(sizes.encode(), digest_size=8).hexdigest()

    @cached_property
    def _layout(self) -> tuple[int, tuple[int, int]]:
        """Where the matrix begins, and its shape. Layout: safetensors' header, then the matrix."""
        with self._weights.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            (tensor,) = json.loads(file.read(header_bytes)).values()
        if tensor["dtype"] != "F16" or tensor["shape"][1] != DIMENSIONS:
            raise ValueError(f"{self._weights.name} is not a float16 table of {DIMENSIONS} dimensions")
        return 8 + header_bytes + tensor["data_offsets"][0], tuple(tensor["shape"])

    @cached_property
    def _file(self) -> int:
        """The weights, open as long as this process lives."""
        return os.open(self._weights, os.O_RDONLY)

    @cached_property
    def _rows(self) -> Vectors:
        """The matrix as single precision, filled in for the tokens that occur: zeroed pages cost nothing."""
        return np.zeros(self._layout[1], np.float32)

    @cached_property
    def _marks(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which tokens begin with the mark of a space; no token holds one further in, so each word has exactly one. And
        which rows are filled in: those of stop words stay zero, so that they do not count."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        tokens = np.fromiter(vocabulary.values(), np.intp, len(vocabulary))
        opens, filled = np.zeros((2, self._layout[1][0]), np.bool_)
        opens[tokens] = [piece.startswith("▁") for piece in vocabulary]
        filled[tokens] = [piece.lstrip("▁").lower() in STOP_WORDS for piece in vocabulary]
        return opens, filled

    @cached_property
    def _tokenizer(self) -> Any:
        # The library is large; who only wants the table's id never needs it.
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._vocabulary))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def load(self) -> None:
        """Read what embedding needs. It takes a tenth of a second in which no other thread gets to run."""
        self._marks  # noqa: B018 - reads the tokenizer, too

    def tokenise(self, words: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
        """The tokens of all words, one after the other, and where each word's begin. No token reaches across a space,
        so a word's tokens are its own."""
        # A few words joined cost less than each alone, and than all; and `encode_batch_fast` keeps no offsets.
        short = [word[:_WORD_CHARS] for word in words]
        joined = [" ".join(short[at : at + _JOINED]) for at in range(0, len(short), _JOINED)]
        found = self._tokenizer.encode_batch_fast(joined, add_special_tokens=False)
        tokens = np.array(list(chain.from_iterable(each.ids for each in found)), np.int32)
        self._fill(tokens)
        return tokens, np.flatnonzero(self._marks[0][tokens])

    def embed(self, tokens: npt.NDArray[np.int32], ends: npt.NDArray[np.int64]) -> Vectors:
        """One unit vector for each text, shape (n, 256): the mean of its tokens' vectors, stop words left out; zeros
        for a text without any. `tokens`, which `tokenise` found, are those of all texts one after the other, and
        `ends`, shape (n + 1), where each begins and ends. A text's vector does not depend on its neighbours."""
        result = np.zeros((len(ends) - 1, DIMENSIONS), np.float32)
        for row, (start, end) in enumerate(pairwise(ends.tolist())):
            np.add.reduce(self._rows.take(tokens[start:end], axis=0), axis=0, out=result[row])
        return units(result)

    def sums(self, words: Sequence[str]) -> Vectors:
        """For each word the sum of its token vectors, shape (n, 256)."""
        if not words:
            return np.zeros((0, DIMENSIONS), np.float32)
        tokens, starts = self.tokenise(words)
        total: Vectors = np.add.reduceat(self._rows[tokens], starts, axis=0)
        return total

    def embed_question(self, words: Sequence[str], rarity: Sequence[float]) -> Vectors:
        """A question's unit vector, shape (256,): halfway between its plain vector and one whose words count by their
        `rarity`. Only a question's can: a stored vector must not depend on what else is stored."""
        vectors = self.sums(words)
        return unit(unit(vectors.sum(axis=0)) + unit(np.array(rarity, np.float32) @ vectors))

    def whole_words(self) -> tuple[list[str], Vectors]:
        """The words in small letters that are one token each, at least three letters long, sorted; and their tokens'
        vectors, shape (n, 256)."""
        pieces: dict[str, int] = self._tokenizer.get_vocab()
        words = sorted(piece[1:] for piece in pieces if len(piece) > 3 and piece[0] == "▁" and piece[1:].isalpha())
        words = [word for word in words if word == word.lower()]
        tokens = np.array([pieces[f"▁{word}"] for word in words], np.int32)
        self._fill(tokens)
        return words, self._rows[tokens]

    def _fill(self, tokens: npt.NDArray[np.int32]) -> None:
        _, filled = self._marks
        fresh = tokens[~filled[tokens]]
        if len(fresh):
            fresh = np.unique(fresh)
            self._rows[fresh] = self._read(fresh)
            filled[fresh] = True

    def _read(self, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float16]:
        """Rows of the matrix. Of many, all are read for a moment, since calls cost more than bytes."""
        offset, (count, _) = self._layout
        width = 2 * DIMENSIONS
        if len(tokens) < _MANY_TOKENS:
            found = b"".join([os.pread(self._file, width, offset + token * width) for token in tokens.tolist()])
            return np.frombuffer(found, np.float16).reshape(-1, DIMENSIONS)
        everything = os.pread(self._file, width * count, offset)
        return np.frombuffer(everything, np.float16).reshape(-1, DIMENSIONS)[tokens]


@cache
def embedding_table() -> EmbeddingTable:
    """The table of this process: it is large, and the same for every index."""
    return EmbeddingTable()


def unit(vector: Vectors) -> Vectors:
    """At length 1; zeros stay zeros."""
    unit: Vectors = vector / (np.sqrt(vector @ vector) or np.float32(1.0))
    return unit


def units(vectors: Vectors) -> Vectors:
    """Each row at length 1; rows of zeros stay zeros."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    lengths[lengths == 0] = 1
    result: Vectors = vectors / lengths[:, np.newaxis]
    return result


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

    def put(self, positions: Sequence[int], vectors: Vectors) -> None:
        """Write rows at these ascending positions; the end is as far as the first may be."""
        if self._file is None:
            self._tail.append(vectors)
        elif len(positions) == positions[-1] - positions[0] + 1:
            self._write(self._file, positions[0], vectors)
        else:
            for position, vector in zip(positions, vectors, strict=True):
                self._write(self._file, position, vector)
        self._count = max(self._count, positions[-1] + 1)

    @staticmethod
    def _write(file: int, first: int, vectors: Vectors) -> None:
        left, offset = memoryview(vectors.tobytes()), first * _ROW_BYTES
        while left:
            written = os.pwrite(file, left, offset)
            left, offset = left[written:], offset + written

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
