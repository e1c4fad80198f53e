"""The words of chunks, in tantivy: each chunk stemmed in its own language.

All languages share one field, so that lengths are compared over all chunks. The stems of the store's own language stand
in it as they are; those of another carry its code, so that a chunk is found by its own language's reading of a question
and by no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tantivy

from core.analysis.languages import ENGLISH
from core.analysis.stems import analyzer, placed_stems, spaced
from core.index.bm25 import K1, damping
from core.index.columns import Column

_TOKENIZER = "aime"
_HEAP_BYTES = 32 * 1024 * 1024
_HITS_AT_ONCE = 10_000
"""Held as objects, at some hundred bytes each."""
_MOST_COUNTED = 65_535
_PHRASE_SLOP = 1
"""At 2 and more the words may change places, and what tantivy counts then depends on how its segments were cut."""

Positions = npt.NDArray[np.int64]
Counts = npt.NDArray[np.float64]
_Hit = tuple[float, tantivy.DocAddress]
"""What tantivy finds: a score, and where the chunk is."""


class Field(StrEnum):
    TEXT = "text"
    """The title and the chunk's own text."""
    TITLE = "title"

    __hash__ = str.__hash__  # an enumeration's own is Python, and each look-up of what is sought would run it


class Sought(NamedTuple):
    """What a chunk may hold: a term, or two terms that stand `gap` words apart, or one word nearer or further."""

    term: str
    field: Field = Field.TEXT
    second: str = ""
    gap: int = 0


class Rows(NamedTuple):
    """Chunk positions, ascending, and how often what is sought stands in each; shape (n,)."""

    positions: npt.NDArray[np.int32]
    counts: npt.NDArray[np.uint16]


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("chunk", indexed=True, fast=True)
    builder.add_unsigned_field("print", fast=True)
    for field in Field:
        builder.add_unsigned_field(f"{field}_length", fast=True)
    builder.add_text_field(Field.TEXT, tokenizer_name=_TOKENIZER)
    builder.add_text_field(Field.TITLE, tokenizer_name=_TOKENIZER, index_option="freq")
    return builder.build()


