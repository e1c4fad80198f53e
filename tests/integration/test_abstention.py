"""`aime eval`: questions asked with their documents and without, on a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.abstention import abstention, ask_twice
from core.errors import InvalidInput
from core.evaluation import JudgedQuestion
from core.service import create_graph_service
from hub.cli.evaluate import evaluate

RIVERS = {
    name: {
        "document_id": name,
        "content": f"The {name} is a river. It is {length} km long.",
        "metadata": {"title": name},
    }
    for name, length in (("Nile", 6650), ("Rhine", 1233), ("Volga", 3530), ("Congo", 4700))
}
QUESTIONS = [JudgedQuestion(name, f"How long is the {name}?", {name: 1}) for name in RIVERS]


async def test_each_question_is_asked_with_its_documents_and_without_and_they_are_put_back() -> None:
    async with await create_graph_service("sqlite::memory:") as service:
        _ = [result async for result in service.process_documents(RIVERS.values())]
        asked = await ask_twice(service, QUESTIONS, RIVERS)
        assert {document.document_id for document in await service.documents()} == RIVERS.keys()
    assert len(asked) == 2 * len(QUESTIONS)
    for one in asked:
        gone = not one.present
        assert not (gone and any(source.document_id == one.question.id for source in one.answer.sources))
    figures = abstention(asked)
    assert figures["answered"]["answerable"] > figures["answered"]["unanswerable"]
    assert figures["auroc"] > 0.5
    curve = figures["risk_coverage"]
    assert [point["coverage"] for point in curve] == [tenth / 10 for tenth in range(1, 11)]
    assert curve[-1]["risk"] == 0.5


async def test_a_relevant_document_that_the_corpus_lacks_is_named_before_anything_is_deleted() -> None:
    async with await create_graph_service("sqlite::memory:") as service:
        with pytest.raises(InvalidInput, match="Amazon"):
            await ask_twice(service, [JudgedQuestion("q", "How long is the Amazon?", {"Amazon": 1})], RIVERS)


def test_a_corpus_is_measured_once_the_index_has_it_all_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.service.BACKLOG_SECONDS", 0.0)
    corpus, queries, qrels = (tmp_path / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    corpus.write_text("\n".join(map(json.dumps, RIVERS.values())))
    queries.write_text("\n".join(json.dumps({"_id": each.id, "text": each.text}) for each in QUESTIONS))
    qrels.write_text("\n".join(f"{each.id}\t{each.id}\t1" for each in QUESTIONS))
    monkeypatch.chdir(tmp_path)
    evaluate(queries, qrels, corpus, as_json=True)
    figures = json.loads(capsys.readouterr().out)
    assert (figures["documents"], figures["recall@2"]) == (4, 1.0)
