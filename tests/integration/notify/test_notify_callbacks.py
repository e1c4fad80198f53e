"""Answers that go to the callback_url of their question."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from pydantic import SecretStr

from core.service import GraphService
from core.store.base import ChangeSet, DeliveryState
from hub.net import Network
from hub.notify import Callbacks, Endpoint, RetrySchedule, callback_delivery
from tests.integration.notify.rig import (
    LOOPBACK,
    SECRET,
    Recorded,
    dispatching,
    receiving,
    stored,
)


async def test_an_answer_goes_to_its_callback_url_signed(service: GraphService, network: Network) -> None:
    callbacks = Endpoint(
        "callback", (), Callbacks(network, SecretStr(SECRET), allow_networks=LOOPBACK), may_be_disabled=False
    )
    async with receiving() as asker, dispatching(service, callbacks) as dispatcher:
        delivery = callback_delivery("q-1", asker.url, {"answer": "42", "abstained": False}, now=datetime.now(UTC))
        await service.write(ChangeSet(deliveries=(delivery,)))
        dispatcher.wake()
        await asker.until(lambda: len(asker.got) == 1)
    assert (asker.got[0]["type"], asker.got[0]["query_id"], asker.got[0]["answer"]) == ("query.answered", "q-1", "42")


async def test_a_callback_host_that_is_gone_or_hangs_concerns_nobody_else(
    service: GraphService, network: Network
) -> None:
    release = asyncio.Event()

    async def hang() -> int:
        await release.wait()
        return 204

    recorded = Recorded()
    callbacks = Endpoint(
        "callback", (), Callbacks(network, SecretStr(SECRET), allow_networks=LOOPBACK), may_be_disabled=False
    )
    now = datetime.now(UTC)
    async with (
        receiving(lambda _: 410) as gone,
        receiving(lambda _: hang()) as slow,
        receiving() as good,
        dispatching(service, callbacks, recorded=recorded, concurrency=4, per_endpoint=2) as dispatcher,
    ):
        asked = [slow] * 20 + [gone] + [good] * 5
        deliveries = (callback_delivery(f"q-{n}", host.url, {}, now=now) for n, host in enumerate(asked))
        await service.write(ChangeSet(deliveries=tuple(deliveries)))
        dispatcher.wake()
        await good.until(lambda: len(good.got) == 5)
        await recorded.until(lambda: DeliveryState.DEAD in recorded.states())
        assert dispatcher.disabled("callback") is None
        release.set()
        await slow.until(lambda: len(slow.got) == 20)
    assert {delivery.state for delivery in await stored(service) if delivery.target == gone.url} == {DeliveryState.DEAD}


async def test_a_callback_host_is_forgotten_once_nothing_is_pending_for_it(
    service: GraphService, network: Network
) -> None:
    callbacks = Endpoint(
        "callback", (), Callbacks(network, SecretStr(SECRET), allow_networks=LOOPBACK), may_be_disabled=False
    )
    recorded = Recorded()
    async with receiving(lambda _: 410) as gone:
        async with dispatching(service, callbacks, recorded=recorded) as dispatcher:
            delivery = callback_delivery("q-1", gone.url, {}, now=datetime.now(UTC))
            await service.write(ChangeSet(deliveries=(delivery,)))
            dispatcher.wake()
            await recorded.until(lambda: recorded.states() == [DeliveryState.DEAD])
            async with asyncio.timeout(10):
                while await service.store.records("endpoint"):
                    await service.write(ChangeSet())
            assert [health.name for health in dispatcher.health()] == ["callback"]
        await service.write(ChangeSet(records={("endpoint", delivery.endpoint): '{"failures": 3}'}))
        async with dispatching(service, callbacks), asyncio.timeout(10):
            while await service.store.records("endpoint"):
                await service.write(ChangeSet())


async def test_a_callback_to_a_private_address_is_not_sent(service: GraphService, network: Network) -> None:
    recorded = Recorded()
    callbacks = Endpoint("callback", (), Callbacks(network, SecretStr(SECRET)), may_be_disabled=False)
    async with (
        receiving() as inside,
        dispatching(service, callbacks, recorded=recorded, schedule=RetrySchedule([])) as dispatcher,
    ):
        delivery = callback_delivery("q-1", inside.url, {}, now=datetime.now(UTC))
        await service.write(ChangeSet(deliveries=(delivery,)))
        dispatcher.wake()
        await recorded.until(lambda: len(recorded.attempts) == 1)
    assert inside.got == []
    assert "allow_networks" in (recorded.attempts[0][1].error or "")
