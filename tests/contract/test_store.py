"""What every store must do. A backend joins by adding itself to `BACKENDS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.entities import ChunkDraft, Entity, EntityType, Mention, PackedChunk, Relation
from core.errors import CommitConflict, VersionUnavailable
from core.model import LogEntry, Metadata, Op
from core.naming import entity_id
from core.packing import packed
from core.store.base import (
    Attempt,
    AuditRecord,
    ChangeSet,
    DeliveryState,
    JournalItem,
    JournalSize,
    NewDelivery,
    PreparedChange,
    Store,
)
from core.store.sqlite import SqliteStore
from tests.postgres_rig import drop_database, new_database

Open = Callable[[], Store]


@asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[Open]:
    yield lambda: SqliteStore(f"sqlite:{folder / 'store.db'}")


@asynccontextmanager
async def on_postgres(_folder: Path) -> AsyncIterator[Open]:
    url = await new_database()
    from core.store.postgres import PostgresStore

    yield lambda: PostgresStore(url)
    await drop_database(url)


BACKENDS = {"sqlite": on_sqlite, "postgres": on_postgres}
NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ADA = Entity(entity_id(EntityType.NAME, "ada lovelace"), EntityType.NAME, "ada lovelace", "Ada Lovelace")
LONDON = Entity(entity_id(EntityType.NAME, "london"), EntityType.NAME, "london", "London")
HISTORY = Entity(entity_id(EntityType.TAG, "history"), EntityType.TAG, "history", "History")


@pytest.fixture(params=BACKENDS)
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Makes a store on the same data each time it is called."""
    async with BACKENDS[request.param](tmp_path) as opener:
        yield opener


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[Store]:
    store = open_store()
    await store.open()
    yield store
    await store.close()


def chunk(text: str, *entities: Entity, relations: tuple[Relation, ...] = ()) -> PackedChunk:
    return chunk_with(text, tuple(Mention(entity, 0, 0, 3, "span") for entity in entities), relations)


def chunk_with(text: str, mentions: tuple[Mention, ...], relations: tuple[Relation, ...]) -> PackedChunk:
    return packed(ChunkDraft(text.encode()[:16], text, ((0, len(text.rstrip())),), mentions, relations))


def upsert(
    document_id: str, *chunks: PackedChunk, expected: int | None = None, origin: str = "api", **metadata: object
) -> PreparedChange:
    return PreparedChange(
        op=Op.UPSERT,
        document_id=document_id,
        expected=expected,
        origin=origin,
        audit=AuditRecord("tester", "document.processed", document_id, {"status": "processed"}),
        content_hash="".join(c.text for c in chunks).encode()[:16],
        metadata=Metadata.model_validate(metadata),
        chunks=chunks,
    )


def delete(document_id: str, expected: int) -> PreparedChange:
    audit = AuditRecord("tester", "document.deleted", document_id)
    return PreparedChange(Op.DELETE, document_id, expected, "api", audit)


def delivery(id_: str, *, endpoint: str = "crm", subject: str = "a", at: datetime = NOW) -> NewDelivery:
    return NewDelivery(id_, endpoint, "document.processed", subject, "{}", at)


async def commit(store: Store, *changes: PreparedChange) -> list[LogEntry]:
    return (await store.commit([ChangeSet(changes=changes)]))[0]


# ---------------------------------------------------------------- versions and documents


async def test_an_empty_store_stands_at_version_nought(store: Store) -> None:
    assert await store.head() == 0
    assert await store.floor() == 0
    assert await store.changes(0, 10) == []


async def test_each_change_of_a_group_takes_the_next_version(store: Store) -> None:
    first = ChangeSet(changes=(upsert("a", chunk("One.")), upsert("b", chunk("Two."))))
    second = ChangeSet(changes=(upsert("c", chunk("Three.")),))

    committed = await store.commit([first, ChangeSet(), second])

    assert [[entry.version for entry in entries] for entries in committed] == [[1, 2], [], [3]]
    assert await store.head() == 3


