"""Answers that are kept: which are found again, and how many."""

from __future__ import annotations

from core.answering.cache import AnswerCache, Edition
from core.answering.filters import parse_filters
from core.index import Question
from core.model import EVERYONE, Viewer
from core.views import Answer, Validation

NOW = Edition(0, 7)


def answer(text: str) -> Answer:
    validation = Validation(groundedness_score=0.0, calibration="none")
    return Answer(query=text, answer=None, abstained=True, validation=validation, graph_version=7)


def test_a_question_is_found_again_however_its_filters_are_written() -> None:
    cache = AnswerCache()
    cache.put(NOW, Question("q", parse_filters({"tags": ["a", "b"]})), answer("q"))
    assert cache.get(NOW, Question("q", parse_filters({"tags": ["b", "a"]}))) == answer("q")


def test_a_question_that_differs_in_anything_is_another() -> None:
    cache = AnswerCache()
    cache.put(NOW, Question("q"), answer("q"))
    for other in (
        Question("Q"),
        Question("q", parse_filters({"source": "a"})),
        Question("q", parse_filters({"min_groundedness": 0.5})),
        Question("q", parse_filters({"date_range": {"from": "2026-01-01"}})),
        Question("q", viewer=EVERYONE),
        Question("q", viewer=Viewer(frozenset({"staff"}))),
        Question("q", as_of=7),
        Question("q", top_k=3),
        Question("q", newest=True),
    ):
        assert cache.get(NOW, other) is None, other


def test_a_change_of_the_graph_or_of_its_floor_forgets_everything() -> None:
    for later in (Edition(0, 8), Edition(3, 7)):
        cache = AnswerCache()
        cache.put(NOW, Question("q"), answer("q"))
        assert cache.get(later, Question("q")) is None
        cache.put(later, Question("other"), answer("other"))
        assert len(cache) == 1
        assert cache.get(later, Question("q")) is None


def test_what_was_asked_longest_ago_makes_room() -> None:
    cache = AnswerCache(most=2)
    for text in ("a", "b"):
        cache.put(NOW, Question(text), answer(text))
    assert cache.get(NOW, Question("a"))
    cache.put(NOW, Question("c"), answer("c"))
    assert [text for text in "abc" if cache.get(NOW, Question(text))] == ["a", "c"]
