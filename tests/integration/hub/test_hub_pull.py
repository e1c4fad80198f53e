"""Pulling: batch after batch into the store, each with its checkpoint, through whatever happens outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import AuthFailed, InvalidInput, NotReady, NotSent, PermanentDocumentError, RateLimited
from core.model import Delete
from core.service import ServiceOptions
from core.store.base import ChangeSet
from hub.runtime import Hub, InstanceState
from hub.sdk import Batch, Window
from tests.integration.hub.rig import Position, Source, audited, doc, failure, running, stored, table, until

OUTAGE = ("connector.failed", "connector.recovered")


async def checkpoint(hub: Hub, name: str = "s") -> str | None:
    return await hub.service.store.record("checkpoint", name)


async def run(hub: Hub, name: str = "s") -> str | None:
    """Run once more, to the end; the error that it ended with."""
    return (await (await hub.run_now(name))).error


async def first_run(hub: Hub, name: str = "s") -> None:
    """Wait until the run that follows the start has ended."""
    status = hub.instances[name].status
    await until(lambda: status.next_run or status.state is InstanceState.FAILED)


async def test_every_batch_is_committed_with_its_checkpoint_and_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    source = Source([doc("a"), doc("b")], [doc("c")])
    async with running(tmp_path, {"s": source}) as hub:
        await first_run(hub)
        assert (await stored(hub.service)).keys() == {"a", "b", "c"}
        assert await checkpoint(hub) == '{"batches":2}'
        source.batches.append([Delete("a"), doc("b", "Edited.")])
        report = await (await hub.run_now("s"))
        assert (report.processed, report.deleted, report.error) == (1, 1, None)
        assert source.started_at == [0, 2]
    assert source.closed
    again = Source([], [], [], [doc("d")])
    async with running(tmp_path, {"s": again}) as hub:
        await first_run(hub)
        assert again.started_at == [3], "the checkpoint outlives the hub"
        assert (await stored(hub.service)).keys() == {"b", "c", "d"}


async def test_documents_carry_the_instances_name_as_origin_and_its_source_unless_they_name_one(tmp_path: Path) -> None:
    sources = {"s": Source([doc("a"), doc("b", source="its own")]), "t": Source([doc("c")])}
    async with running(tmp_path, sources, table("s", 'source = "cms"') + table("t")) as hub:
        await first_run(hub)
        await first_run(hub, "t")
        found = await stored(hub.service)
    assert [(d.origin, d.metadata.source) for d in found.values()] == [("s", "cms"), ("s", "its own"), ("t", "t")]


async def test_a_large_batch_is_committed_in_pieces_with_the_checkpoint_in_the_last(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source([doc(f"d{n:04}") for n in range(600)])}) as hub:
        await first_run(hub)
        assert len(await stored(hub.service)) == 600
        assert await checkpoint(hub) == '{"batches":1}'


async def test_only_one_batch_is_read_ahead_of_the_commit(tmp_path: Path) -> None:
    """Memory is bounded by two batches, however fast the source is."""
    ahead: list[int] = []

    class Watched(Source):
        async def pull(self, since: Position | None, window: Window) -> AsyncIterator[Batch[Position]]:
            async for batch in super().pull(since, window):
                saved = await self.hub.service.store.record("checkpoint", "s")
                ahead.append(self.given - (Position.model_validate_json(saved).batches if saved else 0))
                yield batch

        hub: Hub

    source = Watched()
    async with running(tmp_path, {"s": source}) as hub:
        await first_run(hub)
        source.hub = hub
        source.batches = [[doc(f"{n}")] for n in range(20)]
        assert await run(hub) is None
    assert len(ahead) == 20
    assert max(ahead) <= 2


# ---------------------------------------------------------------- what goes wrong outside


async def test_an_outage_is_recorded_once_and_the_run_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    source = Source([doc("a")], NotReady("down"), NotReady("still down"), [doc("b")])
    async with running(tmp_path, {"s": source}) as hub:
        await first_run(hub)
        status = hub.instances["s"].status
        assert (status.state, status.last_error, status.failures) == (InstanceState.WAITING, "down", 1)
        assert await checkpoint(hub) == '{"batches":1}'
        assert await run(hub) == "still down"
        assert status.failures == 2
        assert await run(hub) is None
        assert status.failures == 0
        assert source.started_at == [0, 1, 1]
        await until(lambda: _is_audited(hub, "connector.recovered s"))
        assert await audited(hub.service, *OUTAGE) == ["connector.failed s", "connector.recovered s"]


async def _is_audited(hub: Hub, line: str) -> bool:
    return line in await audited(hub.service)


async def test_it_comes_back_by_itself_after_an_outage(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source(NotReady("down"), [doc("a")])}) as hub:
        await until(lambda: _is_stored(hub, "a"))


async def _is_stored(hub: Hub, document_id: str) -> bool:
    return document_id in await stored(hub.service)


@pytest.mark.parametrize("error", [RateLimited("slow down", retry_after=900), NotSent("resting", retry_after=900)])
async def test_a_pause_that_was_asked_for_is_kept_and_is_no_outage(tmp_path: Path, error: Exception) -> None:
    async with running(tmp_path, {"s": Source(error)}) as hub:
        await first_run(hub)
        status = hub.instances["s"].status
        assert status.next_run is not None
        assert (status.next_run - status.since).total_seconds() >= 899
        assert status.failures == 0
        assert status.last_error == str(error)
        assert await audited(hub.service, *OUTAGE) == []


async def test_refused_credentials_stop_it_until_an_admin_resumes_it(tmp_path: Path) -> None:
    source = Source(AuthFailed("bad key"), [doc("a")])
    async with running(tmp_path, {"s": source}) as hub:
        await first_run(hub)
        status = hub.instances["s"].status
        assert (status.state, status.next_run) == (InstanceState.FAILED, None)
        await until(lambda: _is_audited(hub, "connector.failed s"))
        await hub.resume("s", actor="admin")
        await until(lambda: _is_stored(hub, "a"))
        await until(lambda: status.state is InstanceState.WAITING)


async def test_a_connector_with_a_defect_is_logged_counted_and_tried_again_and_the_others_go_on(tmp_path: Path) -> None:
    sources = {"bad": Source(ZeroDivisionError("oops"), [doc("b")]), "good": Source([doc("g")])}
    async with running(tmp_path, sources) as hub:
        await first_run(hub, "bad")
        await first_run(hub, "good")
        assert hub.instances["bad"].status.last_error == "ZeroDivisionError: oops"
        assert (await stored(hub.service)).keys() == {"g"}
        assert await run(hub, "bad") is None
        assert (await stored(hub.service)).keys() == {"b", "g"}


async def test_a_checkpoint_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source([doc("a")])}) as hub:
        await first_run(hub)
        await hub.service.write(ChangeSet(records={("checkpoint", "s"): '{"another": "model"}'}))
        report = await (await hub.run_now("s"))
        assert (report.unchanged, report.error) == (1, None)


# ---------------------------------------------------------------- documents that cannot be taken


async def test_a_failure_is_quarantined_and_audited_its_neighbours_go_on_and_a_good_version_frees_it(
    tmp_path: Path,
) -> None:
    source = Source([doc("a"), failure("b", "is \udcff broken"), doc("c")])
    async with running(tmp_path, {"s": source}) as hub:
        await first_run(hub)
        assert (await stored(hub.service)).keys() == {"a", "c"}
        [entry] = await hub.quarantine.list()
        assert (entry.connector, entry.document_id, entry.error) == ("s", "b", "is \\udcff broken")
        assert await audited(hub.service, "document.rejected") == ["document.rejected b"]
        source.batches.append([doc("b")])
        await run(hub)
        assert await hub.quarantine.list() == []
        assert hub.instances["s"].status.documents.rejected == 1


async def test_a_document_that_the_connector_gives_up_on_is_quarantined(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source([doc("a")], PermanentDocumentError("b", "is encrypted"))}) as hub:
        await first_run(hub)
        assert [(e.document_id, e.error) for e in await hub.quarantine.list()] == [("b", "b: is encrypted")]
        assert hub.instances["s"].status.failures == 0


async def test_content_over_the_hubs_cap_is_refused(tmp_path: Path) -> None:
    source = Source([doc("a", "x" * 101), doc("b", "x" * 100)])
    async with running(tmp_path, {"s": source}, options=ServiceOptions(max_content_bytes=100)) as hub:
        await first_run(hub)
        assert (await stored(hub.service)).keys() == {"b"}
        [entry] = await hub.quarantine.list()
        assert "the cap is 100" in entry.error


# ---------------------------------------------------------------- what an admin does


async def test_a_paused_instance_stays_paused_across_restarts_and_takes_no_run(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source([doc("a")])}) as hub:
        await first_run(hub)
        await hub.pause("s", actor="admin")
    source = Source([], [doc("b")])
    async with running(tmp_path, {"s": source}) as hub:
        assert hub.instances["s"].status.state is InstanceState.PAUSED
        with pytest.raises(InvalidInput, match="is paused"):
            await hub.run_now("s")
        assert source.started_at == []
        await hub.resume("s", actor="admin")
        await until(lambda: _is_stored(hub, "b"))
        assert await audited(hub.service, "connector.paused", "connector.resumed") == [
            "connector.paused s",
            "connector.resumed s",
        ]


class Endless(Source):
    """Gives batches for as long as it is asked."""

    async def pull(self, since: Position | None, window: Window) -> AsyncIterator[Batch[Position]]:
        at = since.batches if since else 0
        try:
            while True:
                at += 1
                self.given = at
                yield Batch([doc(f"d{at:06}")], Position(batches=at))
        finally:
            self.closed = True


async def test_a_pause_ends_a_run_after_the_batch_at_hand(tmp_path: Path) -> None:
    source = Endless()
    async with running(tmp_path, {"s": source}) as hub:
        await until(lambda: source.given > 3)
        await hub.pause("s")
        await until(lambda: source.closed)
        given = source.given
        assert hub.instances["s"].status.state is InstanceState.PAUSED
    async with running(tmp_path, {"s": Source()}) as hub:
        assert await checkpoint(hub) == f'{{"batches":{given}}}'


async def test_a_stop_settles_what_was_read_and_nothing_more(tmp_path: Path) -> None:
    source = Endless()
    async with running(tmp_path, {"s": source}) as hub:
        await until(lambda: source.given > 3)
    async with running(tmp_path, {"s": Source()}) as hub:
        assert await checkpoint(hub) == f'{{"batches":{source.given}}}'
        assert len(await stored(hub.service)) == source.given


class Stuck(Source):
    """Gives one batch and then hangs."""

    async def pull(self, since: Position | None, window: Window) -> AsyncIterator[Batch[Position]]:
        yield Batch([doc("a")], Position(batches=1))
        self.given = 1
        await asyncio.Event().wait()


async def test_a_source_that_hangs_is_cut_off_when_the_drain_is_over(tmp_path: Path) -> None:
    source = Stuck()
    loop = asyncio.get_running_loop()
    async with running(tmp_path, {"s": source}, hub="drain_seconds = 0.2") as hub:
        await until(lambda: source.given)
        await until(lambda: _is_stored(hub, "a"))
        began = loop.time()
    assert loop.time() - began < 5
    async with running(tmp_path, {"s": Source()}) as hub:
        assert (await stored(hub.service)).keys() == {"a"}


async def test_a_secret_in_an_error_stands_in_no_status_and_no_trail(tmp_path: Path) -> None:
    source = Source(ValueError("refused: Authorization: Bearer hushhushhush at https://me:hushhush@example.com/"))
    async with running(tmp_path, {"s": source}) as hub:
        await first_run(hub)
        trail = await hub.service.store.trail(0, 100)
        said = f"{hub.instances['s'].status.last_error} {[entry.record.detail for entry in trail]}"
        assert "ValueError: refused" in said
        assert "hush" not in said