async def test_a_document_comes_back_as_it_was_committed(store: Store) -> None:
    await commit(
        store, upsert("a", chunk("One. "), chunk("Two."), title="Numbers", author="Ada", rank=[1, {"x": None}])
    )

    found = (await store.documents(["a", "missing"]))["a"]

    assert found.metadata.title == "Numbers"
    assert found.metadata.author == ("Ada",)
    assert found.metadata.as_json()["rank"] == [1, {"x": None}]
    assert (found.v_from, found.v_to, found.origin) == (1, None, "api")
    assert found.chunk_starts == (0, 5)
    texts = await store.chunks(found.chunk_ids)
    assert [(texts[i].ordinal, texts[i].start, texts[i].text) for i in found.chunk_ids] == [
        (0, 0, "One. "),
        (1, 5, "Two."),
    ]


async def test_metadata_with_dates_survives_the_store(store: Store) -> None:
    await commit(store, upsert("a", chunk("One."), published_at="2026-03-01T10:30:00+01:00"))
    assert (await store.documents(["a"]))["a"].metadata.published_at == NOW


async def test_an_edit_keeps_the_chunks_that_did_not_change(store: Store) -> None:
    await commit(store, upsert("a", chunk("Kept. "), chunk("Old.")))
    before = (await store.documents(["a"]))["a"]
    await commit(store, upsert("a", chunk("New first. "), chunk("Kept. "), expected=1))
    after = (await store.documents(["a"]))["a"]

    assert after.chunk_ids[1] == before.chunk_ids[0]
    assert after.chunk_ids[0] not in before.chunk_ids
    kept = before.chunk_ids[0]
    assert (await store.chunks([kept]))[kept].start == len("New first. ")
    assert (await store.chunks([kept], as_of=1))[kept].start == 0


async def test_chunks_are_read_with_the_versions_that_hold_them(store: Store) -> None:
    await commit(store, upsert("a", chunk("One. "), chunk("Two."), title="Old"))
    [one, two] = (await store.documents(["a"]))["a"].chunk_ids
    await commit(store, upsert("a", chunk("One. "), title="New", expected=1), upsert("b", chunk("Three.")))
    [three] = (await store.documents(["b"]))["b"].chunk_ids

    for as_of, expected in (None, {one, three}), (3, {one, three}), (1, {one, two}):
        chunks, documents = await store.passages([one, two, three, three + 1], as_of)
        assert chunks == await store.chunks([one, two, three], as_of)
        assert chunks.keys() == expected
        assert documents == await store.documents(["a", "b"], as_of)
    with pytest.raises(VersionUnavailable):
        await store.passages([one], as_of=4)


async def test_the_same_text_twice_in_a_document_is_two_chunks(store: Store) -> None:
    await commit(store, upsert("a", chunk("Same. "), chunk("Same. ")))
    await commit(store, upsert("a", chunk("Same. "), chunk("Same. "), chunk("More."), expected=1))
    found = (await store.documents(["a"]))["a"]
    assert len(set(found.chunk_ids)) == 3
    assert found.chunk_starts == (0, 6, 12)


async def test_the_past_is_read_as_it_was(store: Store) -> None:
    await commit(store, upsert("a", chunk("First.")), upsert("b", chunk("Other.")))
    await commit(store, upsert("a", chunk("Second."), expected=1))
    await commit(store, delete("a", expected=3))

    assert await store.documents(["a"]) == {}
    assert (await store.documents(["a"], as_of=3))["a"].v_from == 3
    assert (await store.documents(["a"], as_of=2))["a"].v_from == 1
    assert [d.document_id for d in await store.scan(as_of=2)] == ["a", "b"]
    assert [d.document_id for d in await store.scan()] == ["b"]


async def test_a_version_that_is_not_written_yet_cannot_be_read(store: Store) -> None:
    with pytest.raises(VersionUnavailable, match="version 7 cannot be read: the store holds 0 to 0"):
        await store.documents(["a"], as_of=7)


async def test_a_change_prepared_on_something_else_is_a_conflict_and_writes_nothing(store: Store) -> None:
    await commit(store, upsert("a", chunk("One.")))

    with pytest.raises(CommitConflict) as caught:
        await commit(store, upsert("b", chunk("Two.")), upsert("a", chunk("Three."), expected=None))

    assert caught.value.document_ids == {"a"}
    assert await store.head() == 1
    assert await store.documents(["b"]) == {}
    assert len(await store.trail(0, 10)) == 1


