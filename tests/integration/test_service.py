"""The core from end to end, on a real store and a real index."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import (
    ContentTooLarge,
    InvalidDocument,
    InvalidQuery,
    NotFound,
    StoreUnavailable,
    VersionUnavailable,
)
from core.model import EVERYONE, OPERATOR, AccessChanged, Delete, Document, LogEntry, Status, Viewer
from core.service import GraphService, ServiceOptions, create_graph_service
from core.store.base import AuditRecord, ChangeSet, StoredAuditRecord

TOWNS = {
    "ulm": "Ulm is a town on the Danube. The minster of Ulm has the tallest church tower in the world.",
    "bath": "Bath is a town on the Avon. The Romans built baths around its hot springs.",
    "cork": "Cork is a city on the Lee. Cork has a butter museum.",
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'store.db'}"


@pytest.fixture
async def service(url: str) -> AsyncIterator[GraphService]:
    async with await create_graph_service(url) as service:
        yield service


async def fill(service: GraphService) -> None:
    for name, text in TOWNS.items():
        await service.process_document(
            document_id=name, content=text, metadata={"title": name.title(), "source": "towns"}
        )


async def told(service: GraphService, **options: Any) -> list[tuple[str, str, float]]:
    """What the service answers to a few questions: enough to tell two indexes apart."""
    answers = [
        await service.query(text, **options)
        for text in ("Where are hot springs?", "What is in Cork?", "the tallest tower")
    ]
    return [(s.document_id, s.quote, s.score) for answer in answers for s in answer.sources]


async def test_a_question_sees_every_document_acknowledged_before_it(service: GraphService) -> None:
    await fill(service)
    answer = await service.query("Which minster has the tallest church tower in the world?")
    assert answer.answer is not None
    assert "tallest church tower" in answer.answer
    assert answer.sources[0].document_id == "ulm"
    assert answer.graph_version == 3
    assert 0 < answer.validation.groundedness_score <= 1


async def test_every_quote_is_the_text_at_its_offsets(service: GraphService) -> None:
    await fill(service)
    answer = await service.query("Who built baths around hot springs?")
    assert answer.sources
    for source in answer.sources:
        view = await service.document(source.document_id)
        assert view.text[source.start : source.end] == source.quote


async def test_the_past_is_answered_as_it_was_and_the_present_as_it_is(service: GraphService) -> None:
    await fill(service)
    await service.process_document(
        document_id="cork", content="Cork has a museum of radios.", metadata={"title": "Cork"}
    )
    await service.delete_document("ulm")

    now = await service.query("Which museum does Cork have?")
    then = await service.query("Which museum does Cork have?", as_of_version=3)

    assert now.answer is not None
    assert "radios" in now.answer
    assert then.answer is not None
    assert "butter" in then.answer
    assert all(s.document_id != "ulm" for s in (await service.query("the tallest church tower")).sources)
    with pytest.raises(VersionUnavailable, match="the store holds 0 to 5"):
        await service.query("Which museum?", as_of_version=6)


async def test_a_restart_answers_the_same(url: str) -> None:
    async with await create_graph_service(url) as first:
        await fill(first)
        before = await told(first)
    async with await create_graph_service(url) as second:
        assert await told(second) == before


async def test_collected_history_is_gone_and_everything_else_answers_the_same_also_after_a_restart(url: str) -> None:
    long = "\n\n".join(f"Paragraph {n} tells of the river Danube and of bridge number {n}. " * 12 for n in range(6))
    async with await create_graph_service(url) as service:
        await fill(service)
        await service.process_document(document_id="long", content=long)
        await service.process_document(document_id="bath", content=TOWNS["bath"] + " Jane Austen lived there.")
        await service.process_document(document_id="long", content="A new beginning. " + long)
        await service.process_document(document_id="york", content="York has hot springs in its dreams only.")
        assert await service.gc(await service.head()) == 2
        after = await told(service)
        with pytest.raises(VersionUnavailable):
            await service.query("hot springs", as_of_version=2)
        view = await service.document("long")
        assert view.text == "A new beginning. " + long
    for _ in range(2):
        async with await create_graph_service(url) as again:
            assert await told(again) == after
            await again.process_document(document_id="york", content="York has hot springs in its dreams only.")


async def test_a_damaged_index_is_made_anew(url: str, tmp_path: Path) -> None:
    async with await create_graph_service(url) as service:
        await fill(service)
        before = await told(service)
    for file in (tmp_path / "store.db-index").rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    async with await create_graph_service(url) as service:
        assert await told(service) == before


async def test_what_a_viewer_may_not_see_is_in_no_answer_no_list_and_no_change(service: GraphService) -> None:
    await fill(service)
    await service.process_document(
        document_id="plan", content="The secret plan moves Ulm to the Lee.", metadata={"access": ["board"]}
    )
    board = Viewer(frozenset({"board"}))
    question = "What does the secret plan move?"

    assert "plan" in {s.document_id for s in (await service.query(question, viewer=board)).sources}
    assert "plan" not in {s.document_id for s in (await service.query(question, viewer=EVERYONE)).sources}
    assert [d.document_id for d in await service.documents(viewer=EVERYONE)] == ["bath", "cork", "ulm"]
    assert [e.document_id for e in await service.changes(0, viewer=EVERYONE)] == ["ulm", "bath", "cork"]
    assert len(await service.changes(0, viewer=OPERATOR)) == 4
    with pytest.raises(NotFound, match="no document 'plan'"):
        await service.document("plan", viewer=EVERYONE)


async def test_access_that_is_tightened_takes_the_earlier_steps_of_a_document_out_of_the_log(
    service: GraphService,
) -> None:
    await service.process_document(document_id="plan", content="The plan moves Ulm.")
    assert [e.document_id for e in await service.changes(0, viewer=EVERYONE)] == ["plan"]
    await service.submit([AccessChanged("plan", ("board",))], origin="cms", actor="cms")
    assert await service.changes(0, viewer=EVERYONE) == []
    assert len(await service.changes(0, viewer=Viewer(frozenset({"board"})))) == 2


async def test_filters_narrow_answers_and_lists(service: GraphService) -> None:
    await fill(service)
    await service.process_document(
        document_id="x", content="Cork floats.", metadata={"source": "physics", "tags": ["wood"]}
    )
    answer = await service.query("What does cork do?", filters={"source": "physics"})
    assert {s.document_id for s in answer.sources} == {"x"}
    assert [d.document_id for d in await service.documents(filters={"tags": ["wood"]})] == ["x"]
    with pytest.raises(InvalidQuery, match="date_range"):
        await service.query("What does cork do?", filters={"date_range": "yesterday"})


async def test_a_stream_of_documents_gives_a_result_for_each_in_order(service: GraphService) -> None:
    async def documents() -> AsyncIterator[Document | dict[str, Any]]:
        for n in range(600):
            if n == 300:
                yield {"document_id": "", "content": "nameless"}
            else:
                yield {"document_id": f"d{n}", "content": f"Text number {n}."}

    results = [result async for result in service.process_documents(documents())]

    assert [r.status for r in results].count(Status.PROCESSED) == 599
    assert results[300].status is Status.REJECTED
    assert results[300].error is not None
    assert results[300].error.field == "document_id"
    assert [r.document_id for r in results[:3]] == ["d0", "d1", "d2"]
    assert await service.head() == 599


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"content": "x"}, "document_id"),
        ({"document_id": "", "content": "x"}, "document_id"),
        ({"document_id": "a\x07b", "content": "x"}, "document_id"),
        ({"document_id": "x" * 1_000_000, "content": "x"}, "document_id"),
        ({"document_id": "\ud800", "content": "x"}, "document_id"),
        ({"document_id": "a", "content": None}, "content"),
        ({"document_id": "a", "content": "a\x00b"}, "content"),
        ({"document_id": "a", "content": "\udfff"}, "content"),
        ({"document_id": "a", "content": "x", "metadata": []}, "metadata"),
        ({"document_id": "a", "content": "x", "metadata": {"published_at": "soon"}}, "metadata.published_at"),
        ({"document_id": "a", "content": "x", "metadata": {"updated_at": 12}}, "metadata.updated_at"),
        ({"document_id": "a", "content": "x", "metadata": {"rank": 2**70}}, "metadata.rank"),
        ({"document_id": "a", "content": "x", "metadata": {"rank": float("nan")}}, "metadata.rank"),
        ({"document_id": "a", "content": "x", "metadata": {"content_type": "image/png"}}, "metadata.content_type"),
        ({"document_id": "a", "content": "x", "metadata": {"title": "t" * 1001}}, "metadata.title"),
        ({"document_id": "a", "content": "x", "metadata": {"notes": "n" * 300_000}}, "metadata"),
        ({"document_id": "a", "content": "x", "metadata": {"a\x00": 1}}, "metadata"),
        ({"document_id": "a", "content": "x", "more": 1}, "more"),
    ],
)
async def test_a_bad_document_is_refused_by_the_name_of_its_field(
    service: GraphService, raw: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        service.parse(raw)
    assert caught.value.field == field
    (result,) = [r async for r in service.process_documents([raw])]
    assert result.status is Status.REJECTED
    assert json.loads(result.model_dump_json())["status"] == "rejected"
    assert await service.head() == 0
    assert [r.record.action for r in await service.store.trail(0, 9)] == ["document.rejected"]


async def test_content_above_the_cap_is_refused_with_both_sizes(url: str) -> None:
    async with await create_graph_service(url, options=ServiceOptions(max_content_bytes=1000)) as service:
        with pytest.raises(ContentTooLarge, match="is 1,200 bytes; the cap is 1,000"):
            await service.process_document(document_id="a", content="é" * 600)


async def test_changes_are_waited_for(service: GraphService) -> None:
    assert await service.changes(0, wait=0) == []
    waiting = asyncio.create_task(service.changes(0, wait=10))
    await asyncio.sleep(0)
    await fill(service)
    assert (await waiting)[0].document_id == "ulm"


async def test_random_edits_deletes_and_restarts_lose_nothing(url: str) -> None:
    chance = random.Random(7)
    expected: dict[str, str] = {}
    for _ in range(4):
        async with await create_graph_service(url) as service:
            for _ in range(40):
                name = f"d{chance.randrange(12)}"
                if chance.random() < 0.25:
                    await service.delete_document(name)
                    expected.pop(name, None)
                else:
                    expected[name] = " ".join(chance.choices(["Ulm.", "Bath.", "River Lee.", "Towers!"], k=9))
                    await service.process_document(document_id=name, content=expected[name])
            held = {d.document_id: (await service.document(d.document_id)).text for d in await service.documents()}
            assert held == expected


async def test_two_collections_at_once_leave_an_index_that_answers(url: str) -> None:
    async with await create_graph_service(url) as service:
        for n in range(30):
            await service.process_document(document_id="a", content=f"Text number {n} of the river Lee.")
        await asyncio.gather(service.gc(10), service.gc(10), service.gc(25), service.gc(25))
        assert (await service.query("Which river is it?")).sources
        await service.process_document(document_id="b", content="The river Lea is another.")
        assert {s.document_id for s in (await service.query("Which river is another?")).sources} >= {"b"}


async def test_an_index_whose_folder_vanishes_is_made_anew(url: str, tmp_path: Path) -> None:
    async with await create_graph_service(url) as service:
        await fill(service)
        before = await told(service)
        shutil.rmtree(tmp_path / "store.db-index")
        await service.process_document(document_id="new", content="Something new under the sun.")
        async with asyncio.timeout(20):
            while True:
                try:
                    answers = await told(service)
                    break
                except StoreUnavailable:
                    await service.changes(await service.head(), wait=0.05)
        assert [found[:2] for found in answers] == [found[:2] for found in before]


async def test_access_that_was_tightened_holds_for_the_past(service: GraphService) -> None:
    await service.process_document(document_id="plan", content="Move the minster.")
    await service.process_document(document_id="plan", content="Move the minster.", metadata={"access": ["board"]})
    assert (await service.document("plan", as_of_version=1)).text == "Move the minster."
    with pytest.raises(NotFound):
        await service.document("plan", as_of_version=1, viewer=EVERYONE)


async def test_a_delete_whose_id_can_be_none_is_a_recorded_rejection(service: GraphService) -> None:
    results = await service.submit([Delete("\ud800"), Delete("")], origin="api", actor="t")
    assert [r.status for r in results] == [Status.REJECTED, Status.REJECTED]
    assert (await service.process_document(document_id="a", content="x")).status is Status.PROCESSED


# -- answers that are kept


async def test_a_question_asked_again_is_answered_from_what_is_kept_and_audited_again(service: GraphService) -> None:
    await fill(service)
    first = await service.query("Where are hot springs?", actor="ann")
    assert await service.query("Where are hot springs?", actor="bob") is first
    await service.process_document(document_id="aix", content="Aix has hot springs, too.")
    later = await service.query("Where are hot springs?", actor="eve")
    assert later.graph_version == first.graph_version + 1
    await service.delete_document("aix")  # the records of what was asked before it come with it, if not sooner
    records = await service.store.audit(action="query.answered")
    assert [each.record.actor for each in records] == ["eve", "bob", "ann"]


async def test_a_kept_answer_is_given_to_nobody_who_asks_otherwise(service: GraphService) -> None:
    await fill(service)
    await service.process_document(
        document_id="secret", content="The hot springs of Bath are closing.", metadata={"access": ["board"]}
    )
    text = "Are the hot springs of Bath closing?"
    board = await service.query(text, viewer=Viewer(frozenset({"board"})))
    assert "secret" in {source.document_id for source in board.sources}
    for options in (
        {"viewer": EVERYONE},
        {"viewer": Viewer(frozenset({"staff"}))},
        {"filters": {"source": "towns"}},
        {"as_of_version": 3},
    ):
        assert "secret" not in {source.document_id for source in (await service.query(text, **options)).sources}
    assert len({source.document_id for source in (await service.query(text, top_k=1)).sources}) == 1
    await service.delete_document("secret")
    assert "secret" not in {source.document_id for source in (await service.query(text)).sources}


async def test_who_waits_for_the_trail_hears_of_a_record_that_is_written_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with await create_graph_service("sqlite::memory:") as service:
        read = service.store.trail
        late = [ChangeSet(audit=(AuditRecord("tester", "noted"),))]

        async def read_before_it_is_written(after: int, limit: int) -> list[StoredAuditRecord]:
            found = await read(after, limit)
            if late:
                await service.write(late.pop())
            return found

        monkeypatch.setattr(service.store, "trail", read_before_it_is_written)
        assert await service.wait_for_trail(0, 5)


async def test_what_the_log_tells_can_be_asked_past_at_once(
    service: GraphService, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = service.store.commit
    past: list[list[LogEntry]] = []

    async def commit_and_look(group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        written = await commit(group)
        # The writer has not heard of it yet.
        past.extend([await service.changes(entry.version) for entry in await service.changes(0, limit=10)])
        return written

    monkeypatch.setattr(service.store, "commit", commit_and_look)
    await service.process_document(document_id="a", content="Tides follow the moon.")
    assert [] in past


async def test_what_is_latest_does_not_have_to_say_so(service: GraphService) -> None:
    for name, price, day in (("old", 12, "2025-03-01"), ("new", 15, "2026-03-01")):
        content = f"The Tarn Valley ticket costs {price} euros. It is sold at the station."
        await service.process_document(document_id=name, content=content, metadata={"updated_at": day})
    answer = await service.query("What does the latest Tarn Valley ticket cost?")
    assert answer.answer == "The Tarn Valley ticket costs 15 euros."
    assert (await service.query("What does the Tarn Valley ticket cost right now?")).answer == answer.answer
