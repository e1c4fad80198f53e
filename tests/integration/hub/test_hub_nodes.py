"""Two hubs on one PostgreSQL database, and what each hears of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from core.errors import StoreUnavailable
from core.service import create_graph_service
from core.store.base import AuditRecord, ChangeSet, JournalItem
from hub.acts import Acts
from hub.instance import InstanceState
from hub.leases import Lease
from hub.runtime import Hub
from hub.supervisor import Supervisor
from tests.integration.hub.rig import Queue, Source, audited, doc, failure, running, stored, table, until


@asynccontextmanager
async def node(folder: Path, database: str, source: Source) -> AsyncIterator[Hub]:
    folder.mkdir(exist_ok=True)
    async with running(folder, {"s": source}, store=database) as hub:
        yield hub


def edit(folder: Path, connectors: str) -> None:
    """Of the node's configuration, while it runs."""
    (folder / "plugins.toml").write_text(f"[hub]\n{connectors}")


async def test_one_node_pulls_and_another_goes_on_from_its_checkpoint_when_it_ends(
    tmp_path: Path, database: str
) -> None:
    first, second = Source([doc("a")], [doc("b")]), Source([doc("a")], [doc("b")], [doc("c")])
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(node(tmp_path / "one", database, first))
        await until(lambda: leader.instances["s"].status.runs)
        async with node(tmp_path / "two", database, second) as other:
            await other.leases.ask()
            lease = other.instances["s"].lease
            assert lease is not None
            assert (lease.held, lease.node, second.started_at) == (False, leader.leases.node, [])
            await stack.aclose()
            await until(lambda: other.instances["s"].status.runs)
            assert (lease.held, second.started_at) == (True, [2])
            assert (await stored(other.service)).keys() == {"a", "b", "c"}


async def test_an_admin_who_speaks_to_one_node_is_heard_by_the_one_that_drives(tmp_path: Path, database: str) -> None:
    first, second = Source([doc("a")]), Source()
    async with node(tmp_path / "one", database, first) as leader, node(tmp_path / "two", database, second) as other:
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
    tmp_path: Path, database: str
) -> None:
    async with (
        node(tmp_path / "one", database, Source()) as leader,
        node(tmp_path / "two", database, Source()) as other,
    ):
        payload = doc("later", "Tides follow the moon.").document.model_dump_json()
        await other.service.write(ChangeSet(journal=(JournalItem("j1", "document", payload, "ada"),)))

        async def is_done() -> bool:
            return "later" in await stored(leader.service)

        await until(is_done)
        assert await leader.service.store.journal(10) == []
        assert await audited(leader.service, "document.processed") == ["document.processed later"]


async def test_an_edit_stops_a_connector_at_once_that_another_node_drives(tmp_path: Path, database: str) -> None:
    async with node(tmp_path / "one", database, Source()), node(tmp_path / "two", database, Source()) as other:
        before = other.instances["s"]
        edit(tmp_path / "two", table("s", "step = 1"))
        await until(lambda: other.instances["s"] is not before)


async def test_a_pause_that_comes_while_a_connector_is_being_replaced_holds_for_its_successor(tmp_path: Path) -> None:
    closing, closed = asyncio.Event(), asyncio.Event()

    class Slow(Source):
        async def aclose(self) -> None:
            closing.set()
            await closed.wait()

    async with running(tmp_path, {"s": Slow(), "t": Source()}) as hub:
        await hub.pause("t")
        edit(tmp_path, table("s", "step = 1") + table("t"))
        await closing.wait()
        before = hub.instances["s"]
        await hub.pause("s")
        await hub.resume("t")
        closed.set()
        await until(lambda: hub.instances["s"] is not before)
        assert hub.instances["s"].status.state is InstanceState.PAUSED
        assert hub.instances["t"].status.state is not InstanceState.PAUSED


async def test_a_node_that_is_asked_for_a_run_and_does_not_drive_says_so(tmp_path: Path, database: str) -> None:
    async with (
        node(tmp_path / "one", database, Source()) as leader,
        node(tmp_path / "two", database, Source()) as other,
    ):
        await until(lambda: leader.instances["s"].status.runs)
        edit(tmp_path / "one", "")
        await until(lambda: "s" not in leader.instances)
        await other.leases.ask()
        # The lease is the other's by now; as if that one had not heard of it yet:
        stale = Lease("connector s")
        stale.node = leader.leases.node
        report = await (await other._acts.ask_for_run(stale, name="s", force=False, actor="ada"))
        assert report.error == f"{leader.leases.node} does not drive connector 's' at the moment"


async def test_what_other_nodes_did_is_heeded_in_full_although_the_store_fails_meanwhile(tmp_path: Path) -> None:
    heeded: list[str] = []
    async with await create_graph_service(f"sqlite:{tmp_path / 'test.db'}") as service, Supervisor() as supervisor:
        acts = Acts(service, "one")
        await acts.open()
        for name in "abc":
            await service.write(ChangeSet(audit=(AuditRecord("ada", "connector.paused", name, {"node": "other"}),)))

        async def heed(act: AuditRecord) -> None:
            heeded.append(act.subject)
            if heeded == ["a", "b"]:
                raise StoreUnavailable("the server is restarted")

        async def look() -> None:
            """Nothing to look for."""

        supervisor.start("other nodes", lambda: acts.follow(supervisor, heed, look))
        await until(lambda: heeded == ["a", "b", "b", "c"])


async def test_a_node_without_a_projection_leaves_it_to_the_others(tmp_path: Path, database: str) -> None:
    async with node(tmp_path / "one", database, Source()) as hub:
        found = await hub.service.store.lease(["notifications", "projection"], "other", 60)
        assert {name: holding.holder for name, holding in found.items()} == {
            "notifications": hub.leases.node,
            "projection": "other",
        }


async def test_a_good_version_that_reaches_another_node_sets_a_document_free(tmp_path: Path, database: str) -> None:
    queues = [Queue(), Queue()]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    async with (
        running(tmp_path / "one", {"q": queues[0]}, store=database) as one,
        running(tmp_path / "two", {"q": queues[1]}, store=database) as other,
    ):
        queues[0].send([failure("a")])
        await until(lambda: queues[0].fate)
        assert [entry.document_id for entry in await other.quarantine.list()] == ["a"]
        await until(lambda: other.quarantine.records("q", [doc("a")]))  # it has heard of it
        queues[1].send([doc("a")])
        await until(lambda: queues[1].fate)
        assert await one.quarantine.list() == []
