"""Consuming: a message is acknowledged after its commit, and a poison one is rejected without holding up the others."""

from __future__ import annotations

from pathlib import Path

from core.errors import AuthFailed, NotReady
from hub.runners.consume import IN_FLIGHT
from hub.runtime import Hub, InstanceState
from tests.integration.hub.rig import Queue, audited, doc, failure, running, stored, table, until


async def test_messages_are_acknowledged_after_their_commit_and_in_order(tmp_path: Path) -> None:
    queue = Queue()
    committed_first: list[bool] = []
    async with running(tmp_path, {"q": queue}) as hub:

        async def check(name: str) -> None:
            committed_first.append(bool(await hub.service.store.documents([name])))

        queue.on_ack = check
        for number in range(3 * IN_FLIGHT):
            queue.send([doc(f"d{number:03}")])
        await until(lambda: len(queue.fate) == 3 * IN_FLIGHT)
        assert all(committed_first)
        log = await hub.service.changes(0, limit=1000)
        assert [entry.document_id for entry in log] == [f"d{number:03}" for number in range(3 * IN_FLIGHT)]
        assert hub.instances["q"].status.documents.processed == 3 * IN_FLIGHT


async def test_the_same_document_twice_ends_with_the_later_message(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:
        for number in range(20):
            queue.send([doc("a", f"Version {number}.")])
        await until(lambda: len(queue.fate) == 20)
        assert (await hub.service.document("a")).text == "Version 19."


async def test_a_message_that_fits_in_part_or_not_at_all_is_rejected_and_its_neighbours_go_on(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:
        queue.send([failure("bad")])
        queue.send([doc("half-good"), failure("half")])
        queue.send([doc("good")])
        await until(lambda: len(queue.fate) == 3)
        assert sorted(queue.fate) == ["ack good", "reject bad", "reject half-good"]
        assert set(await stored(hub.service)) == {"half-good", "good"}
        assert {entry.document_id for entry in await hub.quarantine.list()} == {"bad", "half"}


async def test_a_message_that_fails_every_time_is_rejected_after_the_set_tries(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}, table("q", "quarantine_after = 2")) as hub:
        queue.send(["no change at all"])  # type: ignore[list-item]  # what a connector with a defect hands over
        queue.send([doc("good")])
        await until(lambda: len(queue.fate) == 2)
        assert sorted(queue.fate) == ["ack good", "reject ?"]
        assert await audited(hub.service, "document.rejected") == ["document.rejected "]
        assert hub.instances["q"].status.state is InstanceState.RUNNING


async def test_a_connection_that_is_lost_is_an_outage_and_comes_back(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:
        queue.send(NotReady("the connection was lost"))
        await until(lambda: hub.instances["q"].status.state is InstanceState.WAITING)
        queue.send([doc("a")])
        await until(lambda: "ack a" in queue.fate)
        assert queue.fate == ["disconnected", "ack a"]
        await until(lambda: _recovered(hub))


async def _recovered(hub: Hub) -> bool:
    outage = await audited(hub.service, "connector.failed", "connector.recovered")
    return outage == ["connector.failed q", "connector.recovered q"]


async def test_an_acknowledgement_that_fails_ends_the_connection_and_the_message_comes_again(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:

        async def lose(_: str) -> None:
            queue.on_ack = None
            raise NotReady("the connection was lost")

        queue.on_ack = lose
        queue.send([doc("a")])
        await until(lambda: "disconnected" in queue.fate)
        queue.send([doc("a")])  # the server delivers it once more
        await until(lambda: "ack a" in queue.fate)
        assert queue.fate == ["disconnected", "ack a"]
        assert len(await hub.service.changes(0)) == 1


async def test_refused_credentials_stop_it_until_it_is_resumed(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:
        queue.send(AuthFailed("bad password"))
        await until(lambda: hub.instances["q"].status.state is InstanceState.FAILED)
        queue.send([doc("a")])
        await hub.resume("q")
        await until(lambda: "ack a" in queue.fate)


async def test_a_pause_lets_messages_under_way_settle_before_it_disconnects(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:
        queue.send([doc("a")])
        await until(lambda: queue.fate)
        await hub.pause("q")
        await until(lambda: "disconnected" in queue.fate)
        queue.send([doc("b")])
        assert hub.instances["q"].status.state is InstanceState.PAUSED
        await hub.resume("q")
        await until(lambda: "ack b" in queue.fate)


async def test_a_stop_settles_disconnects_and_closes_in_this_order(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"q": queue}) as hub:
        for number in range(10):
            queue.send([doc(f"d{number}")])
        await until(lambda: hub.instances["q"].status.documents.processed)
    assert queue.fate[-2:] == ["disconnected", "closed"]
    settled = {line.removeprefix("ack ") for line in queue.fate[:-2]}
    async with running(tmp_path) as hub:
        assert settled == set(await stored(hub.service))
