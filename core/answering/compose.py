"""Extractive answers: one to four verbatim sentences, each with the exact place it stands at."""

from __future__ import annotations

from collections.abc import Sequence

from core.answering.calibration import calibration
from core.answering.choose import choose, score
from core.answering.dates import by_date
from core.answering.evidence import Evidence, Sentence
from core.answering.groundedness import states, validate
from core.index import Question, Ranking, Words
from core.views import Answer, Source

_NEAREST = 3
"""Sources that an abstention names."""


def extract(question: Question, evidence: Evidence, words: Words) -> Answer:
    """Answer with sentences of the evidence, or abstain and say why."""
    ranking = evidence.ranking
    chosen = by_date(question, choose(question.text, evidence, question.top_k))
    quotes = [sentence.quote for sentence in chosen]
    validation = validate(question.text, evidence, chosen, quotes, words)
    reason = abstention(question, ranking, validation.groundedness_score, chosen)
    return Answer(
        query=question.text,
        answer=None if reason else " ".join(quotes),
        abstained=reason is not None,
        reason=reason,
        sources=tuple(source(sentence, evidence) for sentence in (chosen[:_NEAREST] if reason else chosen)),
        entities=tuple(asked.entity for asked in ranking.entities),
        validation=validation,
        graph_version=ranking.graph_version,
    )


def abstention(question: Question, ranking: Ranking, groundedness: float, chosen: Sequence[Sentence]) -> str | None:
    """Why there is no answer, or None."""
    if not ranking.terms and not ranking.entities:
        return "The question has no words to search for."
    if not chosen:
        return "Nothing was found that bears on the question."
    least = question.filters.min_groundedness
    if least is not None and groundedness < least:
        return f"The groundedness of the evidence is {groundedness:.2f}, below the {least:.2f} asked for."
    if groundedness < calibration().answers(statement=states(question.text, ranking.language)).answer_from:
        return "What was found does not cover the question."
    return None


def source(sentence: Sentence, evidence: Evidence) -> Source:
    """Where a sentence stands, to the character."""
    chunk = sentence.passage.chunk
    start = chunk.start + sentence.start
    metadata = sentence.passage.document.metadata
    return Source(
        document_id=chunk.document_id,
        chunk_id=chunk.id,
        ordinal=chunk.ordinal,
        sentence=sentence.place[1],
        start=start,
        end=start + len(sentence.quote),
        quote=sentence.quote,
        title=metadata.title,
        url=metadata.url,
        source=metadata.source,
        score=round(max(score(evidence, sentence), 0.0), 4),
    )
