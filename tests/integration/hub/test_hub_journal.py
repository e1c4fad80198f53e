"""The journal: what was accepted for later is done once, in order, and poison is set aside with its content."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import InvalidInput, NotFound
from core.model import Document, Status
from core.store.base import ChangeSet, JournalItem
from hub.callbacks import CallbackQuery, JournalStatus
from hub.runtime import Hub
from tests.integration.hub.rig import audited, failure, running, stored, until

SECRET = "whsec_" + "aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8="
CALLBACKS = f'callbacks.secret = "{SECRET}"'


def document_item(id_: str, document_id: str, content: str = "Some text.") -> JournalItem:
    document = Document.parse({"document_id": document_id, "content": content, "metadata": {"source": "posted"}})
    return JournalItem(id_, "document", document.model_dump_json(), "key-1")


def query_item(id_: str, query: str = "What is here?", **more: object) -> JournalItem:
    fields = {"query": query, "callback_url": "https://asker.example.com/answers", "principals": None, **more}
    return JournalItem(id_, "query", CallbackQuery.model_validate(fields).model_dump_json(), "key-1")


def status_of(item: JournalItem) -> str:
    return JournalStatus(
        status=Status.ACCEPTED, journal_id=item.id, actor=item.actor, at=datetime.now(UTC)
    ).model_dump_json()


async def accept(hub: Hub, *items: JournalItem) -> None:
    """As the web does it: the item and its status are one transaction."""
    for item in items:
        records = {}
        if item.kind == "document" and (named := json.loads(item.payload).get("document_id")):
            records[("journal_status", named)] = status_of(item)
        await hub.service.write(ChangeSet(journal=(item,), records=records))
    hub.journal_arrived()


async def emptied(hub: Hub) -> None:
    async def empty() -> bool:
        return not await hub.service.store.journal(1)

    await until(empty)


async def statuses(hub: Hub) -> dict[str, JournalStatus]:
    records = await hub.service.store.records("journal_status")
    return {key: JournalStatus.model_validate_json(text) for key, text in records.items()}


async def test_documents_are_committed_and_their_status_is_cleared_with_the_commit(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        await accept(hub, *(document_item(f"j{n}", f"d{n}") for n in range(100)))
        await emptied(hub)
        found = await stored(hub.service)
        assert len(found) == 100
        assert {(d.origin, d.metadata.source) for d in found.values()} == {("api", "posted")}
        assert await statuses(hub) == {}
        [trail] = await hub.service.store.audit(action="document.processed", limit=1)
        assert trail.record.actor == "key-1"


async def test_what_a_hub_left_behind_the_next_one_does(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        hub.journal.stop()
        await accept(hub, document_item("j1", "a"))
        assert await stored(hub.service) == {}
    async with running(tmp_path) as hub:
        await emptied(hub)
        assert list(await stored(hub.service)) == ["a"]


async def test_several_posts_of_one_document_end_with_the_last(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        await accept(hub, *(document_item(f"j{n}", "a", f"Version {n}.") for n in range(20)))
        await emptied(hub)
        assert (await hub.service.document("a")).text == "Version 19."
        assert await statuses(hub) == {}


async def test_the_status_of_a_later_post_is_not_cleared_by_an_earlier_one(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        later = status_of(document_item("j2", "a"))
        await hub.service.write(
            ChangeSet(journal=(document_item("j1", "a"),), records={("journal_status", "a"): later})
        )
        hub.journal_arrived()
        await emptied(hub)
        assert list(await stored(hub.service)) == ["a"]
        assert [status.journal_id for status in (await statuses(hub)).values()] == ["j2"]


async def test_a_document_that_another_release_wrote_is_set_aside_whole_and_its_neighbours_go_on(
    tmp_path: Path,
) -> None:
    payload = '{"document_id": "bad", "text": "of another form"}'
    async with running(tmp_path) as hub:
        await accept(hub, JournalItem("j1", "document", payload, "key-1"), document_item("j2", "good"))
        await emptied(hub)
        assert list(await stored(hub.service)) == ["good"]
        [entry] = await hub.quarantine.list()
        assert (entry.connector, entry.document_id) == ("api", "bad")
        assert (await statuses(hub))["bad"].status is Status.REJECTED
        assert await audited(hub.service, "document.rejected") == ["document.rejected bad"]


async def test_an_item_that_cannot_be_read_at_all_holds_up_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        hub.journal.stop()
        await accept(hub, document_item("j2", "good"))
        await hub.service.write(ChangeSet(journal=(JournalItem("j1", "document", "{not json", "key-1"),)))
    async with running(tmp_path) as hub:
        await emptied(hub)
        assert list(await stored(hub.service)) == ["good"]
        assert [entry.document_id for entry in await hub.quarantine.list()] == ["j1"]


async def test_an_admin_may_retry_what_was_accepted_and_drop_what_was_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        item = document_item("j1", "a")
        records = hub.quarantine.dead_letter("api", "a", "the disk was on fire", item.payload)
        await hub.service.write(ChangeSet(records=records))
        await hub.service.write(ChangeSet(records=hub.quarantine.records("s", [failure("b")])))
        await hub.retry_quarantined("api", "a", actor="admin")
        await emptied(hub)
        assert list(await stored(hub.service)) == ["a"]
        with pytest.raises(InvalidInput, match="did not keep 'b'"):
            await hub.retry_quarantined("s", "b", actor="admin")
        await hub.drop_quarantined("s", "b", actor="admin")
        assert await hub.quarantine.list() == []
        with pytest.raises(NotFound):
            await hub.drop_quarantined("s", "b", actor="admin")


# ---------------------------------------------------------------- questions


async def payloads(hub: Hub) -> Iterable[dict[str, object]]:
    return [json.loads(delivery.payload) for delivery in await hub.service.store.deliveries()]


async def test_a_question_leaves_the_journal_with_the_delivery_of_its_answer(tmp_path: Path) -> None:
    async with running(tmp_path, hub=CALLBACKS) as hub:
        await hub.service.process_document(document_id="a", content="Paris is the capital of France.")
        await accept(hub, query_item("q1", "What is the capital of France?"))
        await emptied(hub)
        [delivery] = await hub.service.store.deliveries()
        assert delivery.target == "https://asker.example.com/answers"
        [payload] = await payloads(hub)
        assert payload["type"] == "query.answered"
        assert payload["query_id"] == "q1"
        assert "Paris" in str(payload["answer"])
        assert payload["graph_version"] == 1


async def test_a_question_is_asked_with_the_eyes_of_whoever_asked(tmp_path: Path) -> None:
    async with running(tmp_path, hub=CALLBACKS) as hub:
        await hub.service.process_document(
            document_id="a", content="Paris is the capital of France.", metadata={"access": ["staff"]}
        )
        await accept(hub, query_item("q1", "What is the capital of France?", principals=["guest"]))
        await emptied(hub)
        [payload] = await payloads(hub)
        assert payload["answer"] is None
        assert "Paris" not in json.dumps(payload)


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"filters": {"colour": {"no": "such"}}}, "invalid_query"), ({"as_of_version": 99}, "version_unavailable")],
)
async def test_a_question_that_cannot_be_answered_is_answered_with_why(
    tmp_path: Path, asked: dict[str, object], code: str
) -> None:
    async with running(tmp_path, hub=CALLBACKS) as hub:
        await accept(hub, query_item("q1", **asked))
        await emptied(hub)
        [payload] = await payloads(hub)
        assert payload["status"] == "failed"
        error = payload["error"]
        assert isinstance(error, dict)
        assert error["code"] == code


async def test_a_question_that_waits_for_a_version_holds_up_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, hub=CALLBACKS) as hub:
        await accept(hub, *(query_item(f"q{n}", min_version=1) for n in range(10)), document_item("j1", "a"))
        await emptied(hub)
        assert len(await hub.service.store.deliveries()) == 10