async def test_an_access_change_keeps_content_and_chunks(store: Store) -> None:
    await commit(store, upsert("a", chunk("One."), title="T"))
    audit = AuditRecord("tester", "document.processed", "a")
    metadata = Metadata(title="T", access=("staff",))
    await commit(store, PreparedChange(Op.ACCESS, "a", 1, "api", audit, metadata=metadata))

    before, after = (await store.documents(["a"], 1))["a"], (await store.documents(["a"]))["a"]
    assert after.metadata.access == ("staff",)
    assert (after.content_hash, after.chunk_ids) == (before.content_hash, before.chunk_ids)
    assert [entry.access for entry in await store.changes(0, 10)] == [None, ("staff",)]


async def test_a_scan_pages_in_the_order_of_ids_and_knows_who_brought_what(store: Store) -> None:
    await commit(store, *(upsert(f"d{n}", chunk(f"Text {n}."), origin="blog" if n % 2 else "api") for n in range(6)))

    assert [d.document_id for d in await store.scan(limit=2)] == ["d0", "d1"]
    assert [d.document_id for d in await store.scan(after="d1", limit=2)] == ["d2", "d3"]
    assert [d.document_id for d in await store.scan(origin="blog")] == ["d1", "d3", "d5"]


async def test_chunk_hashes_are_those_held_now(store: Store) -> None:
    old, new = chunk("Old."), chunk("New.")
    await commit(store, upsert("a", old))
    await commit(store, upsert("a", new, expected=1))
    assert await store.chunk_hashes(["a", "missing"]) == {"a": frozenset([new.hash])}


async def test_a_chunk_is_read_with_its_hash(store: Store) -> None:
    new = chunk("New.")
    await commit(store, upsert("a", new))
    [document] = (await store.documents(["a"])).values()
    [held] = (await store.chunks(document.chunk_ids)).values()
    assert held.hash == new.hash


# ---------------------------------------------------------------- the log


async def test_the_log_carries_each_version_with_the_chunks_that_it_made(store: Store) -> None:
    knows = Relation(ADA, "author", LONDON)
    told = await commit(
        store, upsert("a", chunk("Kept. ", ADA), chunk("Ada was in London.", ADA, LONDON, relations=(knows,)))
    )
    told += await commit(store, upsert("a", chunk("Kept. "), chunk("New.", LONDON), expected=1))
    told += await commit(store, delete("a", expected=2))

    first, second, third = entries = await store.changes(0, 10, content=True)

    assert told == entries
    assert [first.op, second.op, third.op] == [Op.UPSERT, Op.UPSERT, Op.DELETE]
    assert [c.text for c in first.chunks] == ["Kept. ", "Ada was in London."]
    assert first.chunks[1].named.ids == (ADA.id, LONDON.id)
    ((mentions, relations),) = (await store.evidence([first.chunks[1].id])).values()
    assert [mention.entity for mention in mentions] == [ADA, LONDON]
    assert relations == (knows,)
    assert [c.text for c in second.chunks] == ["New."]
    assert second.document is not None
    assert second.document.chunk_ids[0] == first.chunks[0].id
    assert third.document is None
    assert [e.version for e in await store.changes(1, 1)] == [2]


async def test_chunk_ids_grow_in_commit_order_and_are_never_used_again(store: Store, open_store: Open) -> None:
    await commit(store, upsert("a", chunk("One.")))
    await commit(store, delete("a", expected=1))
    await store.gc(2)
    await store.close()
    again = open_store()
    await again.open()
    await commit(again, upsert("b", chunk("Two.")))
    assert (await again.documents(["b"]))["b"].chunk_ids == (2,)
    await again.close()


async def test_everything_committed_is_there_after_a_reopening(store: Store, open_store: Open) -> None:
    await commit(store, upsert("a", chunk("One.", ADA), access=["staff"]))
    before = await store.changes(0, 10, content=True)
    await store.close()
    again = open_store()
    await again.open()
    assert await again.changes(0, 10, content=True) == before
    await again.close()


# ---------------------------------------------------------------- collecting history


