"""The hub and its commands on a PostgreSQL store."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.errors import StoreError
from core.service import create_graph_service
from core.store.base import Attempt, ChangeSet, DeliveryState, JournalItem, NewDelivery, RecordScope, Store
from core.store.opening import store_of
from core.store.transfer import TABLES, copy
from hub.config import Config
from hub.net import Network
from hub.notify.schedule import Clock
from hub.runtime import Hub
from hub.web import serve
from tests.contract.test_store import ADA, NOW, chunk, commit, delete, upsert
from tests.integration.notify.rig import dispatching, endpoint, receiving
from tests.postgres_rig import drop_database, execute, new_database

AIME = str(Path(sys.executable).with_name("aime"))
PASSWORD = "correct-horse"


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """With a password, which the server does not ask for, and nobody may see."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = await new_database()
    yield url.replace("postgres@", f"postgres:{PASSWORD}@")
    await drop_database(url)


async def aime(folder: Path, *arguments: str, **environment: str) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        AIME,
        *arguments,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    outcome = Outcome(process.returncode, out.decode(), err.decode())
    assert PASSWORD not in outcome.out + outcome.err
    assert "Traceback" not in outcome.err
    return outcome


# ---------------------------------------------------------------- commands


async def test_a_command_opens_the_store_that_the_configuration_names(url: str, tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_text('[hub]\nstore = "${AIME_DATABASE}"\n')
    (tmp_path / "tides.txt").write_text("Tides follow the moon.")
    missing = await aime(tmp_path, "query", "What do tides follow?", AIME_DATABASE=url)
    assert (missing.code, missing.err.partition(";")[2]) == (2, " `aime ingest` or `aime run` makes one\n")

    assert (await aime(tmp_path, "ingest", "tides.txt", AIME_DATABASE=url)).code == 0
    answer = await aime(tmp_path, "query", "What do tides follow?", "--json", AIME_DATABASE=url)
    assert answer.json["answer"] == "Tides follow the moon."
    found = await aime(tmp_path, "doctor", "--json", AIME_DATABASE=url)
    states = {finding["subject"]: finding["state"] for finding in found.json}
    assert (states["postgresql"], states["store"], states["schema"], states["clock"]) == ("ok",) * 4


async def test_migrate_says_from_which_version_to_which(url: str, tmp_path: Path) -> None:
    checked = await aime(tmp_path, "migrate", "--check", "--json", "--store", url)
    assert (checked.code, checked.json) == (1, {"from": 0, "to": 0, "newest": 1})
    done = await aime(tmp_path, "migrate", "--store", url)
    assert done.out.endswith(": brought from an empty store to schema 1.\n")
    again = await aime(tmp_path, "migrate", "--check", "--store", url)
    assert (again.code, again.out.partition(": ")[2]) == (0, "schema 1, up to date.\n")
    await execute(url, "UPDATE aime_store SET schema = 9")
    newer = await aime(tmp_path, "migrate", "--store", url)
    assert (newer.code, newer.err.count("written by a newer release (schema 9; this one knows 1); upgrade")) == (1, 1)


async def test_doctor_says_what_is_wrong_with_the_database(url: str, tmp_path: Path) -> None:
    await execute(url, "CREATE TABLE orders (id integer)")
    found = await aime(tmp_path, "doctor", "--store", url)
    assert found.code == 1
    assert "a database of another application" in found.out


async def test_doctor_only_looks(url: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "plugins.toml").write_text('[connectors.notes]\nkind = "filesystem"\npath = "notes"\n')
    before = {path.name for path in tmp_path.iterdir()}
    for store in (url, "sqlite:new.db"):
        found = await aime(tmp_path, "doctor", "--store", store)
        assert (found.code, "the hub makes it" in found.out, "notes" in found.out) == (0, True, True), found.out
        again = await aime(tmp_path, "doctor", "--store", store)
        assert "the hub makes it" in again.out
    assert {path.name for path in tmp_path.iterdir()} == before


# ---------------------------------------------------------------- copies


async def fill(store: Store) -> None:
    """Something in every table, with a history, collected in part."""
    await commit(store, upsert("a", chunk("Kept. ", ADA), chunk("Old."), title="T", access=["staff"]), upsert("b"))
    await commit(store, upsert("a", chunk("Kept. "), chunk("New."), expected=1))
    await store.gc(2)
    await commit(store, delete("b", expected=2), upsert("é", chunk("Ünïcode 🦉.")))
    await store.commit(
        [
            ChangeSet(
                records={("checkpoint", "blog"): '{"page": 2}', ("key", "k"): "{}"},
                journal=(JournalItem("j0", "document", "{}", "api"), JournalItem("j1", "query", "{}", "api")),
                journal_done=("j1",),
                deliveries=tuple(NewDelivery(f"n{n}", "crm", "x", "a", "{}", NOW) for n in range(3)),
            )
        ]
    )
    await store.commit([ChangeSet(attempts=(Attempt("n0", NOW, 0.25, DeliveryState.DEAD, NOW, 410, "gone", "no"),))])


async def held(store: Store) -> dict[str, Any]:
    """All that the protocol tells of a store."""
    floor, head = await store.floor(), await store.head()
    return {
        "stands": (floor, head),
        "log": await store.changes(0, 100, content=True, began=floor),
        "past": [await store.scan(version) for version in range(floor, head + 1)],
        "records": [await store.records(scope) for scope in ("checkpoint", "key", "cursor", "extraction")],
        "journal": await store.journal(10),
        "deliveries": await store.deliveries(),
        "attempts": await store.attempts("n0"),
        "audit": await store.trail(0, 100),
    }


async def test_a_copy_holds_what_the_store_does_and_goes_on_with_its_numbers(url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        stores = [store_of(name) for name in (f"sqlite:{tmp_path / 'a.db'}", url, f"sqlite:{tmp_path / 'b.db'}")]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        first, shared, last = stores
        await fill(first)
        # More than are read at a time.
        texts: dict[tuple[RecordScope, str], str | None] = {
            ("extraction", f"{n:x}"): f'{{"n": {n}}}' for n in range(1200)
        }
        await first.commit([ChangeSet(records=texts)])
        seen: dict[str, int] = {}
        counts = await copy(first, shared, lambda table, rows: seen.update({table: seen.get(table, 0) + rows}))
        assert counts.keys() == {table.name for table in TABLES}
        assert {name: number for name, number in counts.items() if number} == seen
        assert all(counts.values())
        await copy(shared, last, lambda _table, _rows: None)

        told = await held(first)
        assert await held(shared) == told
        assert await held(last) == told
        more = ChangeSet(
            changes=(upsert("c", chunk("More.")),),
            journal=(JournalItem("j2", "document", "{}", "api"),),
            deliveries=(NewDelivery("n3", "crm", "x", "a", "{}", NOW),),
        )
        for store in stores:
            [[entry]] = await store.commit([more])
            assert (entry.version, entry.chunks[0].id) == (6, 5)
            assert (await store.deliveries())[0].sequence == 4
            assert (await store.trail(0, 100))[-1].sequence == len(told["audit"]) + 1


async def test_a_store_that_holds_something_is_not_copied_into(url: str, tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        async with await create_graph_service(f"sqlite:{tmp_path / name}") as service:
            await service.process_document(document_id=name, content="Tides follow the moon.")
    assert (await aime(tmp_path, "store", "copy", "sqlite:a.db", url)).code == 0
    for target in (url, "sqlite:b.db"):
        refused = await aime(tmp_path, "store", "copy", "sqlite:a.db", target)
        assert (refused.code, refused.err) == (1, "aime: the store to copy into is not empty; name a new one\n")
    same = await aime(tmp_path, "store", "copy", "sqlite:a.db", "sqlite:a.db")
    assert (same.code, same.err) == (2, "aime: FROM and TO are the same store\n")
    missing = await aime(tmp_path, "store", "copy", "sqlite:c.db", url)
    assert missing.err.startswith("aime: there is no store c.db")
    answer = await aime(tmp_path, "query", "What do tides follow?", "--json", "--store", url)
    assert [source["document_id"] for source in answer.json["sources"]] == ["a.db"]


@pytest.mark.parametrize("to_postgres", [True, False])
async def test_a_copy_that_is_broken_off_leaves_the_target_empty_and_can_be_made_again(
    url: str, tmp_path: Path, to_postgres: bool
) -> None:
    embedded = f"sqlite:{tmp_path / 'a.db'}"
    source, target = [store_of(name) for name in ((embedded, url) if to_postgres else (url, embedded))]

    def break_off(table: str, _rows: int) -> None:
        if table == "audit":
            raise StoreError("broken off")

    async with AsyncExitStack() as stack:
        for store in (source, target):
            await store.open()
            stack.push_async_callback(store.close)
        await fill(source)
        with pytest.raises(StoreError, match="broken off"):
            await copy(source, target, break_off)
        assert (await target.head(), await target.trail(0, 10), await target.scan()) == (0, [], [])
        await copy(source, target, lambda _table, _rows: None)
        assert await held(target) == await held(source)


# ---------------------------------------------------------------- backups


async def test_a_dump_that_was_taken_while_documents_came_in_restores_to_a_store(url: str, tmp_path: Path) -> None:
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    dump = tmp_path / "aime.dump"

    async def run(program: str, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(programs / program, *arguments)
        assert await process.wait() == 0

    restored = await new_database()
    try:
        async with await create_graph_service(url) as service:
            for n in range(20):
                await service.process_document(document_id=f"d{n}", content=f"Tide {n} follows the moon.")
            dumping = asyncio.create_task(run("pg_dump", "--format=custom", f"--file={dump}", url))
            for n in range(20, 1_000):
                await service.process_document(document_id=f"d{n}", content=f"Tide {n} follows the moon.")
                if dumping.done():
                    break
            await dumping
        await run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={restored}", str(dump))
        async with await create_graph_service(restored) as service:
            entries = await service.changes(0, limit=1_000)
            assert [entry.version for entry in entries] == list(range(1, len(entries) + 1))
            assert len(entries) >= 20
            answer = await service.query("What does tide 7 follow?")
            assert "d7" in {source.document_id for source in answer.sources}
            result = await service.process_document(document_id="new", content="Owls hunt voles.")
            assert result.graph_version == len(entries) + 1
    finally:
        await drop_database(restored)


# ---------------------------------------------------------------- hubs


async def test_a_key_that_is_made_or_revoked_elsewhere_counts_on_every_hub(url: str, tmp_path: Path) -> None:
    async with (
        await create_graph_service(url) as service,
        Hub(Config(), service=service) as hub,
        await serve(hub, "127.0.0.1:0") as server,
        aiohttp.ClientSession() as session,
    ):

        async def status(key: str | None) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with session.get(f"{server.url}/graph/version", headers=headers) as response:
                return response.status

        async def becomes(key: str | None, wanted: int) -> None:
            async with asyncio.timeout(30):
                while await status(key) != wanted:  # noqa: ASYNC110  a hub tells its state, and no event
                    await asyncio.sleep(0.05)

        assert await status(None) == 200
        made = (await aime(tmp_path, "keys", "create", "n", "--json", "--store", url)).json
        await becomes(made["secret"], 200)
        await becomes(None, 401)
        assert (await aime(tmp_path, "keys", "revoke", made["id"], "--store", url)).code == 0
        await becomes(made["secret"], 401)


async def test_a_node_whose_clock_is_behind_sends_no_notification_late(url: str) -> None:
    behind = Clock(lambda: datetime.now(UTC) - timedelta(days=40))
    async with (
        await create_graph_service(url) as service,
        receiving() as crm,
        Network() as network,
        dispatching(service, endpoint(network, crm), clock=behind),
    ):
        await service.process_document(document_id="a", content="One.")
        await crm.until(lambda: crm.accepted() == ["a@1"])


async def test_a_node_whose_clock_is_ahead_collects_no_history_that_others_keep(url: str) -> None:
    async with await create_graph_service(url) as service:
        for text in ("One.", "Two."):
            await service.process_document(document_id="a", content=text)
        async with Hub(Config(), service=service, now=lambda: datetime.now(UTC) + timedelta(days=40)):
            await service.refresh()
        assert await service.store.floor() == 0
        assert (await service.document("a", as_of_version=1)).text == "One."
