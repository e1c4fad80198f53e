"""Pauses and ends: endpoints that ask to be left alone, are gone, or only fail."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from core.errors import NotFound
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, DeliveryState
from hub.net import Network
from hub.net.breaker import Breaker
from hub.notify import Dispatcher, RetrySchedule
from hub.notify.schedule import Clock
from tests.integration.notify.rig import (
    Recorded,
    dispatching,
    endpoint,
    put,
    receiving,
    stored,
)


async def test_nothing_goes_to_an_endpoint_within_its_retry_after(service: GraphService, network: Network) -> None:
    answers = iter([(429, {"Retry-After": "1"})])
    recorded = Recorded()
    times: list[float] = []

    def answer(_: dict[str, Any]) -> int | tuple[int, dict[str, str]]:
        times.append(asyncio.get_running_loop().time())
        return next(answers, 204)

    async with (
        receiving(answer) as crm,
        dispatching(service, endpoint(network, crm), recorded=recorded, per_endpoint=1) as dispatcher,
    ):
        await put(service, "a", "text")
        await recorded.until(lambda: len(recorded.attempts) == 1)
        await put(service, "b", "another document of the same endpoint")
        (health,) = dispatcher.health()
        assert health.state == "paused"
        assert 0 < health.paused_for <= 1
        await crm.until(lambda: len(crm.got) == 3)
    assert times[1] - times[0] >= 1
    assert [attempt.status for _, attempt in recorded.attempts] == [429, 204, 204], "no attempt in between"


async def test_a_pause_outlives_a_restart(service: GraphService, network: Network) -> None:
    recorded = Recorded()
    async with receiving(lambda _: (503, {"Retry-After": "3600"})) as crm:
        async with dispatching(service, endpoint(network, crm), recorded=recorded):
            await put(service, "a", "text")
            await recorded.until(lambda: len(recorded.attempts) == 1)
        async with Network() as fresh, dispatching(service, endpoint(fresh, crm)) as dispatcher:
            await put(service, "b", "text")
            (health,) = dispatcher.health()
    assert health.state == "paused"
    assert 3590 < health.paused_for <= 3600
    assert len(crm.got) == 1
    delivery = (await stored(service))[0]
    assert delivery.next_attempt_at - datetime.now(UTC) > timedelta(seconds=3590)


async def test_a_410_disables_the_endpoint_and_enabling_sends_what_is_pending(
    service: GraphService, network: Network
) -> None:
    gone = True
    async with receiving(lambda _: 410 if gone else 204) as crm, receiving() as ops:
        watcher = endpoint(network, ops, "ops", events=["endpoint.disabled"])
        async with dispatching(service, endpoint(network, crm), watcher, per_endpoint=1) as dispatcher:
            await put(service, "a", "text")
            await ops.until(lambda: len(ops.got) == 1)
            assert (ops.got[0]["endpoint"], ops.got[0]["reason"]) == ("crm", "it answered 410 Gone")
            assert dispatcher.disabled("crm") == "it answered 410 Gone"
            await put(service, "b", "while it is disabled")
        async with dispatching(service, endpoint(network, crm), watcher) as dispatcher:
            assert dispatcher.disabled("crm"), "a restart does not enable it"
            await put(service, "c", "after a restart")
            while len(await service.store.deliveries(endpoint="crm")) < 3:
                await service.wait_for_trail(0, 0)
            assert len(crm.got) == 1, "nothing was sent after the 410"
            assert {delivery.state for delivery in await service.store.deliveries(endpoint="crm")} == {
                DeliveryState.PENDING
            }
            gone = False
            await dispatcher.enable("crm", actor="admin")
            await crm.until(lambda: len(crm.accepted()) == 3)
    assert crm.accepted() == ["a@1", "b@2", "c@3"]
    assert crm.got[0]["webhook-id"] == crm.got[1]["webhook-id"]
    acts = [record.record for record in await service.store.audit(limit=1000)]
    assert ("admin", "endpoint.enabled", "crm") in [(act.actor, act.action, act.subject) for act in acts]


async def test_a_state_that_cannot_be_read_is_forgotten_aloud(service: GraphService, network: Network) -> None:
    await service.write(ChangeSet(records={("endpoint", "crm"): '{"failures": "many"}'}))
    async with receiving() as crm:
        with structlog.testing.capture_logs() as logs:
            async with dispatching(service, endpoint(network, crm)):
                pass
    assert [(log["event"], log["endpoint"]) for log in logs] == [("endpoint.state_forgotten", "crm")]


async def test_an_admin_disables_and_tests_an_endpoint(service: GraphService, network: Network) -> None:
    async with receiving() as crm, dispatching(service, endpoint(network, crm)) as dispatcher:
        await dispatcher.disable("crm", actor="admin")
        outcome = await dispatcher.test("crm")
        assert (outcome.error, outcome.status) == (None, 204)
        assert crm.got[0]["type"] == "endpoint.test"
        for call in (dispatcher.disable("nobody", actor="admin"), dispatcher.test("nobody")):
            with pytest.raises(NotFound, match="nobody"):
                await call
    assert await stored(service) == [], "a test is kept nowhere"


async def test_an_endpoint_that_only_fails_for_five_days_is_disabled(service: GraphService, network: Network) -> None:
    wall = datetime(2026, 3, 1, tzinfo=UTC)

    def answer(_: dict[str, Any]) -> int:
        nonlocal wall
        wall += timedelta(hours=7)
        return 500

    clock = Clock(lambda: wall, lambda: 0.0)
    async with receiving(answer) as crm, receiving() as ops:
        watcher = endpoint(network, ops, "ops", events=["endpoint.disabled"])
        schedule = RetrySchedule([0.0] * 100)
        async with dispatching(service, endpoint(network, crm), watcher, schedule=schedule, clock=clock) as dispatcher:
            for number in range(8):
                # Its time in the store is the wall clock's, which is far ahead of this test's.
                wall = max(wall, datetime.now(UTC) + timedelta(days=1))
                await put(service, f"d{number}", "text")
            await ops.until(lambda: len(ops.got) == 1)
            assert "nothing but failures" in (dispatcher.disabled("crm") or "")
    assert len(crm.got) >= 20


async def test_a_payload_that_is_refused_as_such_is_given_up_sooner(service: GraphService, network: Network) -> None:
    recorded = Recorded()
    async with receiving(lambda _: 422) as crm, dispatching(service, endpoint(network, crm), recorded=recorded):
        await put(service, "a", "text")
        await recorded.until(lambda: DeliveryState.DEAD in recorded.states())
    assert len(crm.got) == RetrySchedule.REFUSED_ATTEMPTS


async def test_a_dead_delivery_can_be_replayed_under_its_old_id(service: GraphService, network: Network) -> None:
    broken = True
    recorded = Recorded()
    async with receiving(lambda _: 500 if broken else 204) as crm:
        schedule = RetrySchedule([0.001])
        async with dispatching(service, endpoint(network, crm), schedule=schedule, recorded=recorded) as dispatcher:
            await put(service, "a", "text")
            await recorded.until(lambda: DeliveryState.DEAD in recorded.states())
            broken = False
            (delivery,) = await stored(service)
            await dispatcher.replay(delivery.id, actor="admin")
            await recorded.until(lambda: DeliveryState.DELIVERED in recorded.states())
            with pytest.raises(NotFound):
                await dispatcher.replay("msg_nobody")
    assert {got["webhook-id"] for got in crm.got} == {delivery.id}
    assert len(crm.got) == 3


async def test_while_the_breaker_is_open_only_a_probe_goes_out(service: GraphService, network: Network) -> None:
    broken = True
    recorded = Recorded()
    now = 0.0
    clock = Clock(elapsed=lambda: now)

    def breaker(name: str) -> Breaker:
        return Breaker(name, threshold=3, cooldown=30, clock=clock.elapsed)

    async with receiving(lambda _: 500 if broken else 204) as crm:
        options = {"clock": clock, "breaker": breaker, "per_endpoint": 1, "schedule": RetrySchedule([0.0] * 50)}
        async with dispatching(service, endpoint(network, crm), recorded=recorded, **options) as dispatcher:
            for number in range(10):
                await put(service, f"d{number}", "text")
            await recorded.until(lambda: len(recorded.attempts) == 3)
            assert dispatcher.health()[0].state == "resting"
            now += 30
            await recorded.until(lambda: len(recorded.attempts) == 4)
            assert dispatcher.health()[0].state == "resting"
            broken = False
            now += 60
            await crm.until(lambda: len(crm.accepted()) == 10)
            assert dispatcher.health()[0].state == "ok"
    assert [got["answered"] for got in crm.got[:5]] == [500, 500, 500, 500, 204]


async def test_who_comes_to_send_heeds_what_the_one_before_may_not_have_heard(
    service: GraphService, network: Network
) -> None:
    async with receiving() as crm:
        dispatcher = Dispatcher(service, {"crm": endpoint(network, crm)})
        await dispatcher.heed(AuditRecord("admin", "endpoint.disabled", "crm", {"reason": "by an admin"}))
        # Before it heard, the one before wrote that it fails.
        await service.write(ChangeSet(records={("endpoint", "crm"): '{"failures":1}'}))
        await dispatcher.start()
        assert dispatcher.disabled("crm") == "by an admin"
        assert json.loads(await service.store.record("endpoint", "crm") or "")["disabled"] == "by an admin"