async def test_gc_drops_what_no_later_version_sees_and_nothing_else(store: Store) -> None:
    await commit(store, upsert("a", chunk("Kept. ", ADA), chunk("Old.", LONDON)), upsert("b", chunk("Stays.")))
    await commit(store, upsert("a", chunk("Kept. "), chunk("New."), expected=1))

    assert await store.gc(3) == 1

    assert await store.floor() == 3
    assert set(await store.documents(["a", "b"], as_of=3)) == {"a", "b"}
    with pytest.raises(VersionUnavailable):
        await store.documents(["a"], as_of=2)


async def test_after_gc_the_log_still_tells_every_chunk_once_with_its_mentions(store: Store) -> None:
    await commit(store, upsert("a", chunk("Kept. ", ADA), chunk("Old.", LONDON)), upsert("b", chunk("Stays.")))
    await commit(store, upsert("a", chunk("Kept. "), chunk("New."), expected=1))
    await store.gc(3)

    entries = await store.changes(0, 10, content=True)

    assert [(e.version, e.document_id) for e in entries] == [(2, "b"), (3, "a")]
    assert [[c.text for c in e.chunks] for e in entries] == [["Stays."], ["Kept. ", "New."]]
    assert entries[1].chunks[0].named.ids == (ADA.id,)


async def test_mentions_and_relations_come_back_as_they_were_committed(store: Store) -> None:
    mentions = (Mention(ADA, -1, -1, -1, "title"), Mention(HISTORY, -1, -1, -1, "tag"), Mention(ADA, 0, 0, 3, "x", 0.5))
    relations = (Relation(ADA, "tag", HISTORY), Relation(ADA, "lived in", LONDON, 0))
    [entry] = await commit(store, upsert("a", chunk_with("Ada.", mentions, relations)))
    assert await store.evidence([entry.chunks[0].id, 99]) == {entry.chunks[0].id: (mentions, relations)}


async def test_a_follower_that_missed_collected_changes_is_told_so(store: Store) -> None:
    await commit(store, upsert("a", chunk("One.")))
    await commit(store, delete("a", expected=1))
    await commit(store, upsert("b", chunk("Two.")))
    await store.gc(3)
    with pytest.raises(VersionUnavailable, match="read the graph anew"):
        await store.changes(1, 10)


async def test_who_begins_anew_at_0_after_a_collection_reads_on_page_by_page(store: Store) -> None:
    await commit(store, upsert("a", chunk("One.")))
    await commit(store, upsert("b", chunk("Two.")))
    await commit(store, delete("a", expected=1))
    await commit(store, upsert("c", chunk("Three.")))
    await store.gc(4)
    assert [entry.document_id for entry in await store.changes(0, 1, began=4)] == ["b"]
    assert [entry.document_id for entry in await store.changes(2, 1, began=4)] == ["c"]
    await commit(store, delete("b", expected=2))
    await store.gc(5)
    with pytest.raises(VersionUnavailable):
        await store.changes(2, 1, began=4)


async def test_a_collection_that_dropped_no_entry_is_no_gap(store: Store) -> None:
    for name in "abc":
        await commit(store, upsert(name, chunk(f"About {name}.")))
    await store.gc(3)
    assert [entry.version for entry in await store.changes(1, 10)] == [2, 3]


async def test_gc_of_the_same_stretch_again_does_nothing(store: Store) -> None:
    await commit(store, upsert("a", chunk("One.")))
    assert await store.gc(1) == 0
    assert await store.gc(1) == 0
    assert await store.gc(99) == 0
    assert await store.floor() == 1


async def test_the_version_at_a_moment(store: Store) -> None:
    start = datetime.now(UTC)
    await commit(store, upsert("a", chunk("One.")))
    assert await store.version_at(start - timedelta(minutes=1)) == 0
    assert await store.version_at(datetime.now(UTC) + timedelta(minutes=1)) == 1


async def test_the_stores_clock_is_the_one_that_versions_have_their_time_from(store: Store) -> None:
    before = await store.now()
    [entry] = await commit(store, upsert("a", chunk("One.")))
    assert before <= entry.at <= await store.now()


# ---------------------------------------------------------------- the small tables