class Lexical:
    """Chunks by their words. It only grows: what is visible is the caller's to say. What is added is found after
    `commit`."""

    def __init__(self, directory: Path | None, language: str = ENGLISH) -> None:
        """Open or create; `language` is the store's own. Raises ValueError or OSError when the directory holds
        something else or is damaged."""
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        schema = _schema()
        self._index = tantivy.Index(schema, None if directory is None else str(directory))
        self._schema = schema
        self._index.register_tokenizer(_TOKENIZER, analyzer(language))
        self._index.config_reader("manual")
        self._writer: Any = None
        self._searcher = self._index.searcher()
        self.count: int = self._searcher.num_docs
        """Chunks that were added."""
        self.found = self.count
        """Those of them that can be found."""
        self._lengths = {field: Column(np.int32) for field in Field}
        self._damping: dict[Field, Counts] = {}
        self.languages = [language]
        """Those that were added, the store's own first."""

    def lengths(self, field: Field) -> npt.NDArray[Any]:
        """The number of stems in the field of the chunk at each position."""
        return self._lengths[field].values

    def damping(self, field: Field) -> Counts:
        """BM25's K of each chunk that can be found, in tantivy's scores."""
        held = self._damping.get(field)
        if held is None or len(held) != self.found:
            lengths = self.lengths(field)[: self.found]
            held = self._damping[field] = damping(lengths, float(lengths.mean()) if len(lengths) else 0.0)
        return held

    def prints(self) -> npt.NDArray[np.uint64]:
        """Read what is on disk, once: the fingerprint of the chunk at each position. Raises ValueError when one is
        missing."""
        if not self.count:
            return np.empty(0, np.uint64)
        hits = self._searcher.search(tantivy.Query.all_query(), self.count, count=False).hits
        addresses = [address for _, address in hits]
        positions = np.array(self._searcher.fast_field_values("chunk", list(addresses)), np.int64)
        if len(np.unique(positions)) != self.count or positions.max() != self.count - 1:
            raise ValueError(f"{self.count} chunks are indexed, but not those at the first {self.count} positions")
        order = np.argsort(positions)
        for field in Field:
            lengths = np.array(self._searcher.fast_field_values(f"{field}_length", addresses), np.int32)
            self._lengths[field].extend_array(lengths[order])
        return np.array(self._searcher.fast_field_values("print", addresses), np.uint64)[order]

    def note(self, language: str) -> None:
        """Some chunk, added now or kept on disk, is in this language."""
        if language not in self.languages:
            self.languages = [self.languages[0], *sorted([*self.languages[1:], language])]

    def add(self, text: str, title: str, print_: int, language: str, lengths: Sequence[int]) -> None:
        """The chunk at the next position. Its `text` begins with the title; `lengths` are the numbers of stems of the
        two."""
        self.note(language)
        if self._writer is None:
            self._writer = self._index.writer(_HEAP_BYTES, 1)
        document = tantivy.Document()
        document.add_unsigned("chunk", self.count)
        document.add_unsigned("print", print_)
        for field, content, length in zip(Field, (text, title), lengths, strict=True):
            if content and language == self.languages[0]:
                document.add_text(field, spaced(content))
            elif content:
                document.add_pre_tokenized_text(field, self._marked(content, language))
            document.add_unsigned(f"{field}_length", length)
            self._lengths[field].append(length)
        self._writer.add_document(document)
        self.count += 1

    def _marked(self, text: str, language: str) -> tantivy.PreTokenizedString:
        """A text of another language than the store's, its stems with their language's code."""
        read = analyzer(language).pre_tokenize(spaced(text))
        tokens = [
            tantivy.Token(self.term(token.text, language), token.position, token.char_offset_from, token.char_offset_to)
            for token in read.tokens
        ]
        return tantivy.PreTokenizedString(read.text, tokens)

    def term(self, stem: str, language: str) -> str:
        """A stem as it stands in the field. No analyzer lets the separator pass."""
        return stem if language == self.languages[0] else f"{language}\x1f{stem}"

    @property
    def uncommitted(self) -> int:
        """Chunks that were added and are not found yet."""
        return self.count - self.found

    def commit(self) -> bool:
        """Make what was added durable and findable; whether there was anything."""
        if not self.uncommitted:
            return False
        self._writer.commit()
        self._index.reload()
        self._searcher = self._index.searcher()
        self.found = self._searcher.num_docs
        return True

    def close(self) -> None:
        """Commit, and wait until the writer has let go of the directory."""
        self.commit()
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def frequency(self, term: str, field: Field = Field.TEXT) -> int:
        """How many chunks hold the term."""
        count: int = self._searcher.doc_freq(field, term)
        return count

    def occurrences(self, wanted: Sequence[tuple[Sought, int]]) -> list[Rows]:
        """For each pair of what is sought and a position, the chunks from there on that hold it, and how often each
        does. Numpy makes this of many at the price of one.

        tantivy hands out scores and no counts; with the statistics that it used, one follows from the other."""
        weights = np.array([self._weight(sought) for sought, _ in wanted])
        lengths: list[int] = []
        hits: list[_Hit] = []
        read = []
        for (sought, first), weight in zip(wanted, weights.tolist(), strict=True):
            found = self._search(self._query(sought, first)) if weight else []
            lengths.append(len(found))
            hits.extend(found)
            if len(hits) >= _HITS_AT_ONCE:
                read.append(self._read(hits))
                hits = []
        positions, scores = map(np.concatenate, zip(*read, self._read(hits), strict=True))
        order = np.argsort(np.repeat(np.arange(len(wanted)) * self.count, lengths) + positions)
        positions, scores = positions[order], scores[order]
        ends = list(pairwise(accumulate(lengths, initial=0)))
        runs = [positions[start:end] for start, end in ends]
        damping = [self.damping(sought.field)[run] for (sought, _), run in zip(wanted, runs, strict=True)]
        share = np.minimum(scores / np.repeat(weights * (K1 + 1), lengths), 1 - 1e-9)
        counts = np.clip(np.rint(share * np.concatenate(damping) / (1 - share)), 1, _MOST_COUNTED).astype(np.uint16)
        # Copies: a part would keep the whole alive.
        return [
            Rows(run.astype(np.int32), counts[start:end].copy()) for run, (start, end) in zip(runs, ends, strict=True)
        ]

    def _query(self, sought: Sought, first: int) -> tantivy.Query:
        if sought.second:
            terms: list[str | tuple[int, str]] = [(0, sought.term), (sought.gap, sought.second)]
            query = tantivy.Query.phrase_query(self._schema, sought.field, terms, _PHRASE_SLOP)
        else:
            query = tantivy.Query.term_query(self._schema, sought.field, sought.term, "freq")
        if not first:
            return query
        rest = tantivy.Query.range_query(self._schema, "chunk", tantivy.FieldType.Unsigned, first)
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, query), (tantivy.Occur.Must, tantivy.Query.const_score_query(rest, 0.0))]
        )

    def _weight(self, sought: Sought) -> float:
        """The inverse document frequency in tantivy's scores, in single precision as it has it: of a phrase the sum of
        its terms'. 0 where no chunk holds all."""
        total, result = self.found, np.float32(0)
        for term in filter(None, (sought.term, sought.second)):
            frequency = self.frequency(term, sought.field)
            if not frequency:
                return 0.0
            result += np.log(np.float32(1) + np.float32(total - frequency + 0.5) / np.float32(frequency + 0.5))
        return float(result)

    def phrase(self, text: str) -> Positions:
        """The chunks that may contain the phrase: those that hold its stems at their distances. Unsorted."""
        return np.concatenate([self._phrase(text, language) for language in self.languages])

    def _phrase(self, text: str, language: str) -> Positions:
        placed = [(at, self.term(stem, language)) for at, stem in placed_stems(text, language)]
        if not placed:
            return np.empty(0, np.int64)
        if len({position for position, _ in placed}) == 1:
            query = tantivy.Query.term_query(self._schema, Field.TEXT, placed[0][1])
        else:
            terms: list[str | tuple[int, str]] = [(at - placed[0][0], term) for at, term in placed]
            query = tantivy.Query.phrase_query(self._schema, Field.TEXT, terms)
        return self._read(self._search(query))[0]

    def _search(self, query: tantivy.Query) -> list[_Hit]:
        """All that match, the best first."""
        hits: list[_Hit] = self._searcher.search(query, max(self.found, 1), count=False).hits
        return hits

    def _read(self, hits: Sequence[_Hit]) -> tuple[Positions, npt.NDArray[np.float32]]:
        """The positions of what was found, and the scores."""
        scores, addresses = zip(*hits, strict=True) if hits else ((), ())
        positions = self._searcher.fast_field_values("chunk", list(addresses))
        return np.array(positions, np.int64), np.array(scores, np.float32)
