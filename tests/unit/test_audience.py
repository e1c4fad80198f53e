from __future__ import annotations

import random

import numpy as np
import pytest

from core.analysis.languages import ENGLISH
from core.analysis.stems import stems
from core.index.audience import Audience, Postings
from core.index.lexical import Lexical

WORDS = [f"word{number}x" for number in range(60)]
TERMS = ["word1x", "word7x", "word59x", "absentx"]


def texts(count: int) -> list[str]:
    """Chunks of very different lengths, in which some words are common and some rare."""
    chosen = random.Random(7)
    weights = [1 / (1 + number) for number in range(len(WORDS))]
    return [" ".join(chosen.choices(WORDS, weights, k=chosen.choice([1, 5, 39, 41, 60, 300]))) for _ in range(count)]


def lexical(chunks: list[str]) -> Lexical:
    index = Lexical(None)
    for number, text in enumerate(chunks):
        index.add(text, "", number, ENGLISH, len(stems(text)))
        if number == len(chunks) // 2:
            index.commit()
    index.commit()
    return index


@pytest.fixture(scope="module")
def whole() -> Lexical:
    return lexical(texts(400))


def audience(index: Lexical, visible: np.ndarray) -> Audience:  # type: ignore[type-arg]  # any numbers
    return Audience(Postings(index), visible, index.count)


def test_who_sees_everything_gets_the_scores_that_tantivy_gives(whole: Lexical) -> None:
    everything = np.arange(whole.count)
    scores = audience(whole, everything).scores(TERMS, np.ones(whole.count, np.bool_), whole.count)
    positions, expected = whole.search(TERMS, everything, whole.count, ENGLISH)
    assert len(positions) == np.count_nonzero(scores) > 100
    assert scores[positions] == pytest.approx(expected, rel=1e-5)
    assert audience(whole, everything).idf(TERMS) == pytest.approx(whole.idf(TERMS, ENGLISH))


def test_who_sees_a_part_gets_the_scores_of_an_index_that_holds_that_part_alone(whole: Lexical) -> None:
    visible = np.arange(0, whole.count, 3)
    part = lexical([text for number, text in enumerate(texts(400)) if number % 3 == 0])
    everyone = np.ones(part.count, np.bool_)
    of_whole = audience(whole, visible)
    of_part = audience(part, np.arange(part.count))
    scores = of_whole.scores(TERMS, np.ones(whole.count, np.bool_), whole.count)
    assert scores[visible].tolist() == of_part.scores(TERMS, everyone, part.count).tolist()
    assert np.count_nonzero(scores) == np.count_nonzero(scores[visible])
    assert of_whole.idf(TERMS) == of_part.idf(TERMS)


def test_filters_leave_the_scores_of_what_they_allow_as_they_are(whole: Lexical) -> None:
    everyone = audience(whole, np.arange(whole.count))
    allowed = np.arange(whole.count) % 2 == 0
    scores = everyone.scores(TERMS, np.ones(whole.count, np.bool_), whole.count)
    assert everyone.scores(TERMS, allowed, whole.count).tolist() == np.where(allowed, scores, 0).tolist()


def test_only_the_best_are_found_and_of_equals_at_the_cut_none(whole: Lexical) -> None:
    everyone = audience(whole, np.arange(whole.count))
    scores = everyone.scores(TERMS, np.ones(whole.count, np.bool_), 10)
    assert 0 < np.count_nonzero(scores) <= 10
    same = lexical(["alike"] * 20 + ["alike alike"])
    found = audience(same, np.arange(21)).scores(["alik"], np.ones(21, np.bool_), 5)
    assert np.flatnonzero(found).tolist() == [20]


def test_nothing_is_found_where_nothing_is_visible(whole: Lexical) -> None:
    nobody = audience(whole, np.empty(0, np.int64))
    assert not nobody.scores(TERMS, np.ones(whole.count, np.bool_), 10).any()
    assert audience(lexical([]), np.empty(0, np.int64)).scores(TERMS, np.empty(0, np.bool_), 10).tolist() == []
