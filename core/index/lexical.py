"""BM25 over chunks, in tantivy: each chunk stemmed in its own language.

All languages share one field, so that lengths are compared over all chunks. The stems of the store's own language stand
in it as they are; those of another carry its code, so that a chunk is found by its own language's reading of a question
and by no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tantivy

from core.analysis.languages import ENGLISH
from core.analysis.stems import analyzer, placed_stems, spaced
from core.index.columns import Column

K1 = 1.2
B = 0.75
"""Both are tantivy's, and cannot be changed."""
_TOKENIZER = "aime"
_HEAP_BYTES = 32 * 1024 * 1024
_NARROW = 2_000
"""Up to so many allowed chunks are named in the query; more are sifted from the best hits."""
_FIRST_HITS = 512

_TITLE_WEIGHT = 0.3
"""Of a stem in the title, beside what it counts as one of the chunk's."""
_PHRASE_WEIGHT = 0.1
_PHRASE_SLOP = 1
"""At 2 and more the words may change places, and what tantivy counts then depends on how its segments were cut."""
_PHRASE_GAP = 4
"""Words further apart than this in the question are no phrase; stop words count."""
_EXACT_BITS = 24

Alike = Mapping[str, Sequence[tuple[str, float]]]
"""For a stem, stems that may stand for it, each with its likeness in 0..1."""

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("chunk", indexed=True, fast=True)
    builder.add_unsigned_field("print", fast=True)
    builder.add_unsigned_field("length", fast=True)
    builder.add_text_field("text", tokenizer_name=_TOKENIZER)
    builder.add_text_field("title", tokenizer_name=_TOKENIZER, index_option="freq")
    return builder.build()


