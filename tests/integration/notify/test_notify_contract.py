"""Connectors that break the contract of notifying."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from core.service import GraphService
from core.store.base import ChangeSet, DeliveryState, NewDelivery
from hub.net import Network
from hub.notify import Endpoint, RetrySchedule
from hub.sdk.contract import Notification, Outcome
from tests.integration.notify.rig import (
    Odd,
    Recorded,
    dispatching,
    endpoint,
    put,
    receiving,
    stored,
)


async def raising() -> Any:
    raise RuntimeError("a plugin's fault")


async def silent() -> Any:
    return []


async def endless() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("act", "error"),
    [(raising, "RuntimeError"), (silent, "0 outcomes for 1 notifications"), (endless, "no outcome within 0.05 s")],
)
async def test_a_connector_that_breaks_its_contract_has_failed_and_others_go_on(
    service: GraphService, network: Network, act: Callable[[], Awaitable[Any]], error: str
) -> None:
    recorded = Recorded()
    async with receiving() as crm:
        odd = Endpoint("odd", ("document.processed",), Odd(act))
        options: dict[str, Any] = {"schedule": RetrySchedule([0.001]), "attempt_timeout": 0.05}
        async with dispatching(service, odd, recorded=recorded, **options):
            await put(service, "a", "text")
            await recorded.until(lambda: DeliveryState.DEAD in recorded.states())
        async with dispatching(service, odd, endpoint(network, crm), **options):
            await put(service, "b", "text")
            await crm.until(lambda: len(crm.got) == 1)
    assert error in (recorded.attempts[0][1].error or "")


async def test_what_was_not_sent_counts_as_no_attempt(service: GraphService) -> None:
    outcomes = iter([Outcome(error="resting", retry_after=0.01, unsent=True)] * 5)

    async def act() -> list[Outcome]:
        return [next(outcomes, Outcome(status=204))]

    recorded = Recorded()
    async with dispatching(service, Endpoint("odd", ("document.processed",), Odd(act)), recorded=recorded):
        await put(service, "a", "text")
        await recorded.until(lambda: len(recorded.attempts) == 1)
    assert next(outcomes, None) is None
    assert [(delivery.state, delivery.attempts) for delivery in await stored(service)] == [(DeliveryState.DELIVERED, 1)]


async def test_a_payload_that_cannot_be_read_is_dead_at_once(service: GraphService) -> None:
    async def act() -> list[Outcome]:
        raise AssertionError("nothing is sent")

    recorded = Recorded()
    async with dispatching(
        service, Endpoint("odd", ("document.processed",), Odd(act)), recorded=recorded
    ) as dispatcher:
        broken = NewDelivery("msg_x", "odd", "document.processed", "a", "{", datetime.now(UTC))
        await service.write(ChangeSet(deliveries=(broken,)))
        dispatcher.wake()
        await recorded.until(lambda: len(recorded.attempts) == 1)
    assert recorded.states() == [DeliveryState.DEAD]


class Batching:
    """Takes three at a time; every second notification fails once."""

    batch = 3

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, int]]] = []
        self.refused: set[str] = set()
        self.taken: list[tuple[str, int]] = []

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        self.batches.append([(each.data["document_id"], each.data["graph_version"]) for each in batch])
        return [self._outcome(each) for each in batch]

    def _outcome(self, notification: Notification) -> Outcome:
        version = notification.data["graph_version"]
        if version % 2 and notification.id not in self.refused:
            self.refused.add(notification.id)
            return Outcome(error="not this time", status=503)
        self.taken.append((notification.data["document_id"], version))
        return Outcome()


async def test_an_endpoint_that_takes_batches_gets_them_with_an_outcome_for_each_and_keeps_its_order(
    service: GraphService,
) -> None:
    there = Batching()
    recorded = Recorded()
    async with dispatching(service, Endpoint("there", ("document.processed",), there), recorded=recorded):
        for number in range(6):
            await asyncio.gather(*(put(service, f"d{name}", f"text {number}") for name in range(5)))
        await recorded.until(lambda: recorded.states().count(DeliveryState.DELIVERED) == 30)
    assert max(map(len, there.batches)) == 3
    assert all(len({name for name, _ in batch}) == len(batch) for batch in there.batches), "one of each document"
    for name in range(5):
        versions = [version for document, version in there.taken if document == f"d{name}"]
        assert versions == sorted(set(versions))
    assert recorded.states().count(DeliveryState.PENDING) == len(there.refused) == 15
