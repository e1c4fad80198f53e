"""The PostgreSQL store beside the contract: whom it refuses, what it says, and what becomes of a lost answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.errors import StoreCorrupt, StoreError, StoreTooNew, StoreUnavailable
from core.model import Op
from core.service import create_graph_service
from core.store.base import Attempt, AuditRecord, ChangeSet, DeliveryState, JournalItem, NewDelivery, PreparedChange
from core.store.dsn import shown
from core.store.postgres import PostgresStore
from core.store.postgres.schema import LOCK
from tests.contract.test_store import NOW, chunk, commit, upsert
from tests.postgres_rig import Wire, address, drop_database, execute, new_database, own_server


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await new_database()
    yield url
    await drop_database(url)


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open()
    yield store
    await store.close()


# ---------------------------------------------------------------- what the URL names


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://h", "names no database"),
        ("postgresql:/aime", "cannot be read"),
        ("postgresql://[h/aime", "cannot be read"),
        ("postgresql://h:99999/aime", "'99999' is no port"),
        ("postgresql://aime:hunter2@h:5432,i:x/aime", "'x' is no port"),
        ("mysql://root:hunter2@h/aime", "this is not a store; write sqlite:PATH"),
        ("host=h dbname=aime password=hunter2", "this is not a store; write sqlite:PATH"),
        ("postgresql://aime:hunter2#x@h/aime", "cannot be read.* %23 for #"),
        ("postgresql://aime:hunter2?x@h/aime", "cannot be read.* %3F for ?"),
        ("postgresql://aime:hunter2/x@h/aime", "cannot be read.* %2F for /"),
        ("postgresql://aime:x@y/hunter2@h/aime", "cannot be read.* %40 for @"),
    ],
)
async def test_a_url_that_is_none_of_a_store_is_refused(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        await create_graph_service(url)
    assert "hunter2" not in str(caught.value)


def test_a_url_is_shown_without_its_secrets() -> None:
    url = "postgresql://aime:hunter2@db:5432/aime?sslmode=require&password=hunter2&sslpassword=hunter2"
    assert shown(url) == "postgresql://aime@db:5432/aime?sslmode=require"
    assert shown("postgresql://db/aime") == "postgresql://db/aime"
    assert shown("sqlite:aime.db") == "sqlite:aime.db"


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match=r"postgresql://aime@127\.0\.0\.1:1/aime: ") as caught:
        await PostgresStore("postgresql://aime:hunter2@127.0.0.1:1/aime").open()
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


async def test_a_database_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreError, match='refused: database "nowhere" does not exist'):
        await PostgresStore(f"{address()}/nowhere").open()


async def test_a_user_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(StoreError, match='refused: role "nobody" does not exist'):
        await PostgresStore(url.replace("postgres@", "nobody:hunter2@")).open()


async def test_a_wrong_password_is_refused_and_not_shown() -> None:
    async with own_server() as server:
        await server.demand_password("right-one")
        await server.stop()
        await server.start()
        store = PostgresStore(f"{server.url}/postgres".replace("postgres@", "postgres:wrong-one@"))
        with pytest.raises(StoreError, match='refused: password authentication failed for user "postgres"') as caught:
            await store.open()
        assert not isinstance(caught.value, StoreUnavailable)
        assert "wrong-one" not in str(caught.value)
        store = PostgresStore(f"{server.url}/postgres".replace("postgres@", "postgres:right-one@"))
        await store.open()
        await store.close()


async def test_a_database_of_another_application_is_refused_and_left_alone(url: str) -> None:
    await execute(url, "CREATE TABLE orders (id integer)")
    with pytest.raises(StoreCorrupt, match="a database of another application"):
        await PostgresStore(url).open()
    await execute(url, "DROP TABLE orders")
    store = PostgresStore(url)
    await store.open()
    await store.close()


async def test_a_newer_schema_is_refused(url: str, store: PostgresStore) -> None:
    await execute(url, "UPDATE aime_store SET schema = 99")
    with pytest.raises(StoreTooNew, match=r"written by a newer release \(schema 99; this one knows 1\); upgrade"):
        await PostgresStore(url).open()
    await execute(url, "UPDATE aime_store SET schema = 1")


async def test_a_database_in_another_encoding_is_refused() -> None:
    url = await new_database(ENCODING="'LATIN1'", TEMPLATE="template0", LOCALE="'C'")
    try:
        with pytest.raises(StoreError, match="encoding is LATIN1; make one with ENCODING 'UTF8'"):
            await PostgresStore(url).open()
    finally:
        await drop_database(url)


async def test_nodes_that_start_at_once_migrate_once(url: str) -> None:
    stores = [PostgresStore(url) for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(commit(store, upsert(f"d{n}", chunk("One."))) for n, store in enumerate(stores)))
    assert {await store.head() for store in stores} == {5}
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_migration_waits_for_that_of_another_node(url: str) -> None:
    import asyncpg

    other = await asyncpg.connect(url)
    await other.execute("SELECT pg_advisory_lock($1)", LOCK)
    store = PostgresStore(url)
    opening = asyncio.create_task(store.open())
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(10):
        while not await other.fetchval(waiting):  # noqa: ASYNC110  the server tells its state, and no event
            await asyncio.sleep(0)
    assert await other.fetchval("SELECT to_regclass('aime_store') IS NULL")
    await other.close()
    await opening
    assert await store.head() == 0
    await store.close()


# ---------------------------------------------------------------- what it holds


async def test_what_another_system_answered_may_hold_nul(store: PostgresStore) -> None:
    await store.commit([ChangeSet(deliveries=(NewDelivery("1", "crm", "document.processed", "a", "{}", NOW),))])
    failed = Attempt("1", NOW, 0.1, DeliveryState.PENDING, NOW, 500, "bad\x00", "\x00oops")
    await store.commit([ChangeSet(attempts=(failed,))])
    [kept] = await store.attempts("1")
    assert (kept.error, kept.response) == ("bad\ufffd", "\ufffdoops")


async def test_a_commit_that_another_conflicts_with_leaves_the_connection_usable(store: PostgresStore) -> None:
    await store.commit([ChangeSet(journal=(JournalItem("j", "document", "{}", "api"),))])
    for _ in range(20):
        with pytest.raises(StoreError, match="UniqueViolationError"):
            await store.commit([ChangeSet(journal=(JournalItem("j", "document", "{}", "api"),))])
    assert (await commit(store, upsert("a", chunk("One."))))[0].version == 1


async def test_a_node_that_hangs_in_a_transaction_holds_others_up_no_longer_than_the_server_lets_it(
    url: str, store: PostgresStore
) -> None:
    import asyncpg

    other = await asyncpg.connect(url, server_settings={"idle_in_transaction_session_timeout": "500"})
    await other.execute("BEGIN; SELECT * FROM graph FOR UPDATE")
    assert (await commit(store, upsert("a", chunk("One."))))[0].version == 1
    await asyncio.wait_for(other.close(), 5)


# ---------------------------------------------------------------- a lost answer


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_whose_answer_was_lost_is_looked_up_and_stands_once(url: str, cut: str) -> None:
    wire = Wire(int(address().rpartition(":")[2]))
    await wire.open()
    store = PostgresStore(url.replace(address().rpartition(":")[2], str(wire.port)))
    await store.open()
    cuts: list[str] = []

    def watch(sent: bytes) -> str | None:
        if b"COMMIT" in sent and not cuts:
            cuts.append(cut)
            return cut
        return None

    wire.watch = watch
    item = JournalItem("j", "document", "{}", "api")
    audit = AuditRecord("tester", "noted")
    change = upsert("a", chunk("One."))
    [entries] = await store.commit([ChangeSet(changes=(change,), journal=(item,), audit=(audit,))])

    assert cuts == [cut]
    assert [entry.version for entry in entries] == [1]
    assert await store.changes(0, 10, content=True) == entries
    assert await store.journal(10) == [item]
    assert [r.record.action for r in await store.trail(0, 10)] == ["document.processed", "noted"]
    await store.close()
    await wire.close()


async def test_a_line_that_was_cut_is_made_again(url: str) -> None:
    wire = Wire(int(address().rpartition(":")[2]))
    await wire.open()
    store = PostgresStore(url.replace(address().rpartition(":")[2], str(wire.port)))
    await store.open()
    await commit(store, upsert("a", chunk("One.")))
    await wire.close()
    writing = asyncio.create_task(commit(store, upsert("a", chunk("Two."), expected=1)))
    await asyncio.wait([writing], timeout=0.2)
    assert not writing.done()
    await wire.open()
    assert [entry.version for entry in await writing] == [2]
    delete = PreparedChange(Op.DELETE, "a", 2, "api", AuditRecord("tester", "document.deleted", "a"))
    assert [entry.version for entry in await commit(store, delete)] == [3]
    await store.close()
    await wire.close()