class Lexical:
    """Chunks by their words. It only grows: what is visible is the caller's to say, so scores are the same however the
    index came to be. What is added is found after `commit`."""

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
        self.count = self._searcher.num_docs
        self._lengths = Column(np.int32)
        self.languages = [language]
        """Those that were added, the store's own first."""

    @property
    def lengths(self) -> npt.NDArray[Any]:
        """The number of stems in the chunk at each position."""
        return self._lengths.values

    def prints(self) -> npt.NDArray[np.uint64]:
        """Read what is on disk, once: the fingerprint of the chunk at each position. Raises ValueError when one is
        missing."""
        if not self.count:
            return np.empty(0, np.uint64)
        hits = self._searcher.search(tantivy.Query.all_query(), self.count, count=False).hits
        addresses = [address for _, address in hits]
        positions = np.array(self._searcher.fast_field_values("chunk", addresses), np.int64)
        if len(np.unique(positions)) != self.count or positions.max() != self.count - 1:
            raise ValueError(f"{self.count} chunks are indexed, but not those at the first {self.count} positions")
        lengths = np.empty(self.count, np.int32)
        lengths[positions] = np.array(self._searcher.fast_field_values("length", addresses), np.int32)
        self._lengths.extend_array(lengths)
        result = np.empty(self.count, np.uint64)
        result[positions] = np.array(self._searcher.fast_field_values("print", addresses), np.uint64)
        return result

    def note(self, language: str) -> None:
        """Some chunk, added now or kept on disk, is in this language."""
        if language not in self.languages:
            self.languages = [self.languages[0], *sorted([*self.languages[1:], language])]

    def add(self, text: str, title: str, print_: int, language: str, length: int) -> None:
        """The chunk at the next position. Its `text` begins with the title; `length` is the number of its stems."""
        self.note(language)
        if self._writer is None:
            self._writer = self._index.writer(_HEAP_BYTES, 1)
        document = tantivy.Document()
        document.add_unsigned("chunk", self.count)
        document.add_unsigned("print", print_)
        if language == self.languages[0]:
            document.add_text("text", spaced(text))
            if title:
                document.add_text("title", spaced(title))
        else:
            document.add_pre_tokenized_text("text", self._marked(text, language))
            if title:
                document.add_pre_tokenized_text("title", self._marked(title, language))
        document.add_unsigned("length", length)
        self._writer.add_document(document)
        self._lengths.append(length)
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
        return self.count - self._searcher.num_docs

    def commit(self) -> bool:
        """Make what was added durable and findable; whether there was anything."""
        if not self.uncommitted:
            return False
        self._writer.commit()
        self._index.reload()
        self._searcher = self._index.searcher()
        return True

    def close(self) -> None:
        """Commit, and wait until the writer has let go of the directory."""
        self.commit()
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def idf(self, stems: Sequence[str], language: str, field: str = "text") -> dict[str, float]:
        """BM25's inverse document frequency of each stem of a language, over all chunks ever added."""
        total = self._searcher.num_docs
        frequency = ((stem, self._searcher.doc_freq(field, self.term(stem, language))) for stem in stems)
        return {stem: float(np.log1p((total - count + 0.5) / (count + 0.5))) for stem, count in frequency}

    def search(
        self, stems: Sequence[str], allowed: Positions, need: int, language: str, alike: Alike | None = None
    ) -> tuple[Positions, Scores]:
        """At least the `need` best of the `allowed` chunks (sorted positions) for the stems of a language, or all that
        match, best first.

        Which come is decided by scores alone, never by the order in which the index was written."""
        if not stems or not len(allowed):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = self._any(self._wanted(stems, alike or {}, language))
        if len(allowed) <= min(_NARROW, self.count // 4):
            query = self._within(query, allowed)
        limit = max(_FIRST_HITS, 2 * need)
        while True:
            ids, scores, complete = self._hits(query, limit)
            if not complete:
                # Of equals at the cut some are missing, by accident of order: leave them all out.
                keep = scores > scores[-1]
                ids, scores = ids[keep], scores[keep]
            if len(allowed) < self.count:
                place = np.searchsorted(allowed, ids)
                seen = allowed[np.minimum(place, len(allowed) - 1)] == ids
                ids, scores = ids[seen], scores[seen]
            if complete or len(ids) >= need:
                return ids, scores
            limit *= 8

    def phrases(self, placed: Sequence[tuple[int, str]], among: Positions, language: str) -> tuple[Positions, Scores]:
        """Which of the chunks `among` hold neighbouring words of a question near each other, and how much that counts
        on top of their words. `placed` are the question's stems with their positions."""
        pairs = {
            (first, second): later - earlier
            for (earlier, first), (later, second) in pairwise(placed)
            if first != second and 0 < later - earlier <= _PHRASE_GAP
        }
        if not pairs or not len(among):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        near = [
            tantivy.Query.phrase_query(
                self._schema,
                "text",
                [(0, self.term(first, language)), (gap, self.term(second, language))],
                _PHRASE_SLOP,
            )
            for (first, second), gap in pairs.items()
        ]
        query = self._within(tantivy.Query.boost_query(self._any(near), _PHRASE_WEIGHT), among)
        positions, scores, _ = self._hits(query, len(among))
        return positions, scores

    def left(self, stems: Sequence[str], seeds: Positions, among: Positions, language: str) -> npt.NDArray[np.float64]:
        """The score of each chunk of `among` (sorted), counting only the stems that no chunk of `seeds` holds."""
        result = np.zeros(len(among))
        terms = [self.term(stem, language) for stem in stems]
        held = self._held(terms, seeds)
        missing = [self._term("text", term) for term in terms if term not in held]
        if missing:
            positions, scores, _ = self._hits(self._within(self._any(missing), among), len(among))
            result[np.searchsorted(among, positions)] = scores
        return result

    def _held(self, terms: Sequence[str], positions: Positions) -> set[str]:
        """Which of the stems these chunks hold. One search tells of many: each stem scores a power of two of its own,
        and single precision adds whole numbers of 24 bits exactly."""
        held: set[str] = set()
        for first in range(0, len(terms), _EXACT_BITS):
            batch = terms[first : first + _EXACT_BITS]
            marks = [
                tantivy.Query.const_score_query(self._term("text", term), float(1 << bit))
                for bit, term in enumerate(batch)
            ]
            _, scores, _ = self._hits(self._within(self._any(marks), positions), len(positions))
            seen = int(np.bitwise_or.reduce(scores.astype(np.int64), initial=0))
            held.update(term for bit, term in enumerate(batch) if seen >> bit & 1)
        return held

    def _wanted(self, stems: Sequence[str], alike: Alike, language: str) -> list[tantivy.Query]:
        """What each stem asks for: itself or, for less, one that is like it; and itself in the title, where it weighs
        as much as it is rare in texts, not in titles."""
        rarity = self.idf([*stems, *(other for stem in stems for other, _ in alike.get(stem, ()))], language)
        in_titles = self.idf(stems, language, "title")
        wanted = []
        for stem in stems:
            itself = self._term("text", self.term(stem, language))
            others = [
                tantivy.Query.boost_query(
                    self._term("text", self.term(other, language)), likeness * min(1.0, rarity[stem] / rarity[other])
                )
                for other, likeness in alike.get(stem, ())
            ]
            wanted.append(tantivy.Query.disjunction_max_query([itself, *others]) if others else itself)
            weight = _TITLE_WEIGHT * rarity[stem] / in_titles[stem]
            wanted.append(tantivy.Query.boost_query(self._term("title", self.term(stem, language)), weight))
        return wanted

    def _term(self, field: str, term: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, term, "freq")

    @staticmethod
    def _any(queries: Sequence[tantivy.Query]) -> tantivy.Query:
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in queries])

    def _within(self, query: tantivy.Query, positions: Positions) -> tantivy.Query:
        """The query, for these chunks alone."""
        these = tantivy.Query.term_set_query(self._schema, "chunk", positions.tolist())
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, query), (tantivy.Occur.Must, tantivy.Query.const_score_query(these, 0.0))]
        )

    def scored(self, term: str) -> tuple[Positions, Scores, float]:
        """All chunks that hold the stem, their scores, and the inverse document frequency in those, rounded as tantivy
        rounds it."""
        total, frequency = self._searcher.num_docs, self._searcher.doc_freq("text", term)
        odds = np.float32(total - frequency + 0.5) / np.float32(frequency + 0.5)
        query = tantivy.Query.term_query(self._schema, "text", term, "freq")
        positions, scores, _ = self._hits(query, max(total, 1))
        return positions, scores, float(np.log(np.float32(1) + odds))

    def phrase(self, text: str) -> Positions:
        """The chunks that may contain the phrase: those that hold its stems at their distances. Unsorted."""
        return np.concatenate([self._phrase(text, language) for language in self.languages])

    def _phrase(self, text: str, language: str) -> Positions:
        placed = [(at, self.term(stem, language)) for at, stem in placed_stems(text, language)]
        if not placed:
            return np.empty(0, np.int64)
        if len({position for position, _ in placed}) == 1:
            query = tantivy.Query.term_query(self._schema, "text", placed[0][1])
        else:
            query = tantivy.Query.phrase_query(self._schema, "text", [(at - placed[0][0], term) for at, term in placed])
        return self._hits(query, max(self._searcher.num_docs, 1))[0]

    def _hits(self, query: tantivy.Query, limit: int) -> tuple[Positions, Scores, bool]:
        """Positions and scores, best first, and whether that is all."""
        limit = min(limit, max(self._searcher.num_docs, 1))
        hits = self._searcher.search(query, limit, count=False).hits
        ids = self._searcher.fast_field_values("chunk", [address for _, address in hits])
        scores = np.fromiter((score for score, _ in hits), np.float32, len(hits))
        return np.array(ids, np.int64), scores, len(hits) < limit or limit == self._searcher.num_docs
