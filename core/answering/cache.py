"""Answers that were given already: the same question of the same graph has the same answer."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from core.index import Question
from core.views import Answer

MOST = 512


class Edition(NamedTuple):
    """The state of the index that an answer comes from: an answer about the past, too, counts words over all of it."""

    floor: int
    version: int


class AnswerCache:
    """The `most` answers of one edition that were asked for last. A question is equal to another only with the same
    text, viewer, filters, `top_k` and `as_of`, so nobody is told what another may see."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._edition = Edition(0, 0)
        self._answers: OrderedDict[Question, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, edition: Edition, question: Question) -> Answer | None:
        answer = self._answers.get(question) if edition == self._edition else None
        if answer is not None:
            self._answers.move_to_end(question)
        return answer

    def put(self, edition: Edition, question: Question, answer: Answer) -> None:
        """Keep an answer; those of other editions are forgotten."""
        if edition != self._edition:
            self._answers.clear()
            self._edition = edition
        self._answers[question] = answer
        self._answers.move_to_end(question)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)
