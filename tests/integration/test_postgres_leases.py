"""Leases on PostgreSQL: one holder at a time, and nothing is written under one that has gone to another."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import LeaseLost
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, Holding
from hub.leases import Leases
from tests.postgres_rig import execute


async def run_out(database: str) -> None:
    """Every lease, as if its holder had been silent for long."""
    await execute(database, "UPDATE leases SET until = 1")


def note(subject: str, *fences: Holding) -> ChangeSet:
    return ChangeSet(audit=(AuditRecord("tester", "noted", subject),), fences=fences)


async def noted(service: GraphService) -> list[str]:
    return [stored.record.subject for stored in await service.store.trail(0, 100, actions=["noted"])]


async def test_a_lease_is_its_holders_until_it_runs_out_or_is_released(
    nodes: tuple[GraphService, GraphService], database: str
) -> None:
    one, other = (node.store for node in nodes)
    assert await one.lease(["a", "b"], "one", 60) == {"a": Holding("a", "one", 1), "b": Holding("b", "one", 1)}
    assert await other.lease(["b", "c"], "other", 60) == {"b": Holding("b", "one", 1), "c": Holding("c", "other", 1)}
    assert await one.lease(["a"], "one", 60) == {"a": Holding("a", "one", 1)}, "renewing changes nothing"
    await other.release(["a", "b"], "other")
    assert (await other.lease(["a"], "other", 60))["a"].holder == "one", "nobody releases for another"
    await one.release(["a", "b"], "one")
    assert (await other.lease(["a"], "other", 60))["a"] == Holding("a", "other", 2)
    await run_out(database)
    assert (await one.lease(["a"], "one", 60))["a"] == Holding("a", "one", 3)


async def test_a_lease_outlives_no_clock_that_is_set_back(
    nodes: tuple[GraphService, GraphService], database: str
) -> None:
    one, other = (node.store for node in nodes)
    await one.lease(["a"], "one", 60)
    await execute(database, "UPDATE leases SET until = until + 3600")  # the clock is set back by an hour
    assert (await other.lease(["a"], "other", 60))["a"] == Holding("a", "other", 2)


async def test_what_is_written_under_a_lost_lease_is_refused_and_takes_no_other_along(
    nodes: tuple[GraphService, GraphService], database: str
) -> None:
    one, other = nodes
    held = (await one.store.lease(["a"], "one", 60))["a"]
    await one.write(note("first", held))
    await run_out(database)
    await one.write(note("second", held))  # nobody wanted it meanwhile
    await run_out(database)
    await other.store.lease(["a"], "other", 60)
    told = await asyncio.gather(
        one.write(note("free")), one.write(note("third", held)), one.write(note("free too")), return_exceptions=True
    )
    assert [type(each) for each in told] == [type(None), LeaseLost, type(None)]
    assert sorted(await noted(one)) == ["first", "free", "free too", "second"]


async def test_whoever_takes_a_lease_over_waits_for_the_commit_that_is_under_way(
    nodes: tuple[GraphService, GraphService], database: str
) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    one, other = nodes
    await one.store.lease(["a"], "one", 60)
    await run_out(database)
    committing = await asyncpg.connect(database)
    try:
        transaction = committing.transaction()
        await transaction.start()
        await committing.execute("SELECT 1 FROM leases WHERE name = 'a' FOR SHARE")  # as a commit does
        taking = asyncio.create_task(other.store.lease(["a"], "other", 60))
        watching = await asyncpg.connect(database)
        try:
            async with asyncio.timeout(10):
                while not await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await watching.close()
        assert not taking.done()
        await transaction.commit()
        assert (await taking)["a"].holder == "other"
    finally:
        await committing.close()


async def test_a_node_runs_under_a_lease_only_while_it_holds_it(
    nodes: tuple[GraphService, GraphService], database: str
) -> None:
    one, other = (Leases(node.store, node=name) for node, name in zip(nodes, ("one", "other"), strict=True))
    begun: list[str] = []

    async def work(name: str) -> None:
        begun.append(name)
        await asyncio.Event().wait()

    lease, standby = one.want("a"), other.want("a")
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30), one, other:
        guards = [
            tasks.create_task(lease.guard(lambda: work("one"))),
            tasks.create_task(standby.guard(lambda: work("other"))),
        ]
        await asyncio.sleep(0)
        assert (lease.held, standby.held, standby.node) == (True, False, "one")
        await execute(database, "UPDATE leases SET holder = 'other', number = 2")
        await asyncio.gather(one.ask(), other.ask())
        while begun != ["one", "other"]:  # noqa: ASYNC110  `work` notes, and beats no event
            await asyncio.sleep(0.01)
        assert (lease.held, standby.held, lease.node) == (False, True, "other")
        with pytest.raises(LeaseLost):
            lease.fences()
        for guard in guards:
            guard.cancel()


async def test_a_holder_that_cannot_renew_stops_by_itself_before_another_may_begin(
    nodes: tuple[GraphService, GraphService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.leases.LEASE_SECONDS", 1.2)
    leases = Leases(nodes[0].store)
    lease = leases.want("a")
    await leases.ask()
    assert lease.held
    async with asyncio.timeout(10):
        await lease.lost()
    taken = await nodes[1].store.lease(["a"], "other", 60)
    assert taken["a"].holder == leases.node, "the margin is not over yet"
