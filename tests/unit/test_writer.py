"""The pipeline between a submission and its commit, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from core.entities import ChunkDraft, PackedChunk
from core.errors import QueueFull, StoreError, StoreFull, StoreUnavailable
from core.model import AccessChanged, Change, Delete, Document, Failure, ProcessResult, Status, Upsert
from core.packing import packed
from core.store.base import AuditRecord, ChangeSet
from core.store.sqlite import SqliteStore
from core.writer import Drafted, Writer


class WholeText:
    """Analysis that makes one chunk of each document, and can be held or made to fail."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.seen: list[tuple[str, frozenset[bytes]]] = []

    async def __call__(self, batch: Sequence[tuple[Document, frozenset[bytes]]]) -> list[Drafted]:
        await self.free.wait()
        self.seen.extend((document.document_id, known) for document, known in batch)
        return [
            ValueError("cannot be read") if "poison" in document.content else (draft(document.content),)
            for document, _ in batch
        ]


def draft(text: str) -> PackedChunk:
    return packed(ChunkDraft(text.encode()[:16], text, ((0, len(text)),)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(f"sqlite:{tmp_path / 'store.db'}")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def analysis() -> WholeText:
    return WholeText()


@pytest.fixture
async def writer(store: SqliteStore, analysis: WholeText) -> AsyncIterator[Writer]:
    writer = Writer(store, analysis, queue_documents=8)
    await writer.start()
    yield writer
    analysis.free.set()
    await writer.close()


def upsert(document_id: str, content: str, **metadata: object) -> Upsert:
    return Upsert(Document.parse({"document_id": document_id, "content": content, "metadata": metadata}))


async def submit(writer: Writer, *changes: Change, also: ChangeSet = ChangeSet()) -> list[ProcessResult]:
    return await (await writer.enqueue(changes, origin="blog", actor="tester", also=also))


async def test_the_same_document_again_is_unchanged_at_the_version_it_has(writer: Writer, store: SqliteStore) -> None:
    (first,) = await submit(writer, upsert("a", "One.", title="T"))
    (second,) = await submit(writer, upsert("a", "One.", title="T"))

    assert (first.status, first.graph_version, first.chunks) == (Status.PROCESSED, 1, 1)
    assert (second.status, second.graph_version) == (Status.UNCHANGED, 1)
    assert await store.head() == 1
    assert [r.record.action for r in await store.trail(0, 9)] == ["document.processed", "document.unchanged"]


async def test_metadata_alone_makes_a_new_version(writer: Writer) -> None:
    await submit(writer, upsert("a", "One.", title="T"))
    (result,) = await submit(writer, upsert("a", "One.", title="U"))
    assert (result.status, result.graph_version) == (Status.PROCESSED, 2)


async def test_analysis_is_told_which_chunks_are_stored(writer: Writer, analysis: WholeText) -> None:
    await submit(writer, upsert("a", "One."))
    await submit(writer, upsert("a", "Two."))
    assert analysis.seen == [("a", frozenset()), ("a", frozenset([draft("One.").hash]))]


async def test_deletes_and_access_changes_report_what_they_found(writer: Writer) -> None:
    await submit(writer, upsert("a", "One."))
    results = await submit(writer, AccessChanged("a", ("staff",)), Delete("missing"), AccessChanged("missing", None))
    assert [r.status for r in results] == [Status.PROCESSED, Status.NOT_FOUND, Status.NOT_FOUND]
    (same,) = await submit(writer, AccessChanged("a", ("staff",)))
    assert (same.status, same.graph_version) == (Status.UNCHANGED, 2)
    (deleted,) = await submit(writer, Delete("a"))
    assert (deleted.status, deleted.graph_version) == (Status.DELETED, 3)


async def test_of_several_changes_of_a_document_in_one_submission_the_last_counts(
    writer: Writer, store: SqliteStore
) -> None:
    results = await submit(writer, upsert("a", "One."), upsert("b", "Other."), upsert("a", "Two."))
    assert [(r.document_id, r.graph_version) for r in results] == [("a", 1), ("b", 2), ("a", 1)]
    found = (await store.documents(["a"]))["a"]
    assert (await store.chunks(found.chunk_ids))[found.chunk_ids[0]].text == "Two."


async def test_a_document_that_breaks_analysis_is_rejected_and_its_neighbours_go_on(
    writer: Writer, store: SqliteStore
) -> None:
    results = await submit(writer, upsert("a", "One."), upsert("b", "poison"), Failure("no title", "c"))
    assert [r.status for r in results] == [Status.PROCESSED, Status.REJECTED, Status.REJECTED]
    assert results[1].error is not None
    assert "cannot be read" in results[1].error.message
    assert await store.head() == 1
    rejected = await store.audit(action="document.rejected")
    assert {r.record.subject for r in rejected} == {"b", "c"}


async def test_a_failure_does_not_undo_a_good_document_of_the_same_name(writer: Writer, store: SqliteStore) -> None:
    results = await submit(writer, upsert("a", "One."), Failure("line 2 is no JSON", "a"))
    assert [r.status for r in results] == [Status.PROCESSED, Status.REJECTED]
    assert set(await store.documents(["a"])) == {"a"}


async def test_what_a_refusal_leaves_behind_is_in_its_transaction(writer: Writer, store: SqliteStore) -> None:
    def refused(result: ProcessResult) -> ChangeSet:
        return ChangeSet(records={("quarantine", f"blog/{result.document_id}"): '"kept"'})

    future = await writer.enqueue(
        [upsert("a", "One."), upsert("b", "poison")],
        origin="blog",
        actor="t",
        also=ChangeSet(journal_done=("j1",)),
        refused=refused,
    )
    commits = len(await store.trail(0, 9))
    await future
    assert commits == 0
    assert await store.records("quarantine") == {"blog/b": '"kept"'}


async def test_what_must_stand_with_the_documents_is_in_their_transaction(writer: Writer, store: SqliteStore) -> None:
    await submit(writer, upsert("a", "One."), also=ChangeSet(records={("checkpoint", "blog"): '"p2"'}))
    assert await store.records("checkpoint") == {"blog": '"p2"'}


async def test_quick_changes_of_one_document_are_committed_in_order(writer: Writer, store: SqliteStore) -> None:
    futures = [
        await writer.enqueue([upsert("a", f"Text {n}.")], origin="api", actor="t", also=ChangeSet()) for n in range(30)
    ]
    results = [(await future)[0] for future in futures]
    assert [r.graph_version for r in results] == list(range(1, 31))
    found = (await store.documents(["a"]))["a"]
    assert (await store.chunks(found.chunk_ids))[found.chunk_ids[0]].text == "Text 29."


async def test_what_arrives_while_a_group_is_written_shares_the_next_commit(
    writer: Writer, analysis: WholeText, store: SqliteStore
) -> None:
    commits = 0

    async def count() -> None:
        nonlocal commits
        while True:
            await writer.committed.wait(None)
            commits += 1

    counter = asyncio.create_task(count())
    analysis.free.clear()
    futures = [
        await writer.enqueue([upsert(f"d{n}", "One.")], origin="api", actor="t", also=ChangeSet()) for n in range(8)
    ]
    analysis.free.set()
    await asyncio.gather(*futures)
    counter.cancel()
    assert await store.head() == 8
    assert commits <= 2


async def test_a_full_queue_says_so_or_waits_for_room(writer: Writer, analysis: WholeText) -> None:
    analysis.free.clear()
    taken = [
        await writer.enqueue([upsert(f"d{n}", "One.")], origin="api", actor="t", also=ChangeSet()) for n in range(8)
    ]
    with pytest.raises(QueueFull):
        await writer.enqueue([upsert("x", "One.")], origin="api", actor="t", also=ChangeSet(), wait=False)
    waiting = asyncio.create_task(submit(writer, upsert("y", "One.")))
    await asyncio.sleep(0)
    assert not waiting.done()
    analysis.free.set()
    await asyncio.gather(*taken)
    assert (await waiting)[0].status is Status.PROCESSED


async def test_a_full_disk_fails_the_submission_and_the_next_one_may_succeed(
    writer: Writer, store: SqliteStore
) -> None:
    await submit(writer, upsert("a", "One."))
    pages = await store._writer.run(lambda db: db.execute("PRAGMA page_count").get)
    await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 1}").get)
    with pytest.raises(StoreFull):
        await submit(writer, upsert("b", "Long. " * 50_000))
    assert await store.documents(["b"]) == {}
    await store._writer.run(lambda db: db.execute("PRAGMA max_page_count = 100000").get)
    (result,) = await submit(writer, upsert("b", "Long. " * 50_000))
    assert (result.status, result.graph_version) == (Status.PROCESSED, 2)


async def test_closing_commits_what_was_taken_and_refuses_what_comes_after(store: SqliteStore) -> None:
    writer = Writer(store, WholeText())
    await writer.start()
    future = await writer.enqueue([upsert("a", "One.")], origin="api", actor="t", also=ChangeSet())
    writer.audit_soon(AuditRecord("t", "query.answered"))
    await writer.close()
    assert (await future)[0].graph_version == 1
    assert {r.record.action for r in await store.trail(0, 9)} == {"document.processed", "query.answered"}
    with pytest.raises(StoreUnavailable, match="closing"):
        await submit(writer, upsert("b", "Two."))


async def test_a_record_written_soon_needs_no_other_write(writer: Writer, store: SqliteStore) -> None:
    writer.audit_soon(AuditRecord("t", "query.answered"))
    assert await writer.committed.wait(5)
    assert len(await store.trail(0, 9)) == 1


async def test_a_record_that_could_not_be_written_is_tried_again_by_itself(
    writer: Writer, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.writer.AUDIT_SECONDS", 0.0)
    await submit(writer, upsert("a", "One."))
    pages = await store._writer.run(lambda db: db.execute("PRAGMA page_count").get)
    await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").get)
    writer.audit_soon(AuditRecord("t", "query.answered", detail={"text": "long" * 10_000}))
    await asyncio.sleep(0.01)  # so that it is due before what is submitted now, and fails before it
    with pytest.raises(StoreFull):
        await submit(writer, upsert("b", "Long. " * 50_000))
    await store._writer.run(lambda db: db.execute("PRAGMA max_page_count = 100000").get)
    async with asyncio.timeout(10):
        while not await store.audit(action="query.answered"):
            await writer.committed.wait(1)


async def test_what_cannot_be_written_fails_alone_and_the_writer_goes_on(
    writer: Writer, analysis: WholeText, store: SqliteStore
) -> None:
    analysis.free.clear()
    first = await writer.enqueue([upsert("a", "One.")], origin="api", actor="t", also=ChangeSet())
    # Submissions that wait behind the first one are one group. No text that SQLite takes holds a lone surrogate.
    unwritable = ChangeSet(records={("checkpoint", "blog"): "\ud800"})
    others = [
        await writer.enqueue([upsert("b", "Two.")], origin="api", actor="t", also=ChangeSet()),
        await writer.enqueue([upsert("c", "Three.")], origin="api", actor="t", also=unwritable),
        await writer.enqueue([upsert("d", "Four.")], origin="api", actor="t", also=ChangeSet()),
    ]
    analysis.free.set()
    await first
    done = await asyncio.gather(*others, return_exceptions=True)
    assert isinstance(done[1], StoreError)
    assert set(await store.documents(["a", "b", "c", "d"])) == {"a", "b", "d"}
    (later,) = await submit(writer, upsert("c", "Three."))
    assert later.status is Status.PROCESSED
    assert not writer.stopped
