from __future__ import annotations

import numpy as np
import pytest

from core.index import Index, Question
from core.index.recency import asks_for_newest, newest_first
from tests.unit.graph_log import GraphLog


@pytest.mark.parametrize(
    "question",
    [
        "What is the latest version?",
        "Which is the newest release of the engine?",
        "What did the board most recently decide?",
        "What is the most recent figure?",
        "What's our current price?",
        "what is the current status of the migration",
        "Who is currently responsible?",
        "Is the page up to date?",
    ],
)
def test_a_question_that_asks_for_the_latest_is_recognised(question: str) -> None:
    assert asks_for_newest(question)


@pytest.mark.parametrize(
    "question",
    [
        "How is electric current measured?",
        "What is the current in the circuit?",
        "Does the current flow through the wire?",
        "Who wrote the recent history of Rome?",
        "What was the last battle of the war?",
        "Where is the Latestone quarry?",
        "",
    ],
)
def test_a_question_that_does_not_is_left_alone(question: str) -> None:
    assert not asks_for_newest(question)


def test_scores_near_the_best_go_to_the_newest_and_all_others_stay() -> None:
    scores = np.array([1.0, 0.9, 0.0, 0.85, 0.5])
    dates = np.array([10.0, np.nan, 99.0, 20.0, 30.0])
    assert newest_first(scores, dates).tolist() == [0.9, 0.85, 0.0, 1.0, 0.5]
    assert newest_first(scores, np.full(5, np.nan)).tolist() == scores.tolist()
    assert newest_first(np.zeros(0), np.zeros(0)).tolist() == []


@pytest.fixture
def index() -> Index:
    log = GraphLog()
    for year in (2025, 2026, 2024):
        log.put(str(year), f"The price of the engine is {year} pounds.", {"published_at": f"{year}-01-01"})
    log.put("undated", "The price of the engine is nil pounds.")
    log.put("other", "The moon is made of the newest cheese.", {"published_at": "2026-11-11"})
    index = Index(None)
    index.open(0)
    index.apply(log.entries)
    return index


def ranked(index: Index, text: str, newest: bool | None = None) -> list[str]:
    return [hit.document_id for hit in index.search(Question(text, newest=newest)).documents]


def test_the_newest_of_equally_relevant_documents_is_first_only_when_asked_for(index: Index) -> None:
    plain = ranked(index, "price of the engine in pounds")
    assert ranked(index, "price of the engine in pounds", newest=True)[:4] == ["2026", "2025", "2024", "undated"]
    assert ranked(index, "What is the current price of the engine in pounds?")[:3] == ["2026", "2025", "2024"]
    assert (
        ranked(index, "price of the engine in pounds", newest=False)
        == plain
        != ranked(index, "price of the engine in pounds", newest=True)
    )
    assert "other" not in ranked(index, "price of the engine in pounds", newest=True)[:1]
