"""The order of quotations for questions that ask for one in time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.answering.evidence import Sentence
from core.index import Question
from core.index.facets import dated

_ASKS_FOR_ORDER = re.compile(
    r"\b(?:in (?:what|which) order|chronolog\w+|time ?line|sequence of events|over (?:time|the years)|history of)\b",
    re.IGNORECASE,
)


def by_date(question: Question, chosen: Sequence[Sentence]) -> list[Sentence]:
    """The sentences with those of the newest document first if the question asks for the latest, of the oldest if it
    asks (in English) for a course of time; else, and where a document has no date, as they are."""
    if not question.wants_newest and not _ASKS_FOR_ORDER.search(question.text):
        return list(chosen)
    dates = [dated(sentence.passage.document.metadata) for sentence in chosen]
    known = [date.timestamp() for date in dates if date is not None]
    if len(known) < len(chosen):
        return list(chosen)
    # Sorting is stable: sentences of one document stay in their order.
    sign = -1 if question.wants_newest else 1
    order = sorted(range(len(chosen)), key=lambda number: sign * known[number])
    return [chosen[number] for number in order]
