"""How good the rankings are: recall, nDCG and latency over judged questions in the BEIR layout.

Measures are those of TREC: recall@k is the share of the relevant documents among the first k; nDCG@10 discounts gains
by log2(rank + 1) and divides by the best that was possible. Means are over questions with a relevant document.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput, InvalidQuery
from core.index import Question
from core.model import StoredDocument
from core.views import Hit

DEPTHS = (2, 5, 10)
BINS = 10
_PAGE = 500

Judgements = Mapping[str, int]
"""Grades by document id; above 0 is relevant."""


class Retrieves(Protocol):
    """What is evaluated."""

    async def retrieve(self, text: str, *, top_k: int = 10) -> Sequence[Hit]: ...

    async def documents(self, *, cursor: str = "", limit: int = 100) -> Sequence[StoredDocument]: ...


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    id: str
    text: str
    judgements: Judgements
    answer: str | None = None
    """What an answer should say, where that is known."""

    @property
    def relevant(self) -> frozenset[str]:
        return frozenset(document_id for document_id, grade in self.judgements.items() if grade > 0)


def read_questions(queries: Path, qrels: Path) -> list[JudgedQuestion]:
    """The questions that have a relevant document. Raises InvalidInput that names file and line."""
    texts = {question_id: (line, text, answer) for line, question_id, text, answer in _read_queries(queries)}
    judged: dict[str, dict[str, int]] = {}
    for where, question_id, document_id, grade in _read_qrels(qrels):
        if question_id not in texts:
            raise InvalidInput(f"{where}: question {question_id!r} is not in {queries}")
        judged.setdefault(question_id, {})[document_id] = grade
    return [
        _question(*texts[question_id], question_id, judgements)
        for question_id, judgements in judged.items()
        if any(grade > 0 for grade in judgements.values())
    ]


def _question(where: str, text: str, answer: str | None, question_id: str, judgements: Judgements) -> JudgedQuestion:
    """Raises InvalidInput for a text that cannot be asked."""
    try:
        Question(text)
    except InvalidQuery as error:
        raise InvalidInput(f"{where}: the text {error.reason}") from None
    return JudgedQuestion(question_id, text, judgements, answer)


def recall(ranked: Sequence[str], judgements: Judgements, depth: int) -> float:
    """The share of the relevant documents among the first `depth`."""
    relevant = {document_id for document_id, grade in judgements.items() if grade > 0}
    return len(relevant.intersection(ranked[:depth])) / len(relevant)


def ndcg(ranked: Sequence[str], judgements: Judgements, depth: int) -> float:
    """Normalised discounted cumulative gain of the first `depth`."""
    ideal = sorted((grade for grade in judgements.values() if grade > 0), reverse=True)
    return _gain([max(judgements.get(id_, 0), 0) for id_ in ranked[:depth]]) / _gain(ideal[:depth])


def auroc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """The probability that a positive scores higher than a negative, ties counting half (Mann and Whitney's U)."""
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    ones, noughts = int(positive.sum()), int((~positive).sum())
    if not ones or not noughts or not len(values):
        raise InvalidInput("needs both positive and negative cases")
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * noughts))


def calibration_error(
    probabilities: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_], bins: int = BINS
) -> float:
    """Expected calibration error (Naeini and others, 2015): over bins of equal width, how far the mean probability is
    from the share of positives, weighted by how many fall there."""
    of = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(float(probabilities[of == b].sum() - positive[of == b].sum())) for b in range(bins)]
    return sum(gaps) / max(len(probabilities), 1)


async def evaluate(
    service: Retrieves, questions: Sequence[JudgedQuestion]
) -> dict[str, int | float | dict[str, float]]:
    """Ask every question and measure: `documents`, `questions`, `recall@2|5|10` and `ndcg@10` in 0..1, `latency_ms`
    with `p50` and `p99`. One question is asked beforehand, unmeasured, so that loading the model is nobody's latency.

    Raises InvalidInput when there is no question."""
    if not questions:
        raise InvalidInput("there is no judged question")
    await service.retrieve(questions[0].text, top_k=max(DEPTHS))
    recalls = dict.fromkeys(DEPTHS, 0.0)
    gains = 0.0
    latencies: list[float] = []
    for question in questions:
        started = perf_counter()
        hits = await service.retrieve(question.text, top_k=max(DEPTHS))
        latencies.append((perf_counter() - started) * 1000)
        ranked = [hit.document_id for hit in hits]
        for depth in DEPTHS:
            recalls[depth] += recall(ranked, question.judgements, depth)
        gains += ndcg(ranked, question.judgements, max(DEPTHS))
    return {
        "documents": await _count(service),
        "questions": len(questions),
        **{f"recall@{depth}": round(total / len(questions), 4) for depth, total in recalls.items()},
        "ndcg@10": round(gains / len(questions), 4),
        "latency_ms": {"p50": _percentile(latencies, 0.5), "p99": _percentile(latencies, 0.99)},
    }


async def _count(service: Retrieves) -> int:
    count, cursor = 0, ""
    while page := await service.documents(cursor=cursor, limit=_PAGE):
        count += len(page)
        cursor = page[-1].document_id
    return count


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def _percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return round(ordered[max(math.ceil(share * len(ordered)) - 1, 0)], 3)


def _read_queries(path: Path) -> Iterator[tuple[str, str, str, str | None]]:
    """(where, id, text, reference answer): BEIR's fields, and a text `answer` where there is one."""
    for where, line in _lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{where}: is not JSON: {error}") from None
        if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("_id", "text")):
            raise InvalidInput(f'{where}: must be an object with the texts "_id" and "text"')
        answer = record.get("answer")
        yield where, record["_id"], record["text"], answer if isinstance(answer, str) else None


def _read_qrels(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """(where, question id, document id, grade): BEIR's three columns with a header, or TREC's four without."""
    for number, (where, line) in enumerate(_lines(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if number == 0 and columns[:1] == ["query-id"]:
            continue
        if len(columns) == 4:
            del columns[1]
        if len(columns) != 3:
            raise InvalidInput(f"{where}: must be question id, document id and grade, not {len(columns)} columns")
        try:
            grade = int(columns[2])
        except ValueError:
            raise InvalidInput(f"{where}: the grade {columns[2]!r:.40} is not a whole number") from None
        yield where, columns[0], columns[1], grade


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, each with `file:line`."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                where = f"{path}:{number}"
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    raise InvalidInput(f"{where}: is not UTF-8: {error.reason} at byte {error.start}") from None
                if line:
                    yield where, line
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
