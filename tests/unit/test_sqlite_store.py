"""What is particular to the embedded store: its file, its lock, and the disk under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from core.entities import EntityType, Mention, Naming, Relation
from core.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreTooNew, StoreUnavailable
from core.naming import entity
from core.store.base import AuditRecord, ChangeSet
from core.store.schema import migrations
from core.store.sqlite import SqliteStore
from core.store.sqlite.connection import APPLICATION_ID
from core.store.sqlite.lock import Holder, read_holder

HOLD = """
import asyncio, sys
from core.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(f"sqlite:{sys.argv[1]}")
    await store.open()
    store.announce("http://127.0.0.1:1234", "the-token")
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


FIRST_SCHEMA = dict(migrations("sqlite"))[1]
"""What the first release made, so that an upgrade starts from the real thing."""
WRITTEN_THEN = """
    INSERT INTO log VALUES (1, 'upsert', 'a', NULL, NULL, 0.0);
    INSERT INTO documents
        VALUES (1, NULL, 'a', x'00', '{"title": "Ada"}', 'api', x'0100000000000000', x'0000000000000000');
    INSERT INTO chunks VALUES (1, 1, 'a', x'00', 'Ada wrote.', x'000000000a000000');
    INSERT INTO entities VALUES (:ada, 'name', 'ada', 'Ada'), (:tag, 'tag', 'history', 'History');
    INSERT INTO mentions VALUES (1, 0, :ada, -1, -1, -1, 'title', 1.0), (1, 1, :tag, -1, -1, -1, 'tag', 1.0),
        (1, 2, :ada, 0, 0, 3, 'span', 1.0);
    INSERT INTO relations VALUES (1, 0, :ada, 'tag', :tag, -1);
    UPDATE graph SET version = 1, next_chunk = 2;
"""


def audit(size: int) -> ChangeSet:
    return ChangeSet(audit=(AuditRecord("tester", "filler", "x" * size),))


async def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"is open in process {process.pid}, which serves http") as caught:
            await SqliteStore(f"sqlite:{path}").open()
        assert caught.value.url == "http://127.0.0.1:1234"
        assert read_holder(path) == Holder(process.pid, "http://127.0.0.1:1234", "the-token")
        process.send_signal(signal.SIGKILL)
    store = SqliteStore(f"sqlite:{path}")
    await store.open()
    assert read_holder(path) == Holder(os.getpid())
    await store.close()
    assert read_holder(path) is None


async def test_a_store_of_the_first_schema_is_upgraded_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    ada, tag = entity("Ada"), entity("History", EntityType.TAG)
    assert ada is not None
    assert tag is not None
    db = apsw.Connection(str(path))
    db.execute(FIRST_SCHEMA)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    db.execute(WRITTEN_THEN, {"ada": ada.id, "tag": tag.id})
    db.close()
    store = SqliteStore(f"sqlite:{path}")
    await store.open()

    [entry] = await store.changes(0, 10, content=True)

    assert entry.chunks[0].text == "Ada wrote."
    assert entry.chunks[0].named == Naming((ada.id, tag.id), (2, 1), ("Ada", "History"), ("name", "tag"), ada.id)
    assert await store.evidence([entry.chunks[0].id]) == {
        entry.chunks[0].id: (
            (
                Mention(ada, -1, -1, -1, "title"),
                Mention(tag, -1, -1, -1, "tag"),
                Mention(ada, 0, 0, 3, "span"),
            ),
            (Relation(ada, "tag", tag),),
        )
    }
    await store.close()


async def test_the_lock_file_is_readable_by_its_owner_only_and_hides_its_token(tmp_path: Path) -> None:
    store = SqliteStore(f"sqlite:{tmp_path / 'store.db'}")
    await store.open()
    store.announce("http://127.0.0.1:1", "very-secret")
    assert (tmp_path / "store.db.lock").stat().st_mode & 0o077 == 0
    assert "very-secret" not in repr(read_holder(tmp_path / "store.db"))
    await store.close()


async def test_a_store_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(f"sqlite:{path}")
    await store.open()
    await store.close()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(StoreTooNew, match="schema 999"):
        await SqliteStore(f"sqlite:{path}").open()


async def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StoreCorrupt, match="not a store of AI.me Hub"):
        await SqliteStore(f"sqlite:{path}").open()
    db = apsw.Connection(str(path))
    assert db.execute("SELECT name FROM sqlite_schema").get == "theirs"
    db.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 500)
    with pytest.raises(StoreCorrupt):
        await SqliteStore(f"sqlite:{path}").open()
    assert path.read_text().startswith("Dear diary")


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        await SqliteStore(f"sqlite:{tmp_path / 'file' / 'store.db'}").open()


def test_a_url_without_a_file_is_refused() -> None:
    with pytest.raises(StoreError, match="names no file"):
        SqliteStore("sqlite:")


async def test_a_full_store_refuses_writes_and_takes_them_again_when_there_is_room(tmp_path: Path) -> None:
    store = SqliteStore(f"sqlite:{tmp_path / 'store.db'}")
    await store.open()
    await store.commit([audit(10)])
    # SQLite's own page limit raises the very error of a full disk (SQLITE_FULL), wherever the tests run.
    pages = await store._writer.run(lambda db: db.execute("PRAGMA page_count").get)
    await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").get)
    with pytest.raises(StoreFull, match="no space left"):
        await store.commit([audit(100), audit(100_000)])
    assert len(await store.trail(0, 10)) == 1

    await store._writer.run(lambda db: db.execute("PRAGMA max_page_count = 100000").get)
    await store.commit([audit(100_000)])
    assert len(await store.trail(0, 10)) == 2
    await store.close()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(f"sqlite:{tmp_path / 'store.db'}")
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.head()


async def test_a_store_in_memory_needs_no_file() -> None:
    store = SqliteStore("sqlite::memory:")
    await store.open()
    await store.commit([audit(10)])
    assert len(await store.trail(0, 10)) == 1
    await store.close()