async def test_a_checkpoint_stands_or_falls_with_its_documents(store: Store) -> None:
    records = {("checkpoint", "blog"): '{"page": 2}'}
    await store.commit([ChangeSet(changes=(upsert("a", chunk("One.")),), records=records)])
    conflicting = ChangeSet(changes=(upsert("a", chunk("Two.")),), records={("checkpoint", "blog"): '{"page": 3}'})
    with pytest.raises(CommitConflict):
        await store.commit([conflicting])
    assert await store.records("checkpoint") == {"blog": '{"page": 2}'}


async def test_records_are_read_by_their_keys(store: Store) -> None:
    await store.commit([ChangeSet(records={("extraction", "a"): "1", ("extraction", "b"): "2", ("key", "a"): "3"})])
    assert await store.records("extraction", ["b", "a", "c"]) == {"a": "1", "b": "2"}
    assert await store.records("extraction", ["c"]) == {}
    assert await store.records("extraction", []) == {}


async def test_a_record_is_replaced_and_removed(store: Store) -> None:
    await store.commit([ChangeSet(records={("key", "a"): "1", ("key", "b"): "2", ("endpoint", "a"): "3"})])
    await store.commit([ChangeSet(records={("key", "a"): "4", ("key", "b"): None})])
    assert await store.records("key") == {"a": "4"}
    assert await store.records("endpoint") == {"a": "3"}
    assert await store.record("key", "a") == "4"
    assert await store.record("key", "b") is None


async def test_the_journal_is_read_in_order_and_left_when_done(store: Store) -> None:
    items = tuple(JournalItem(f"j{n}", "document", "{}", "api") for n in range(3))
    await store.commit([ChangeSet(journal=items)])
    assert await store.journal(2) == list(items[:2])
    await store.commit([ChangeSet(changes=(upsert("a", chunk("One.")),), journal_done=("j0",))])
    assert await store.journal(10) == list(items[1:])


async def test_the_journals_size_is_that_of_its_payloads_in_bytes(store: Store) -> None:
    assert await store.journal_size() == JournalSize(0, 0)
    items = (JournalItem("j0", "document", "{}", "api"), JournalItem("j1", "query", '"é"', "api"))
    await store.commit([ChangeSet(journal=items)])
    assert await store.journal_size() == JournalSize(2, 6)
    await store.commit([ChangeSet(journal_done=("j0",))])
    assert await store.journal_size() == JournalSize(1, 4)


async def test_the_trail_tells_each_change_with_its_version(store: Store) -> None:
    query = AuditRecord("key-1", "query.answered", "", {"abstained": False})
    await store.commit([ChangeSet(changes=(upsert("a", chunk("One.")),), audit=(query,))])

    trail = await store.trail(0, 10)

    assert [(r.record.actor, r.record.action, r.record.subject) for r in trail] == [
        ("tester", "document.processed", "a"),
        ("key-1", "query.answered", ""),
    ]
    assert trail[0].record.detail == {"status": "processed", "graph_version": 1}
    assert await store.trail(trail[0].sequence, 10) == trail[1:]
    assert await store.audit(action="query.answered") == trail[1:]
    assert await store.audit(before=trail[1].sequence) == trail[:1]
    assert await store.audit(actor="nobody") == []


async def test_only_the_first_pending_delivery_of_a_document_is_due(store: Store) -> None:
    await store.commit([ChangeSet(deliveries=(delivery("1"), delivery("2"), delivery("3", subject="b")))])
    assert [d.id for d in await store.due(NOW, 10)] == ["1", "3"]
    await store.commit([ChangeSet(attempts=(Attempt("1", NOW, 0.1, DeliveryState.DELIVERED, NOW, 200),))])
    assert [d.id for d in await store.due(NOW, 10)] == ["2", "3"]


async def test_a_later_delivery_waits_for_one_that_is_to_be_retried(store: Store) -> None:
    later = NOW + timedelta(hours=1)
    await store.commit([ChangeSet(deliveries=(delivery("1"), delivery("2"), delivery("3", endpoint="erp")))])
    failed = Attempt("1", NOW, 0.1, DeliveryState.PENDING, later, 500, "500 Internal Server Error", "oops")
    await store.commit([ChangeSet(attempts=(failed,))])

    assert [d.id for d in await store.due(NOW, 10)] == ["3"]
    assert [d.id for d in await store.due(later, 10, skip=["erp"])] == ["1"]
    assert await store.next_due() == NOW
    assert await store.attempts("1") == [failed]
    (waiting,) = await store.deliveries(state=DeliveryState.PENDING, subject="a", endpoint="crm", limit=1, before=2)
    assert (waiting.id, waiting.attempts, waiting.error) == ("1", 1, "500 Internal Server Error")


