"""BM25 over chunks, in tantivy: k1 1.2, b 0.75, English stems; a document's title counts once more by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tantivy

from core.analysis.stems import make_analyzer, placed_stems, spaced

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
    builder.add_text_field("text", tokenizer_name=_TOKENIZER)
    builder.add_text_field("title", tokenizer_name=_TOKENIZER, index_option="freq")
    return builder.build()


class Lexical:
    """Chunks by their words. It only grows: what is visible is the caller's to say, so scores are the same however the
    index came to be. What is added is found after `commit`."""

    def __init__(self, directory: Path | None) -> None:
        """Open or create. Raises ValueError or OSError when the directory holds something else or is damaged."""
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        schema = _schema()
        self._index = tantivy.Index(schema, None if directory is None else str(directory))
        self._schema = schema
        self._index.register_tokenizer(_TOKENIZER, make_analyzer())
        self._index.config_reader("manual")
        self._writer: Any = None
        self._searcher = self._index.searcher()
        self.count = self._searcher.num_docs

    def prints(self) -> npt.NDArray[np.uint64]:
        """The fingerprint of the chunk at each position. Raises ValueError when positions are missing."""
        if not self.count:
            return np.empty(0, np.uint64)
        hits = self._searcher.search(tantivy.Query.all_query(), self.count, count=False).hits
        addresses = [address for _, address in hits]
        positions = np.array(self._searcher.fast_field_values("chunk", addresses), np.int64)
        if len(np.unique(positions)) != self.count or positions.max() != self.count - 1:
            raise ValueError(f"{self.count} chunks are indexed, but not those at the first {self.count} positions")
        result = np.empty(self.count, np.uint64)
        result[positions] = np.array(self._searcher.fast_field_values("print", addresses), np.uint64)
        return result

    def add(self, text: str, title: str, print_: int) -> None:
        """The chunk at the next position. Its `text` has the title in it already."""
        if self._writer is None:
            self._writer = self._index.writer(_HEAP_BYTES, 1)
        document = tantivy.Document()
        document.add_unsigned("chunk", self.count)
        document.add_unsigned("print", print_)
        document.add_text("text", spaced(text))
        if title:
            document.add_text("title", spaced(title))
        self._writer.add_document(document)
        self.count += 1

    @property
    def uncommitted(self) -> int:
        """Chunks that were added and are not found yet."""
        return self.count - self._searcher.num_docs

    def commit(self) -> None:
        """Make what was added durable and findable."""
        if self.uncommitted:
            self._writer.commit()
            self._index.reload()
            self._searcher = self._index.searcher()

    def close(self) -> None:
        """Commit, and wait until the writer has let go of the directory."""
        self.commit()
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def idf(self, terms: Sequence[str], field: str = "text") -> dict[str, float]:
        """BM25's inverse document frequency of each stem, over all chunks ever added."""
        total = self._searcher.num_docs
        frequency = ((term, self._searcher.doc_freq(field, term)) for term in terms)
        return {term: float(np.log1p((total - count + 0.5) / (count + 0.5))) for term, count in frequency}

    def search(
        self, terms: Sequence[str], allowed: Positions, need: int, alike: Alike | None = None
    ) -> tuple[Positions, Scores]:
        """At least the `need` best of the `allowed` chunks (sorted positions), or all that match, best first.

        Which come is decided by scores alone, never by the order in which the index was written."""
        if not terms or not len(allowed):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = self._any(self._wanted(terms, alike or {}))
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

    def phrases(self, placed: Sequence[tuple[int, str]], among: Positions) -> tuple[Positions, Scores]:
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
            tantivy.Query.phrase_query(self._schema, "text", [(0, first), (gap, second)], _PHRASE_SLOP)
            for (first, second), gap in pairs.items()
        ]
        query = self._within(tantivy.Query.boost_query(self._any(near), _PHRASE_WEIGHT), among)
        positions, scores, _ = self._hits(query, len(among))
        return positions, scores

    def left(self, terms: Sequence[str], seeds: Positions, among: Positions) -> npt.NDArray[np.float64]:
        """The score of each chunk of `among` (sorted), counting only the stems that no chunk of `seeds` holds."""
        result = np.zeros(len(among))
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

    def _wanted(self, terms: Sequence[str], alike: Alike) -> list[tantivy.Query]:
        """What each stem asks for: itself or, for less, one that is like it; and itself in the title, where it weighs
        as much as it is rare in texts, not in titles."""
        rarity = self.idf([*terms, *(other for term in terms for other, _ in alike.get(term, ()))])
        in_titles = self.idf(terms, "title")
        wanted = []
        for term in terms:
            itself = self._term("text", term)
            others = [
                tantivy.Query.boost_query(self._term("text", other), likeness * min(1.0, rarity[term] / rarity[other]))
                for other, likeness in alike.get(term, ())
            ]
            wanted.append(tantivy.Query.disjunction_max_query([itself, *others]) if others else itself)
            weight = _TITLE_WEIGHT * rarity[term] / in_titles[term]
            wanted.append(tantivy.Query.boost_query(self._term("title", term), weight))
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

    def phrase(self, text: str) -> Positions:
        """The chunks that may contain the phrase: those that hold its stems at their distances. Unsorted."""
        placed = placed_stems(text)
        if not placed:
            return np.empty(0, np.int64)
        if len({position for position, _ in placed}) == 1:
            query = tantivy.Query.term_query(self._schema, "text", placed[0][1])
        else:
            query = tantivy.Query.phrase_query(self._schema, "text", [(at - placed[0][0], stem) for at, stem in placed])
        return self._hits(query, max(self._searcher.num_docs, 1))[0]

    def _hits(self, query: tantivy.Query, limit: int) -> tuple[Positions, Scores, bool]:
        """Positions and scores, best first, and whether that is all."""
        limit = min(limit, max(self._searcher.num_docs, 1))
        hits = self._searcher.search(query, limit, count=False).hits
        ids = self._searcher.fast_field_values("chunk", [address for _, address in hits])
        scores = np.fromiter((score for score, _ in hits), np.float32, len(hits))
        return np.array(ids, np.int64), scores, len(hits) < limit or limit == self._searcher.num_docs
