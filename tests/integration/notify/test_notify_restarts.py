"""Stops, restarts, and clocks that are set."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.service import GraphService, create_graph_service
from core.store.base import ChangeSet, DeliveryState
from hub.net import Network
from hub.notify import Endpoint, RetrySchedule
from hub.notify.schedule import Clock
from hub.sdk.contract import Outcome
from tests.integration.notify.rig import (
    Odd,
    Recorded,
    dispatching,
    endpoint,
    put,
    receiving,
    stored,
)


async def test_a_stop_lets_the_attempt_under_way_end_and_records_it(service: GraphService, network: Network) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def hang() -> int:
        begun.set()
        await release.wait()
        return 204

    async with (
        receiving(lambda _: hang()) as crm,
        dispatching(service, endpoint(network, crm), per_endpoint=1) as dispatcher,
    ):
        await put(service, "a", "text")
        await put(service, "b", "text")
        async with asyncio.timeout(10):
            await begun.wait()
        dispatcher.stop()
        release.set()
    assert (await stored(service))[0].state is DeliveryState.DELIVERED
    assert len(crm.got) == 1


async def test_after_a_restart_a_delivery_goes_on_under_its_id(tmp_path: Path, network: Network) -> None:
    broken = True
    recorded = Recorded()
    async with receiving(lambda _: 500 if broken else 204) as crm:
        url = f"sqlite:{tmp_path}/restart.db"
        async with (
            await create_graph_service(url) as service,
            dispatching(service, endpoint(network, crm), recorded=recorded, schedule=RetrySchedule([0.0] * 50)),
        ):
            await put(service, "a", "text")
            await recorded.until(lambda: len(recorded.attempts) >= 3)
        before = len(crm.got)
        broken = False
        async with await create_graph_service(url) as service:
            async with dispatching(service, endpoint(network, crm)):
                await crm.until(lambda: len(crm.got) > before)
            (delivery,) = await stored(service)
    assert {got["webhook-id"] for got in crm.got} == {delivery.id}
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, len(crm.got))


async def test_a_removed_endpoint_gets_nothing_and_its_deliveries_wait_until_it_is_back(
    service: GraphService, network: Network
) -> None:
    broken = True
    recorded = Recorded()
    async with receiving(lambda _: 500 if broken else 204) as crm, receiving() as other:
        crm_endpoint, other_endpoint = endpoint(network, crm), endpoint(network, other, "other")
        schedule = RetrySchedule([0.0] * 10_000)
        async with dispatching(
            service, crm_endpoint, other_endpoint, recorded=recorded, schedule=schedule
        ) as dispatcher:
            await put(service, "a", "text")
            await recorded.until(lambda: "crm" in {name for name, _ in recorded.attempts})
            await dispatcher.set_endpoints({"other": other_endpoint})
            await put(service, "b", "text")
            await other.until(lambda: len(other.got) == 2)
            broken = False
            await dispatcher.set_endpoints({"other": other_endpoint, "crm": crm_endpoint})
            await crm.until(lambda: len(crm.accepted()) == 1)
    assert crm.accepted() == ["a@1"]


async def test_a_clock_that_is_set_back_delays_no_retry(service: GraphService, network: Network) -> None:
    wall, elapsed = datetime.now(UTC), 0.0
    clock = Clock(lambda: wall, lambda: elapsed)
    answers = iter([500])
    recorded = Recorded()
    async with receiving(lambda _: next(answers, 204)) as crm:
        schedule = RetrySchedule([60.0], jitter=lambda low, high: high)
        async with dispatching(service, endpoint(network, crm), clock=clock, schedule=schedule, recorded=recorded):
            wall += timedelta(seconds=5)  # the store's own clock has moved on by the time it commits
            await put(service, "a", "text")
            await recorded.until(lambda: len(recorded.attempts) == 1)
            wall -= timedelta(days=30)
            elapsed += 119
            await put(service, "b", "text")
            await recorded.until(lambda: len(recorded.attempts) == 2)
            assert recorded.attempts[1][1].delivery_id != recorded.attempts[0][1].delivery_id
            elapsed += 2
            await recorded.until(lambda: len(recorded.attempts) == 3)
    assert [attempt.status for _, attempt in recorded.attempts] == [500, 204, 204]


async def test_a_clock_that_is_set_ahead_breaks_no_retry_after(service: GraphService, network: Network) -> None:
    wall, elapsed = datetime.now(UTC), 0.0
    clock = Clock(lambda: wall, lambda: elapsed)
    recorded = Recorded()

    async def act() -> list[Outcome]:
        return [Outcome(error="answered 429", status=429, retry_after=600.0)]

    async with receiving() as other:
        busy = Endpoint("busy", ("document.processed",), Odd(act))
        async with dispatching(service, busy, endpoint(network, other, "other"), clock=clock, recorded=recorded):
            wall += timedelta(seconds=5)
            await put(service, "a", "text")
            await recorded.until(lambda: len(recorded.attempts) == 2)
            wall += timedelta(days=2)
            await put(service, "b", "text")
            await other.until(lambda: len(other.got) == 2)
            assert [name for name, _ in recorded.attempts].count("busy") == 1
            elapsed += 601
            await recorded.until(lambda: [name for name, _ in recorded.attempts].count("busy") > 1)


async def test_after_a_restart_what_a_wrong_clock_put_off_is_brought_forward(
    service: GraphService, network: Network
) -> None:
    ahead = datetime.now(UTC) + timedelta(days=365)
    answers = iter([500])
    recorded = Recorded()
    async with receiving(lambda _: next(answers, 204)) as crm:
        schedule = RetrySchedule([3600.0])
        wrong = Clock(lambda: ahead, lambda: 0.0)
        async with dispatching(service, endpoint(network, crm), clock=wrong, schedule=schedule, recorded=recorded):
            await put(service, "a", "text")
            await recorded.until(lambda: len(recorded.attempts) == 1)
        async with dispatching(service, endpoint(network, crm), schedule=schedule):
            await crm.until(lambda: len(crm.accepted()) == 1)


async def test_deliveries_survive_a_store_that_takes_nothing_for_a_while(
    service: GraphService, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: what was sent is not sent again while its outcome cannot be recorded."""
    from core.errors import StoreFull
    from hub.notify import sender

    monkeypatch.setattr(sender, "STORE_REST", 0.01)
    write = service.write
    refused = 0

    async def full(change_set: ChangeSet) -> None:
        nonlocal refused
        if change_set.attempts and refused < 5:
            refused += 1
            raise StoreFull("no space left on the device")
        await write(change_set)

    monkeypatch.setattr(service, "write", full)
    recorded = Recorded()
    async with receiving() as crm, dispatching(service, endpoint(network, crm), recorded=recorded):
        await put(service, "a", "text")
        await recorded.until(lambda: len(recorded.attempts) == 1)
    assert refused == 5
    assert len(crm.got) == 1
