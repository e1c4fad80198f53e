"""How honestly the hub abstains: judged questions asked with their documents there, and with them deleted.

Answerable is a question whose relevant documents are all among the first five; unanswerable is one asked after they
were deleted. Deleting is done in ten parts, so that the rest of the corpus stays as it is; a mask would not do, since
titles and entities of masked documents are another matter than those of absent ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import InvalidInput
from core.evaluation import JudgedQuestion, auroc, calibration_error
from core.model import Delete
from core.service import GraphService
from core.views import Answer

PARTS = 10
TOP_K = 5
_ORIGIN = "eval"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was asked: with its documents `present`, all of them `found` among the first five."""

    question: JudgedQuestion
    present: bool
    found: bool
    answer: Answer


def part_of(question_id: str) -> int:
    """The part of the questions that a question belongs to, 0 to 9: the same in every process."""
    return hashlib.blake2b(question_id.encode(), digest_size=2).digest()[0] % PARTS


async def ask_twice(
    service: GraphService, questions: Sequence[JudgedQuestion], documents: Mapping[str, Mapping[str, Any]]
) -> list[Asked]:
    """Ask each question of the whole corpus and, part by part, of one without its relevant documents. The service's
    store is changed and changed back: `documents` has what is to be put back, by id. Raises InvalidInput when a
    relevant document is not among them."""
    for question in questions:
        if missing := question.relevant - documents.keys():
            raise InvalidInput(f"question {question.id!r}: document {min(missing)!r} is not in the corpus")
    await service.catch_up()
    asked = [await ask(service, question, present=True) for question in questions]
    for part in range(PARTS):
        these = [question for question in questions if part_of(question.id) == part]
        gone = sorted({id_ for question in these for id_ in question.relevant})
        await service.submit([Delete(id_) for id_ in gone], origin=_ORIGIN, actor=_ORIGIN)
        await service.catch_up()
        asked.extend([await ask(service, question, present=False) for question in these])
        back = [documents[id_] for id_ in gone]
        _ = [result async for result in service.process_documents(back, origin=_ORIGIN, actor=_ORIGIN)]
    return asked


async def ask(service: GraphService, question: JudgedQuestion, *, present: bool) -> Asked:
    """Ask a question of a service that has its relevant documents, or does not."""
    answer = await service.query(question.text, top_k=TOP_K)
    hits = await service.retrieve(question.text, top_k=TOP_K) if present else []
    found = present and question.relevant <= {hit.document_id for hit in hits}
    return Asked(question, present, found, answer)


def abstention(asked: Sequence[Asked]) -> dict[str, Any]:
    """The shares of questions that got an answer (`answerable`; `all_present`, found or not; `unanswerable`), how well
    the score tells the first from the last (`auroc`, `ece`), and `risk_coverage`: for each tenth of the questions that
    is answered, best scores first, the share of it whose documents were not found, and the lowest score in it."""
    scores = np.array([one.answer.validation.groundedness_score for one in asked])
    answered = np.array([not one.answer.abstained for one in asked])
    present = np.array([one.present for one in asked])
    found = np.array([one.found for one in asked])
    judged = found | ~present
    wrong = ~found[np.argsort(-scores, kind="stable")]
    curve = []
    for tenth in range(1, 11):
        count = max(round(len(asked) * tenth / 10), 1)
        least = float(np.sort(scores)[::-1][count - 1])
        curve.append(
            {"coverage": tenth / 10, "risk": round(float(wrong[:count].mean()), 4), "groundedness": round(least, 4)}
        )
    return {
        "answered": {
            "answerable": _share(answered[found]),
            "all_present": _share(answered[present]),
            "unanswerable": _share(answered[~present]),
        },
        "auroc": round(auroc(scores[judged], found[judged]), 4),
        "ece": round(calibration_error(scores[judged], found[judged]), 4),
        "risk_coverage": curve,
    }


def _share(answered: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return round(float(answered.mean()), 4) if len(answered) else 0.0
