"""Two hubs on one PostgreSQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from core.store.base import ChangeSet, JournalItem
from hub.instance import InstanceState
from hub.runtime import Hub
from tests.integration.hub.rig import Source, audited, doc, running, stored, until
from tests.postgres_rig import drop_database, new_database


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = await new_database()
    yield url
    await drop_database(url)


@asynccontextmanager
async def node(folder: Path, url: str, source: Source) -> AsyncIterator[Hub]:
    folder.mkdir(exist_ok=True)
    async with running(folder, {"s": source}, store=url) as hub:
        yield hub


async def test_one_node_pulls_and_another_goes_on_from_its_checkpoint_when_it_ends(tmp_path: Path, url: str) -> None:
    first, second = Source([doc("a")], [doc("b")]), Source([doc("a")], [doc("b")], [doc("c")])
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(node(tmp_path / "one", url, first))
        await until(lambda: leader.instances["s"].status.runs)
        async with node(tmp_path / "two", url, second) as other:
            await other.leases.ask()
            lease = other.instances["s"].lease
            assert lease is not None
            assert (lease.held, lease.node, second.started_at) == (False, leader.leases.node, [])
            await stack.aclose()
            await until(lambda: other.instances["s"].status.runs)
            assert (lease.held, second.started_at) == (True, [2])
            assert (await stored(other.service)).keys() == {"a", "b", "c"}


async def test_an_admin_who_speaks_to_one_node_is_heard_by_the_one_that_drives(tmp_path: Path, url: str) -> None:
    first, second = Source([doc("a")]), Source()
    async with node(tmp_path / "one", url, first) as leader, node(tmp_path / "two", url, second) as other:
        driving, standing = leader.instances["s"], other.instances["s"]
        await until(lambda: driving.status.runs)
        first.batches.append([doc("b"), doc("c")])
        report = await (await other.run_now("s"))
        assert (report.processed, report.error, second.started_at) == (2, None, [])

        await other.pause("s", actor="ada")
        await until(lambda: driving.status.state is InstanceState.PAUSED)
        report = await (await other.run_now("s"))
        assert report.error == "connector 's' is paused; resume it first"

        await leader.resume("s", actor="bob")
        await until(lambda: standing.status.state is InstanceState.WAITING)
        assert await audited(leader.service, "connector.paused", "connector.resumed") == [
            "connector.paused s",
            "connector.resumed s",
        ]


async def test_what_one_node_takes_into_the_journal_is_done_by_the_one_that_empties_it(
    tmp_path: Path, url: str
) -> None:
    async with node(tmp_path / "one", url, Source()) as leader, node(tmp_path / "two", url, Source()) as other:
        payload = doc("later", "Tides follow the moon.").document.model_dump_json()
        await other.service.write(ChangeSet(journal=(JournalItem("j1", "document", payload, "ada"),)))

        async def is_done() -> bool:
            return "later" in await stored(leader.service)

        await until(is_done)
        assert await leader.service.store.journal(10) == []
        assert await audited(leader.service, "document.processed") == ["document.processed later"]
