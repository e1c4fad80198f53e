"""Measures of rankings, and the files that they are measured on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.evaluation import JudgedQuestion, evaluate, ndcg, read_questions, recall
from core.model import StoredDocument
from core.views import Hit


def written(directory: Path, queries: str, qrels: str) -> tuple[Path, Path]:
    paths = directory / "queries.jsonl", directory / "qrels.tsv"
    for path, text in zip(paths, (queries, qrels), strict=True):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return paths


def test_recall_is_the_share_of_the_relevant_that_are_among_the_first() -> None:
    judgements = {"a": 1, "b": 2, "c": 0}
    assert recall(["a", "c", "b"], judgements, 2) == 0.5
    assert recall(["a", "c", "b"], judgements, 3) == 1.0


def test_ndcg_discounts_by_rank_and_is_one_for_the_best_order() -> None:
    judgements = {"a": 2, "b": 1}
    assert ndcg(["a", "b"], judgements, 10) == 1.0
    assert ndcg(["x", "a"], judgements, 10) == pytest.approx((2 / math.log2(3)) / (2 + 1 / math.log2(3)))
    assert ndcg(["x"], judgements, 10) == 0.0


def test_questions_are_read_with_and_without_a_header_and_in_trec_columns(tmp_path: Path) -> None:
    queries = '\ufeff{"_id": "1", "text": "one?"}\n\n{"_id": "2", "text": "two?"}\n'
    expected = [JudgedQuestion("1", "one?", {"a": 1, "b": 0})]
    for qrels in ("query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t0\n2\tc\t0\n", "1 0 a 1\n1 0 b 0\n"):
        assert read_questions(*written(tmp_path, queries, qrels)) == expected


@pytest.mark.parametrize(
    ("queries", "qrels", "where"),
    [
        ('{"_id": "1"', "1\ta\t1\n", "queries.jsonl:1"),
        ('{"_id": "1", "text": "x"}\n[]', "1\ta\t1\n", "queries.jsonl:2"),
        ("[" * 100_000, "1\ta\t1\n", "queries.jsonl:1"),
        ("\udcff", "1\ta\t1\n", "queries.jsonl:1"),
        ('{"_id": "1", "text": " "}', "1\ta\t1\n", "queries.jsonl:1: the text must not be empty"),
        ('{"_id": "1", "text": "x"}', "1\ta\n", "qrels.tsv:1"),
        ('{"_id": "1", "text": "x"}', "1\ta\t1\n1\tb\thigh\n", "qrels.tsv:2"),
        ('{"_id": "1", "text": "x"}', "9\ta\t1\n", "qrels.tsv:1"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, queries: str, qrels: str, where: str) -> None:
    with pytest.raises(InvalidInput, match=where):
        read_questions(*written(tmp_path, queries, qrels))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.jsonl"):
        read_questions(tmp_path / "absent.jsonl", tmp_path / "absent.tsv")


class Ranked:
    """Answers every question with the same documents."""

    async def retrieve(self, text: str, *, top_k: int = 10) -> Sequence[Hit]:
        return [Hit("b", 2, 2.0), Hit("a", 1, 1.0)][:top_k]

    async def documents(self, *, cursor: str = "", limit: int = 100) -> Sequence[StoredDocument]:
        return []


async def test_an_evaluation_has_the_keys_that_scripts_rely_on() -> None:
    result = await evaluate(Ranked(), [JudgedQuestion("1", "one?", {"a": 1}), JudgedQuestion("2", "two?", {"z": 1})])
    latency = result.pop("latency_ms")
    assert result == {
        "documents": 0,
        "questions": 2,
        "recall@2": 0.5,
        "recall@5": 0.5,
        "recall@10": 0.5,
        "ndcg@10": pytest.approx(1 / math.log2(3) / 2, abs=1e-4),
    }
    assert isinstance(latency, dict)
    assert latency.keys() == {"p50", "p99"}


async def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(InvalidInput):
        await evaluate(Ranked(), [])
