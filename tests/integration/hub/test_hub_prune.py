"""Pruning: what is gone at the source goes here too, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from core.errors import NotReady
from hub.runtime import Hub, RunReport
from tests.integration.hub.rig import Shelf, doc, running, stored, table, until

NAMES = [f"d{number}" for number in range(10)]


def shelf(*listed: str | Exception) -> Shelf:
    """A source that once held ten documents and now lists these."""
    return Shelf([doc(name) for name in NAMES], listed=listed)


async def first_run(hub: Hub) -> None:
    status = hub.instances["s"].status
    await until(lambda: status.next_run)


async def run(hub: Hub, *, force: bool = False) -> RunReport:
    return await (await hub.run_now("s", force=force))


def pruning(*lines: str) -> str:
    return table("s", "prune = true", *lines)


async def test_what_the_source_no_longer_lists_is_deleted_after_a_run(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": shelf(*NAMES[2:])}, pruning()) as hub:
        await first_run(hub)
        assert sorted(await stored(hub.service)) == NAMES[2:]
        assert hub.instances["s"].status.documents.deleted == 2


async def test_without_the_setting_nothing_is_pruned(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": shelf()}, table("s")) as hub:
        await first_run(hub)
        assert len(await stored(hub.service)) == 10


async def test_a_listing_that_breaks_off_deletes_nothing(tmp_path: Path) -> None:
    source = shelf(*NAMES[:9], NotReady("the connection was lost"))
    async with running(tmp_path, {"s": source}, pruning()) as hub:
        await first_run(hub)
        assert hub.instances["s"].status.last_error == "the connection was lost"
        assert len(await stored(hub.service)) == 10
        source.listed.pop()
        assert (await run(hub)).deleted == 1


async def test_more_than_the_limit_waits_until_an_admin_confirms_it(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": shelf(*NAMES[3:])}, pruning()) as hub:
        await first_run(hub)
        status = hub.instances["s"].status
        assert len(await stored(hub.service)) == 10
        assert status.prune_waits is not None
        assert status.prune_waits.startswith("3 of 10 documents are gone at the source")
        assert (await run(hub, force=True)).deleted == 3
        assert status.prune_waits is None
        assert sorted(await stored(hub.service)) == NAMES[3:]


async def test_the_limit_can_be_set(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": shelf()}, pruning("prune_limit = 1.0")) as hub:
        await first_run(hub)
        assert await stored(hub.service) == {}


async def test_documents_that_others_brought_are_not_touched(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": shelf(*NAMES)}, pruning("prune_limit = 1.0")) as hub:
        await first_run(hub)
        await hub.service.process_document(document_id="theirs", content="Posted by somebody else.")
        hub.instances["s"].connector.listed.clear()  # type: ignore[union-attr]  # the scripted source
        await run(hub, force=True)
        assert list(await stored(hub.service)) == ["theirs"]


class Reappearing(Shelf):
    """While it is asked for what it holds, documents come in by another way."""

    hub: Hub | None = None

    async def list_ids(self) -> AsyncIterator[str]:
        if self.hub is not None:
            await self.hub.service.submit([doc("d0", "Back again."), doc("new")], origin="s", actor="s")
        for name in NAMES[1:9]:
            yield name


async def test_what_arrives_while_the_source_is_listed_is_not_taken_for_gone(tmp_path: Path) -> None:
    source = Reappearing([doc(name) for name in NAMES])
    async with running(tmp_path, {"s": source}, pruning("prune_limit = 0.0")) as hub:
        await first_run(hub)
        assert len(await stored(hub.service)) == 10
        source.hub = hub
        await run(hub, force=True)
        assert sorted(await stored(hub.service)) == [*NAMES[:9], "new"]
