"""How far answers say what they should: their word overlap with reference answers, and what went wrong where it is low.

The measure is the token F1 of SQuAD (Rajpurkar and others, 2016): the harmonic mean of precision and recall over words,
each as often as both have it, without case, punctuation and articles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from core.errors import InvalidInput
from core.evaluation import JudgedQuestion
from core.service import GraphService
from core.views import Answer

GOOD = 0.5
"""An answer with this token F1 and more says what it should."""
_OTHER = 0.2
"""One with less says something else."""
_TOP_K = 5
_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})


class Failure(StrEnum):
    """Why an answer says too little of what it should: the first of these that holds."""

    DOCUMENT_MISSED = "document_missed"
    """No relevant document is among the first five."""
    OTHER_DOCUMENT = "other_document"
    """Nothing is quoted from a relevant document."""
    OTHER_PASSAGE = "other_passage"
    """Something is, and says something else."""
    PARTIAL = "partial"
    """It says some of it, or much besides."""


def token_f1(text: str, reference: str) -> float:
    """0 to 1; 0 when either has no word."""
    said, wanted = _tokens(text), _tokens(reference)
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def _tokens(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(text.lower()) if word not in _ARTICLES)


async def answer_overlap(service: GraphService, questions: Sequence[JudgedQuestion]) -> dict[str, Any]:
    """Ask every question that has a reference answer: `questions`, the mean `token_f1` of what is quoted, given as an
    answer or named by an abstention; the share `answered` and the mean `answered_token_f1` of those alone; `good`, the
    share with at least one half; and `failures`, how many of the others failed in which way.

    Raises InvalidInput when no question has one."""
    asked = [question for question in questions if question.answer]
    if not asked:
        raise InvalidInput('no question has a reference answer: a text "answer" beside "text"', field="queries")
    scores: list[float] = []
    answered: list[float] = []
    failures = Counter[Failure]()
    for question in asked:
        answer = await service.query(question.text, top_k=_TOP_K)
        score = token_f1(" ".join(source.quote for source in answer.sources), question.answer or "")
        scores.append(score)
        if not answer.abstained:
            answered.append(score)
        if score < GOOD:
            hits = await service.retrieve(question.text, top_k=_TOP_K)
            failures[_failure(question, answer, {hit.document_id for hit in hits}, score)] += 1
    return {
        "questions": len(asked),
        "token_f1": _mean(scores),
        "answered": round(len(answered) / len(asked), 4),
        "answered_token_f1": _mean(answered),
        "good": round(1 - failures.total() / len(asked), 4),
        "failures": {kind.value: failures[kind] for kind in Failure},
    }


def _failure(question: JudgedQuestion, answer: Answer, found: set[str], score: float) -> Failure:
    if question.relevant.isdisjoint(found):
        return Failure.DOCUMENT_MISSED
    if question.relevant.isdisjoint(source.document_id for source in answer.sources):
        return Failure.OTHER_DOCUMENT
    return Failure.OTHER_PASSAGE if score < _OTHER else Failure.PARTIAL


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
