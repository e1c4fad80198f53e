"""`aime eval --answers`: answers compared with what they should say, on a real store."""

from __future__ import annotations

import pytest

from core.answer_overlap import answer_overlap, token_f1
from core.errors import InvalidInput
from core.evaluation import JudgedQuestion
from core.service import create_graph_service

DOCUMENTS = [
    {"document_id": "nile", "content": "The Nile is a river. The Nile is 6650 km long.", "metadata": {"title": "Nile"}},
    {
        "document_id": "rhine",
        "content": "The Rhine is a river. It rises in Graubünden.",
        "metadata": {"title": "Rhine"},
    },
]


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("The Nile is 6650 km long.", "the NILE is 6650 km long", 1.0),
        ("It is long.", "6650 km", 0.0),
        ("", "6650 km", 0.0),
        ("6650 km, it is said", "6650 km", 4 / 7),
        ("Nile Nile", "Nile", 2 / 3),
    ],
)
def test_token_f1_is_the_harmonic_mean_over_words(text: str, reference: str, expected: float) -> None:
    assert token_f1(text, reference) == pytest.approx(expected)


async def test_each_low_answer_has_one_reason() -> None:
    questions = [
        JudgedQuestion("good", "How long is the Nile?", {"nile": 1}, "The Nile is 6650 km long."),
        JudgedQuestion("partial", "How long is the Nile?", {"nile": 1}, "6650 km from Lake Victoria to the sea"),
        JudgedQuestion("passage", "How long is the Nile?", {"nile": 1}, "In Africa, mostly Egypt"),
        JudgedQuestion("document", "How long is the river Nile?", {"rhine": 1}, "Graubünden"),
        JudgedQuestion("missed", "How long is the Nile?", {"gone": 1}, "Graubünden"),
        JudgedQuestion("unknown", "How long is the Nile?", {"nile": 1}),
    ]
    async with await create_graph_service("sqlite::memory:") as service:
        _ = [result async for result in service.process_documents(DOCUMENTS)]
        figures = await answer_overlap(service, questions)
    assert figures["questions"] == 5
    assert figures["good"] == 0.2
    assert figures["answered"] == 1.0
    assert figures["failures"] == {"document_missed": 1, "other_document": 1, "other_passage": 1, "partial": 1}
    assert figures["token_f1"] == figures["answered_token_f1"] == pytest.approx((1 + 1 / 3) / 5, abs=0.001)


async def test_questions_without_reference_answers_are_refused() -> None:
    async with await create_graph_service("sqlite::memory:") as service:
        with pytest.raises(InvalidInput, match="reference answer"):
            await answer_overlap(service, [JudgedQuestion("q", "How long is the Nile?", {"nile": 1})])
