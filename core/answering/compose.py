"""Extractive answers: one to four verbatim sentences, each with the exact place it stands at."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.analysis.stems import stems
from core.answering.groundedness import calibration, validate
from core.index import Question, RankedChunk, Ranking
from core.model import Answer, Source, StoredChunk, StoredDocument

MAX_SENTENCES = 4
_CHUNKS = 8
"""Of the ranking, those that are read for sentences."""
_NEAREST = 3
"""Sources that an abstention names."""
_HEADING_CHARS = 80
_ALIKE = 0.6
_NEW_COVERAGE = 0.08
_STRONG = 0.5
"""The share of the best chunk's score from which another document of a walk is part of the answer."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A candidate. `own` are its stems, `about` the question's stems that it or what stands over it holds."""

    place: tuple[int, int]
    """Rank of the chunk, number of the sentence."""
    chunk: StoredChunk
    ranked: RankedChunk
    quote: str
    own: frozenset[str]
    about: frozenset[str]
    score: float


def compose(
    question: Question,
    ranking: Ranking,
    chunks: Mapping[int, StoredChunk],
    documents: Mapping[str, StoredDocument],
) -> Answer:
    """Answer from the ranked chunks, or abstain and say why. `chunks` and `documents` are the ranking's, by id."""
    candidates = sorted(_candidates(ranking, chunks, documents), key=lambda sentence: (-sentence.score, sentence.place))
    chosen = sorted(_choose(candidates, ranking, question.top_k), key=lambda sentence: sentence.place)
    quotes = [sentence.quote for sentence in chosen]
    titles = [documents[sentence.chunk.document_id].metadata.title or "" for sentence in chosen]
    validation = validate(question.text, quotes, quotes, titles, ranking)
    reason = _reason(question, ranking, validation.groundedness_score, bool(chosen))
    return Answer(
        query=question.text,
        answer=None if reason else " ".join(quotes),
        abstained=reason is not None,
        reason=reason,
        sources=tuple(_source(sentence, documents) for sentence in (chosen[:_NEAREST] if reason else chosen)),
        entities=tuple(asked.entity for asked in ranking.entities),
        validation=validation,
        graph_version=ranking.graph_version,
    )


def _reason(question: Question, ranking: Ranking, score: float, found: bool) -> str | None:
    """Why there is no answer, or None."""
    if not ranking.terms and not ranking.entities:
        return "The question has no words to search for."
    if not found:
        return "Nothing was found that bears on the question."
    least = question.filters.min_groundedness
    if least is not None and score < least:
        return f"The groundedness of the evidence is {score:.2f}, below the {least:.2f} asked for."
    if score < calibration().answer_from:
        return "What was found does not cover the question."
    return None


_LAYOUT = re.compile(r"#{1,6} |\||```|~~~|[-=+*_]{3}")
"""What begins a heading, a table row, a fence or a rule of Markdown: layout, where prose is wanted."""


def _candidates(
    ranking: Ranking, chunks: Mapping[int, StoredChunk], documents: Mapping[str, StoredDocument]
) -> Iterator[Sentence]:
    total = sum(ranking.terms.values()) or 1.0
    top = max((ranked.score for ranked in ranking.chunks), default=1.0) or 1.0
    asked = ranking.terms.keys()
    for rank, ranked in enumerate(ranking.chunks[:_CHUNKS]):
        chunk = chunks.get(ranked.chunk_id)
        if chunk is None or chunk.document_id not in documents:
            continue
        title = asked & set(stems(documents[chunk.document_id].metadata.title or "", ranking.language))
        heading: frozenset[str] = frozenset()
        for number, (start, end) in enumerate(chunk.sentences):
            quote = chunk.text[start:end]
            own = frozenset(stems(quote, ranking.language))
            about = (asked & own) | title | heading
            covered = _weight(ranking, about) / total
            direct = _weight(ranking, asked & own) / total
            asks = quote.endswith(("?", "\uff1f"))
            score = 0.4 * covered + 0.25 * direct + 0.35 * ranked.score / top
            if asks or len(own) < 3 or _LAYOUT.match(quote):
                score *= 0.5
            # A heading or a question speaks for the sentence after it.
            speaks = asks or len(quote) < _HEADING_CHARS or quote.startswith("#")
            heading = frozenset(asked & own) if speaks else frozenset()
            if own:
                yield Sentence((rank, number), chunk, ranked, quote, own, frozenset(about), score)


def _choose(candidates: Sequence[Sentence], ranking: Ranking, most: int) -> list[Sentence]:
    """The best sentence, then those that add to it: more of the question, or another document that a walk led to. They
    come from at most `most` documents."""
    total = sum(ranking.terms.values()) or 1.0
    chosen: list[Sentence] = []
    covered: set[str] = set()
    quoted: set[str] = set()
    for sentence in candidates:
        elsewhere = sentence.chunk.document_id not in quoted
        if (elsewhere and len(quoted) == most) or any(_alike(sentence.own, other.own) for other in chosen):
            continue
        added = _weight(ranking, sentence.about - covered) / total
        bridge = ranking.walked and elsewhere and sentence.ranked.score >= _STRONG * ranking.chunks[0].score
        if not chosen or added >= _NEW_COVERAGE or bridge:
            chosen.append(sentence)
            covered |= sentence.about
            quoted.add(sentence.chunk.document_id)
        if len(chosen) == MAX_SENTENCES:
            break
    return chosen


def _weight(ranking: Ranking, terms: Iterable[str]) -> float:
    """Summed exactly, since the order of a set differs from process to process."""
    return math.fsum(ranking.terms[term] for term in terms)


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= _ALIKE * min(len(one), len(other))


def _source(sentence: Sentence, documents: Mapping[str, StoredDocument]) -> Source:
    chunk = sentence.chunk
    start, end = chunk.sentences[sentence.place[1]]
    metadata = documents[chunk.document_id].metadata
    return Source(
        document_id=chunk.document_id,
        chunk_id=chunk.id,
        ordinal=chunk.ordinal,
        sentence=sentence.place[1],
        start=chunk.start + start,
        end=chunk.start + end,
        quote=sentence.quote,
        title=metadata.title,
        url=metadata.url,
        source=metadata.source,
        score=round(sentence.score, 4),
    )
