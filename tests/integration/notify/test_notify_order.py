"""The order of deliveries: kept for each document, and nothing held up by another."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import pytest

from core.service import GraphService
from core.store.base import Delivery, DeliveryState
from hub.net import Network
from hub.notify import RetrySchedule
from tests.integration.notify.rig import (
    Recorded,
    dispatching,
    endpoint,
    put,
    receiving,
    stored,
)


async def test_each_document_keeps_its_order_under_random_failures(service: GraphService, network: Network) -> None:
    dice = random.Random(7)
    async with receiving(lambda _: 500 if dice.random() < 0.4 else 204) as crm:
        schedule = RetrySchedule([0.004] * 60)
        async with dispatching(service, endpoint(network, crm, timeout="5s"), schedule=schedule):
            for round_ in range(6):
                for document in range(8):
                    await put(service, f"d{document}", f"round {round_}")
            await crm.until(lambda: len(crm.accepted()) == 48)
    versions = defaultdict(list)
    ids = defaultdict(set)
    for got in crm.got:
        ids[got["document_id"], got["graph_version"]].add(got["webhook-id"])
        versions[got["document_id"]].append(got["graph_version"])
    assert len(crm.got) > 60, "the dice failed some"
    assert all(seen == sorted(seen) for seen in versions.values()), "attempts follow version order"
    assert all(len(seen) == 1 for seen in ids.values()), "an id is the same in every attempt"
    assert len({id_ for seen in ids.values() for id_ in seen}) == 48


async def test_one_document_that_fails_holds_up_no_other(service: GraphService, network: Network) -> None:
    def answer(payload: dict[str, Any]) -> int:
        return 500 if payload["document_id"] == "poison" else 204

    recorded = Recorded()
    async with receiving(answer) as crm:
        schedule = RetrySchedule([0.001] * 2)
        async with dispatching(service, endpoint(network, crm), schedule=schedule, recorded=recorded):
            await put(service, "poison", "first")
            await put(service, "poison", "second")
            for number in range(5):
                await put(service, f"good-{number}", "text")
            await recorded.until(lambda: recorded.states().count(DeliveryState.DEAD) == 2)
            await crm.until(lambda: len(crm.accepted()) == 5)
    poison = [delivery for delivery in await stored(service) if delivery.subject == "poison"]
    assert [(delivery.state, delivery.attempts) for delivery in poison] == [(DeliveryState.DEAD, 3)] * 2
    assert poison[0].error == "answered 500"
    tries = [got["graph_version"] for got in crm.got if got["document_id"] == "poison"]
    assert tries == [1, 1, 1, 2, 2, 2], "the second is tried when the first is dead"
    dead = await service.store.audit(action="delivery.dead")
    assert {record.record.subject for record in dead} == {delivery.id for delivery in poison}


async def test_what_is_delivered_while_the_store_is_asked_is_not_sent_again(
    service: GraphService, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's answer may be older than the outcome of an attempt that was under way when it was asked."""
    recorded = Recorded()
    asked = asyncio.Event()
    due = service.store.due

    async def late(*args: Any, **options: Any) -> list[Delivery]:
        found = await due(*args, **options)
        if found and recorded.attempts == [] and crm.got == [] and dispatcher.health()[0].in_flight:
            asked.set()
            await recorded.until(lambda: len(recorded.attempts) == 1)
        return found

    async def when_asked() -> int:
        await asked.wait()
        return 204

    monkeypatch.setattr(service.store, "due", late)
    async with (
        receiving(lambda _: when_asked()) as crm,
        dispatching(service, endpoint(network, crm), recorded=recorded) as dispatcher,
    ):
        await put(service, "a", "text")
        await crm.until(lambda: len(crm.got) == 1)
        await put(service, "b", "text")
        await recorded.until(lambda: len(recorded.attempts) == 2)
    assert crm.accepted() == ["a@1", "b@2"]


async def test_a_slow_endpoint_holds_up_no_other(service: GraphService, network: Network) -> None:
    release = asyncio.Event()
    busy = 0
    most = 0

    async def hang() -> int:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await release.wait()
        busy -= 1
        return 204

    async with receiving(lambda _: hang()) as slow, receiving() as quick:
        endpoints = (endpoint(network, slow, "slow"), endpoint(network, quick, "quick"))
        async with dispatching(service, *endpoints, concurrency=8, per_endpoint=3):
            for number in range(30):
                await put(service, f"d{number}", "text")
            await quick.until(lambda: len(quick.got) == 30)
            assert slow.got == []
            assert most == 3
            release.set()
            await slow.until(lambda: len(slow.got) == 30)
