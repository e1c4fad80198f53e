"""The sentences of the best chunks, with what the question asks of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from core.analysis import title_name
from core.analysis.stems import stems
from core.answering.reading import Kind, Text, read
from core.index import RankedChunk, Ranking
from core.model import StoredChunk, StoredDocument

_SITE = re.compile(r"\s+[|\u2013\u2014-]\s+")
"""What parts a page's title from the name of the site."""
_COPY = 0.85
"""The share of their words that two passages have in common when one is a copy of the other."""
_INTRODUCTION = 0.5
"""How much a document's title counts as the heading of its first chunk, beside a heading of the text."""


class Sentence(NamedTuple):
    """A sentence with what stands over it."""

    place: tuple[int, int]
    """Rank of the chunk, number of the sentence."""
    passage: Passage
    start: int
    """Where the quotation begins in the chunk."""
    quote: str
    kind: Kind
    own: frozenset[str]
    """Its stems."""
    heading: frozenset[str]
    """The stems of the heading that it stands under; of the title, before the first heading of a document."""
    titled: bool
    """The heading is the document's title."""
    leads: bool
    """It is the first under its heading."""


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A ranked chunk with its document."""

    rank: int
    ranked: RankedChunk
    chunk: StoredChunk
    document: StoredDocument
    name: str
    """What the document's title names: without a suffix in brackets, and without the name of the site."""
    title: frozenset[str]
    """The stems of the whole title."""
    topic: frozenset[str]
    """Those of its name."""

    @property
    def document_id(self) -> str:
        return self.chunk.document_id


class Evidence:
    """What was found for a question, read for sentences."""

    def __init__(
        self, ranking: Ranking, chunks: Mapping[int, StoredChunk], documents: Mapping[str, StoredDocument]
    ) -> None:
        self.ranking = ranking
        self.language = ranking.language
        self.terms = ranking.terms
        self.asked = frozenset(self.terms)
        self._total = math.fsum(self.terms.values()) or 1.0
        self._shares: dict[frozenset[str], float] = {}
        """Few of the many sentences hold any of the question's words, and fewer hold different ones."""
        self.passages = tuple(_passages(ranking, chunks, documents))
        texts = [read(passage.chunk, self.language) for passage in self.passages]
        self.sentences = tuple(chain.from_iterable(map(_sentences, self.passages, texts)))
        self.telling = tuple(sentence for sentence in self.sentences if not self.asked.isdisjoint(sentence.own))
        """Those that hold any of the question's words: few do."""
        self.held = {
            passage.rank: passage.title | text.held for passage, text in zip(self.passages, texts, strict=True)
        }
        """The stems of each passage and its title, by rank."""
        self.same = frozenset(passage.document_id for passage in self.passages if self._repeats_best(passage))
        """The best document and its copies: what they share speaks for the answer, not against it."""
        self.top = max((passage.ranked.score for passage in self.passages), default=1.0) or 1.0

    def _repeats_best(self, passage: Passage) -> bool:
        """Whether a passage is of the best document, or so like the best one that the question cannot tell them."""
        best = self.passages[0]
        if passage.document_id == best.document_id:
            return True
        first, other = self.held[best.rank], self.held[passage.rank]
        if len(first & other) < _COPY * max(len(first), len(other)):
            return False
        return self.asked & first == self.asked & other

    def share(self, words: AbstractSet[str]) -> float:
        """The share of the question that a set of stems holds, weighted by rarity. Summed exactly, since the order of
        a set differs from process to process."""
        held = self.asked & words
        if not held:
            return 0.0
        known = self._shares.get(held)
        if known is None:
            known = self._shares[held] = math.fsum(self.terms[word] for word in held) / self._total
        return known

    def about(self, heading: frozenset[str]) -> float:
        """How far a heading or title says what is asked: the share of the question that it holds, times the share of it
        that the question holds."""
        held = len(self.asked & heading)
        return self.share(heading) * held / len(heading) if held else 0.0

    def spoken_of(self, sentence: Sentence) -> float:
        """How far what stands over a sentence says what is asked."""
        return self.about(sentence.heading) * (_INTRODUCTION if sentence.titled else 1.0)


def _passages(
    ranking: Ranking, chunks: Mapping[int, StoredChunk], documents: Mapping[str, StoredDocument]
) -> Iterator[Passage]:
    for rank, ranked in enumerate(ranking.chunks):
        chunk = chunks.get(ranked.chunk_id)
        document = documents.get(ranked.document_id)
        if chunk is None or document is None:
            continue
        title = document.metadata.title or ""
        name = title_name(_SITE.split(title, maxsplit=1)[0])
        whole = frozenset(stems(title, ranking.language))
        topic = whole if name == title else frozenset(stems(name, ranking.language))
        yield Passage(rank, ranked, chunk, document, name, whole, topic)


def _sentences(passage: Passage, text: Text) -> Iterator[Sentence]:
    # Before the first heading of a document its title is the heading.
    before = frozenset[str]() if passage.chunk.ordinal else passage.topic
    for number, start, quote, kind, own, heading, leads in text.lines:
        titled = heading is None and not passage.chunk.ordinal
        over = before if heading is None else heading
        yield Sentence((passage.rank, number), passage, start, quote, kind, own, over, titled, leads)
