"""The index: what is found, by whom, as of when, and what it keeps on disk."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.answering.filters import parse_filters
from core.entities import EntityType
from core.errors import InvalidQuery, NotFound, StoreCorrupt
from core.index import Index, Question, Ranking
from core.model import EVERYONE, OPERATOR, LogEntry, Viewer
from core.naming import entity_id
from tests.unit.graph_log import GraphLog

ADA = entity_id(EntityType.NAME, "ada lovelace")


@pytest.fixture
def log() -> GraphLog:
    return GraphLog()


def indexed(entries: Sequence[LogEntry], directory: Path | None = None, *, epoch: int = 0) -> Index:
    index = Index(directory)
    index.open(epoch)
    index.apply(entries)
    return index


def found(index: Index, text: str, *, viewer: Viewer = OPERATOR, as_of: int | None = None, **filters: Any) -> list[str]:
    question = Question(text, parse_filters(filters), viewer, as_of, top_k=10)
    return [hit.document_id for hit in index.search(question).documents]


def everything_said(ranking: Ranking) -> str:
    return repr(ranking)


# -- what is found


def test_words_are_found_by_their_stems_and_the_best_document_comes_first(log: GraphLog) -> None:
    log.put("a", "Resetting passwords is done in the settings.")
    log.put("b", "The weather is fine.")
    log.put("c", "Settings hold many things, such as colours and sounds and the language.")
    assert found(indexed(log.entries), "reset my password in settings")[:2] == ["a", "c"]


def test_a_question_that_shares_no_word_is_answered_by_meaning(log: GraphLog) -> None:
    log.put("cars", "The automobile needs fuel.")
    log.put("cake", "Whisk eggs and sugar.")
    assert found(indexed(log.entries), "petrol for vehicles")[0] == "cars"


def test_text_in_scripts_without_spaces_is_found_by_parts_of_it(log: GraphLog) -> None:
    log.put("ja", "東京都庁は新宿区にあります。")
    log.put("ar", "القاهرة هي عاصمة مصر.")
    log.put("en", "Something else.")
    index = indexed(log.entries)
    assert found(index, "新宿")[0] == "ja"
    assert found(index, "عاصمة مصر")[0] == "ar"


def test_the_walk_leads_from_the_document_that_is_named_to_the_one_that_it_mentions(log: GraphLog) -> None:
    log.put("film", "The Silent Sea is a film directed by Maria Novak.", {"title": "The Silent Sea"})
    log.put("director", "She was born in Brno and studied there.", {"title": "Maria Novak"})
    for number in range(30):
        log.put(f"x{number}", f"A place number {number} where someone was born.", {"title": f"Place {number}"})
    assert found(indexed(log.entries), "Where was the director of The Silent Sea born?")[:2] == ["film", "director"]


def test_a_title_is_linked_to_the_text_that_holds_it_whichever_came_first(log: GraphLog) -> None:
    text = log.put("text", "They used an analytical ENGINE to compute.")
    title = log.put("engine", "It was never built.", {"title": "Analytical Engine (machine)"})
    entity = entity_id(EntityType.NAME, "analytical engine")
    together = indexed([text, title]).entity(entity, OPERATOR)
    assert together is not None
    assert {place.document_id for place in together.named_in} == {"text", "engine"}
    apart = indexed([text])
    assert apart.entities("analytical", 10, OPERATOR) == []
    apart.apply([title])
    assert apart.entity(entity, OPERATOR) == together


def test_an_entity_is_shown_with_its_documents_and_neighbours(log: GraphLog) -> None:
    log.put("a", "Ada Lovelace wrote to Charles Babbage.", {"title": "Letters"})
    log.put("b", "Then Ada Lovelace wrote notes.")
    index = indexed(log.entries)
    view = index.entity(ADA, OPERATOR)
    assert view is not None
    assert (view.name, view.documents, view.chunks, view.id) == ("Ada Lovelace", 2, 2, f"{ADA:016x}")
    assert [(place.document_id, place.title) for place in view.named_in] == [("a", "Letters"), ("b", None)]
    assert {neighbour.name for neighbour in view.neighbours} >= {"Charles Babbage", "Letters"}
    assert [summary.name for summary in index.entities("ada", 5, OPERATOR)] == ["Ada Lovelace"]
    with pytest.raises(NotFound):
        index.entity(1, OPERATOR)


# -- masks


def test_what_a_viewer_may_not_see_shows_nowhere(log: GraphLog) -> None:
    log.put("open", "Ada Lovelace met the Crimson Board about Project Nightfall.", {"title": "Minutes"})
    log.put("secret", "Project Nightfall is about Ada Lovelace.", {"title": "Crimson Board", "access": ["board"]})
    index = indexed(log.entries)
    ranking = index.search(Question("Ada Lovelace, Crimson Board, Nightfall", viewer=EVERYONE))
    assert {chunk.document_id for chunk in ranking.chunks} == {"open"}
    assert "secret" not in everything_said(ranking)
    alone = indexed(log.entries[:1])
    assert index.entities("", 100, EVERYONE) == alone.entities("", 100, EVERYONE)
    for summary in alone.entities("", 100, EVERYONE):
        number = int(summary.id, 16)
        assert index.entity(number, EVERYONE) == alone.entity(number, EVERYONE)
    board = Viewer(frozenset({"board"}))
    assert set(found(index, "Nightfall", viewer=board)) == {"open", "secret"}


def test_a_hidden_title_does_not_cover_the_shorter_one_within_it(log: GraphLog) -> None:
    log.put("open", "It was built in 1901.", {"title": "Ada Bridge"})
    log.put("other", "The weather is fine.")
    public = log.version
    log.put("secret", "It opens in May.", {"title": "Ada Bridge Extension", "access": ["board"]})
    log.put("tagged", "Nothing to see.", {"tags": ["harbour"]})
    log.put("named", "Quiet.", {"title": "Harbour", "access": ["board"]})
    index = indexed(log.entries)

    def names(text: str, viewer: Viewer) -> list[tuple[str, str]]:
        asked = index.search(Question(text, viewer=viewer)).entities
        return [(entity.entity.type, entity.entity.name) for entity in asked]

    text = "When was the Ada Bridge Extension opened?"
    assert names(text, EVERYONE) == [("name", "Ada Bridge")]
    assert names(text, Viewer(frozenset({"board"}))) == [("name", "Ada Bridge Extension")]
    assert names("What is at the Harbour?", EVERYONE) == [("tag", "harbour")]
    alone = indexed(log.entries[:public]).search(Question(text, viewer=EVERYONE))
    seen = index.search(Question(text, parse_filters({"document_ids": ["open", "other"]}), EVERYONE))
    assert [hit.document_id for hit in seen.documents] == [hit.document_id for hit in alone.documents]
    assert seen.walked
    assert alone.walked


def test_scores_and_margin_are_the_same_however_many_documents_are_asked_for(log: GraphLog) -> None:
    for number in range(30):
        log.put(f"d{number}", "Ada met Bob. " * (number % 5 + 1) + f"It was day {number}.")
    index = indexed(log.entries)
    rankings = [index.search(Question("Where did Ada meet Bob on day 7?", top_k=count)) for count in (1, 3, 30)]
    assert [len(ranking.documents) for ranking in rankings] == [1, 3, 30]
    assert {ranking.margin for ranking in rankings} == {rankings[0].margin}
    assert 0 < rankings[0].margin < 1
    assert rankings[0].chunks == rankings[1].chunks == rankings[2].chunks
    assert rankings[2].documents[:3] == rankings[1].documents


def test_the_title_of_a_hidden_document_ties_nothing_together(log: GraphLog) -> None:
    log.put("a", "we talked about dark harvest today")
    log.put("b", "notes on dark harvest")
    public = log.version
    log.put("hidden", "Hush.", {"title": "Dark Harvest", "access": ["few"]})
    index = indexed(log.entries)
    entity = entity_id(EntityType.NAME, "dark harvest")
    with pytest.raises(NotFound):
        index.entity(entity, EVERYONE)
    seen = index.entity(entity, Viewer(frozenset({"few"})))
    assert seen is not None
    assert seen.documents == 3
    asked = Question("What is Dark Harvest?", viewer=EVERYONE)
    assert index.search(asked).entities == indexed(log.entries[:public]).search(asked).entities == ()


def test_filters_mask_before_ranking_and_combine(log: GraphLog) -> None:
    for number in range(600):
        log.put(f"noise{number}", "reset reset password", {"source": "noise"})
    log.put("one", "To reset it, ask.", {"source": "docs", "tags": ["help", "web"], "published_at": "2026-03-01"})
    log.put("two", "To reset it, wait.", {"source": "docs", "author": "Ann", "team": 7})
    index = indexed(log.entries)
    ask = "reset password"
    assert set(found(index, ask, source="docs")) == {"one", "two"}
    assert found(index, ask, source=["docs", "none"], tags=["web", "mail"]) == ["one"]
    assert found(index, ask, author="Ann") == ["two"]
    assert found(index, ask, team=7.0) == ["two"]
    assert found(index, ask, document_ids=["two", "absent"]) == ["two"]
    assert found(index, ask, date_range={"from": "2026-03-01", "to": "2026-03-01"}) == ["one"]
    assert found(index, ask, date_range={"to": "2026-02-28"}) == []
    assert found(index, ask, source="docs", author="Bob") == []


def test_the_index_and_the_filter_itself_agree_on_what_matches(log: GraphLog) -> None:
    log.put("one", "x", {"source": "docs", "tags": ["a", "b"], "published_at": "2026-03-01", "n": 1, "flag": True})
    log.put("two", "x", {"source": "mail", "updated_at": "2026-04-01T10:00:00+02:00", "n": 1.5})
    index = indexed(log.entries)
    for raw in (
        {},
        {"source": "docs"},
        {"tags": ["b", "z"]},
        {"n": 1},
        {"n": 1.0},
        {"n": 1.5},
        {"flag": True},
        {"flag": 1},
        {"updated_at": "2026-04-01T08:00:00Z"},
        {"date_range": {"from": "2026-03-15"}},
    ):
        filters = parse_filters(raw)
        matching = {id_ for id_, version in log.documents.items() if filters.matches(id_, version.metadata)}
        assert set(found(index, "x", **raw)) == matching, raw


# -- versions


def test_the_past_is_read_as_it_was(log: GraphLog) -> None:
    log.put("a", "The old address is Main Street.")
    log.put("a", "The new address is High Street.")
    log.access("a", ("staff",))
    index = indexed(log.entries)
    texts = [
        [log.chunks[chunk.chunk_id].text for chunk in index.search(Question("address street", as_of=version)).chunks]
        for version in range(4)
    ]
    assert texts == [
        [],
        ["The old address is Main Street."],
        ["The new address is High Street."],
        ["The new address is High Street."],
    ]


def test_access_that_was_tightened_holds_for_the_past_and_a_deleted_document_is_the_operators(log: GraphLog) -> None:
    log.put("a", "The address is Main Street.")
    log.put("b", "The address is High Street.")
    log.access("a", ("staff",))
    log.delete("b")
    index = indexed(log.entries)
    assert found(index, "address", viewer=EVERYONE, as_of=2) == []
    assert found(index, "address", viewer=Viewer(frozenset({"staff"})), as_of=2) == ["a"]
    assert sorted(found(index, "address", viewer=OPERATOR, as_of=2)) == ["a", "b"]
    log.put("b", "The address is Low Street.")
    assert found(indexed(log.entries), "address", viewer=EVERYONE, as_of=2) == ["b"]


def test_an_entity_goes_with_the_last_document_that_names_it(log: GraphLog) -> None:
    log.put("a", "Ada Lovelace wrote.")
    log.delete("a")
    index = indexed(log.entries)
    with pytest.raises(NotFound):
        index.entity(ADA, OPERATOR)
    assert index.entities("", 10, OPERATOR) == []


# -- questions


@pytest.mark.parametrize("text", ["", " \n ", "x" * 10_001, "a\x00b", "\ud800"])
def test_a_question_that_cannot_be_asked_is_refused_and_names_its_field(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        Question(text)
    assert refused.value.field == "query"


@pytest.mark.parametrize("text", ["🙂🙂", "the of and", "?!", '"unclosed (AND OR NOT *:', "a" * 10_000, "A B " * 2_500])
def test_an_odd_question_gets_an_answer(log: GraphLog, text: str) -> None:
    log.put("a", "Ada Lovelace wrote the notes.", {"title": "A B"})
    assert isinstance(indexed(log.entries).search(Question(text)), Ranking)


def test_an_empty_index_finds_nothing() -> None:
    assert indexed([]).search(Question("anything")).documents == ()


# -- on disk


@pytest.fixture
def filled(tmp_path: Path, log: GraphLog) -> tuple[Path, GraphLog]:
    for number in range(20):
        log.put(
            f"d{number}", f"Number {number} is about topic{number % 3} and Ada Lovelace.", {"title": f"Page {number}"}
        )
    index = indexed(log.entries, tmp_path / "index")
    index.close()
    return tmp_path / "index", log


def answers(index: Index) -> list[tuple[str, float]]:
    hits = index.search(Question("topic1 of Ada Lovelace on Page 7", top_k=10)).documents
    return [(hit.document_id, pytest.approx(hit.score, abs=1e-6)) for hit in hits]


def vectors_written(directory: Path) -> int:
    return (directory / "vectors").stat().st_size // 1024


def test_a_restart_takes_over_what_was_kept_and_answers_the_same(filled: tuple[Path, GraphLog]) -> None:
    directory, log = filled
    kept = sorted(path.name for path in (directory / "words").iterdir())
    index = indexed(log.entries, directory)
    assert answers(index) == answers(indexed(log.entries))
    assert sorted(path.name for path in (directory / "words").iterdir()) == kept
    assert vectors_written(directory) == 20


@pytest.mark.parametrize("size", [0, 1024 * 7 + 13, 1024 * 19])
def test_a_torn_file_of_vectors_is_completed(filled: tuple[Path, GraphLog], size: int) -> None:
    directory, log = filled
    os.truncate(directory / "vectors", size)
    assert answers(indexed(log.entries, directory)) == answers(indexed(log.entries))
    assert vectors_written(directory) == 20


def test_vectors_of_chunks_whose_words_were_not_kept_are_made_anew(filled: tuple[Path, GraphLog]) -> None:
    directory, log = filled
    with (directory / "vectors").open("ab") as file:
        file.write(struct.pack("256f", *range(256)) * 2)
    log.put("new", "Ada Lovelace writes about topic1 on Page 7.")
    log.put("more", "The weather is fine.")
    assert answers(indexed(log.entries, directory)) == answers(indexed(log.entries))


def test_a_hole_in_the_file_of_vectors_is_filled(filled: tuple[Path, GraphLog]) -> None:
    directory, log = filled
    with (directory / "vectors").open("r+b") as file:
        file.seek(1024 * 3)
        file.write(bytes(1024 * 2))
    assert answers(indexed(log.entries, directory)) == answers(indexed(log.entries))


@pytest.mark.parametrize("damaged", ["words/meta.json", "made-by", "every segment"])
def test_a_damaged_index_is_made_anew(filled: tuple[Path, GraphLog], damaged: str) -> None:
    directory, log = filled
    paths = list((directory / "words").glob("*.*")) if damaged == "every segment" else [directory / damaged]
    for path in paths:
        path.write_bytes(b"damaged")
    assert answers(indexed(log.entries, directory)) == answers(indexed(log.entries))


def test_another_epoch_begins_empty(filled: tuple[Path, GraphLog]) -> None:
    directory, log = filled
    index = indexed(log.entries[:3], directory, epoch=1)
    index.close()
    assert vectors_written(directory) == 3


def test_an_index_of_another_store_is_noticed(filled: tuple[Path, GraphLog]) -> None:
    directory, _ = filled
    other = GraphLog()
    other.put("d0", "Quite another text.")
    with pytest.raises(StoreCorrupt):
        indexed(other.entries, directory)


def test_what_the_first_question_would_wait_for_can_be_done_before_it(log: GraphLog) -> None:
    log.put("title", "A bridge.", {"title": "Ada Bridge"})
    for number in range(10):
        log.put(f"d{number}", f"Number {number} leads to the Ada Bridge.")
    prepared, asked = indexed(log.entries), indexed(log.entries)
    prepared.prepare(least=11)
    assert prepared.entities("", 1_000, OPERATOR) == asked.entities("", 1_000, OPERATOR)
    assert prepared.search(Question("Ada Bridge 7")) == asked.search(Question("Ada Bridge 7"))


@pytest.mark.parametrize("viewer", [OPERATOR, EVERYONE])
def test_an_answer_that_is_judged_while_the_log_goes_on_leaves_no_trace_in_the_next(
    log: GraphLog, viewer: Viewer
) -> None:
    log.put("a", "Ada Lovelace wrote notes.")
    log.put("b", "Ada Lovelace met Charles Babbage.")
    index = indexed(log.entries[:1])
    ranking = index.search(Question("Who wrote notes?", viewer=viewer))
    index.apply(log.entries[1:])
    index.words(viewer, ranking).idf(["ada", "babbag"])
    question = Question("Who met Charles Babbage?", viewer=viewer)
    assert index.search(question) == indexed(log.entries).search(question)