async def test_deliveries_without_a_subject_do_not_wait_for_one_another(store: Store) -> None:
    await store.commit([ChangeSet(deliveries=(delivery("1", subject=""), delivery("2", subject="")))])
    assert [d.id for d in await store.due(NOW, 10)] == ["1", "2"]


async def test_a_delivery_is_written_once_however_often_it_is_made(store: Store) -> None:
    await store.commit([ChangeSet(deliveries=(delivery("1"),))])
    await store.commit([ChangeSet(deliveries=(delivery("1"), delivery("2")))])
    assert [d.id for d in await store.deliveries()] == ["2", "1"]
    assert await store.delivery("2") == (await store.deliveries())[0]
    assert await store.delivery("3") is None


async def test_a_replay_makes_a_dead_delivery_pending_again_under_its_id(store: Store) -> None:
    await store.commit([ChangeSet(deliveries=(delivery("1"),))])
    await store.commit([ChangeSet(attempts=(Attempt("1", NOW, 0.1, DeliveryState.DEAD, NOW, 410, "gone"),))])
    assert await store.due(NOW, 10) == []
    assert await store.next_due() is None
    assert await store.undelivered() == {("crm", DeliveryState.DEAD): 1}
    await store.commit([ChangeSet(replays=("1",))])
    assert await store.undelivered() == {("crm", DeliveryState.PENDING): 1}
    (again,) = await store.due(datetime.now(UTC), 10)
    assert (again.id, again.state, again.attempts, again.error) == ("1", DeliveryState.PENDING, 0, None)


async def test_deliveries_that_arrived_are_trimmed_by_age_and_take_their_attempts_along(store: Store) -> None:
    await store.commit([ChangeSet(deliveries=tuple(delivery(str(n), subject="") for n in range(1, 6)))])
    states = {"1": DeliveryState.DELIVERED, "2": DeliveryState.DEAD, "4": DeliveryState.DELIVERED}
    tried = [Attempt(id_, NOW, 0.1, state, NOW, 200) for id_, state in states.items()]
    await store.commit([ChangeSet(attempts=tuple(tried))])
    soon, once = datetime.now(UTC) + timedelta(minutes=1), datetime.now(UTC) - timedelta(minutes=1)

    assert await store.trim_deliveries(once, 0, 2) is None, "none is that old"
    first = await store.trim_deliveries(soon, 0, 3)
    assert [d.id for d in await store.deliveries()] == ["5", "4", "3", "2"]
    assert first is not None
    assert await store.trim_deliveries(soon, first, 3) is None
    assert [d.id for d in await store.deliveries()] == ["5", "3", "2"], "what has not arrived stays"
    assert (await store.attempts("1"), await store.attempts("2")) == ([], tried[1:2])


async def test_the_trail_is_trimmed_from_its_oldest_record_on_and_no_further_than_is_said(store: Store) -> None:
    records = tuple(AuditRecord("tester", "query.answered", str(n)) for n in range(5))
    await store.commit([ChangeSet(audit=records)])
    sequences = [record.sequence for record in await store.trail(0, 10)]
    soon, once = datetime.now(UTC) + timedelta(minutes=1), datetime.now(UTC) - timedelta(minutes=1)

    assert await store.trim_audit(once, sequences[-1], 10) == 0, "none is that old"
    assert await store.trim_audit(soon, sequences[3], 3) == 3
    assert await store.trim_audit(soon, sequences[3], 3) == 1
    assert await store.trim_audit(soon, sequences[3], 3) == 0
    assert [record.record.subject for record in await store.trail(0, 10)] == ["4"]
    await store.trim_audit(soon, sequences[-1], 3)
    await store.commit([ChangeSet(audit=records[:1])])
    assert [record.sequence for record in await store.trail(0, 10)] == [sequences[-1] + 1], "no number is used twice"
