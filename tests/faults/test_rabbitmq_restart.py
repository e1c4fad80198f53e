"""The broker goes away and comes back, takes nothing, and hubs that consume are killed: nothing is lost or doubled.

AIME_RESTARTS sets how often (a release is tried with 20).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path

import pytest

from core.service import create_graph_service
from hub.runtime import Hub, InstanceState
from hub.sdk import hooks
from tests.faults.rig import HubProcess, until
from tests.integration.hub.rig import running
from tests.rabbitmq_rig import OwnBroker, own_broker, table, wires

KIND = EntryPoint("rabbitmq", "connectors.rabbitmq.connector", hooks.ENTRY_POINT_GROUP)
RESTARTS = [("stop", "crash")[number % 2] for number in range(int(os.environ.get("AIME_RESTARTS", "3")))]
RESUMED_WITHIN = 10.0
KILLS = 6


def body(document_id: str) -> bytes:
    return json.dumps({"document_id": document_id, "content": f"{document_id} tells of tides and owls."}).encode()


async def publish_for_good(broker: OwnBroker, queue: str, names: list[str], *, stop: asyncio.Event) -> None:
    """Until `stop`; a name is added once the broker has confirmed its message."""
    numbers = count()
    from aio_pika.exceptions import CONNECTION_EXCEPTIONS

    while not stop.is_set():
        try:
            async with wires(broker.at) as line, asyncio.timeout(30):
                while not stop.is_set():
                    name = f"d{next(numbers)}"
                    await line.publish(queue, body(name))
                    names.append(name)
        except (*CONNECTION_EXCEPTIONS, TimeoutError, pytest.skip.Exception):
            await asyncio.sleep(0.1)


@pytest.mark.timeout(120 + 20 * len(RESTARTS))
async def test_restarts_of_the_broker_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    async with own_broker() as broker:
        async with wires(broker.at) as line:
            queue, events = await line.queue("quorum"), await line.queue("classic")
        config = table("in", broker.at, consume__queue=queue) + table("out", broker.at, notify__routing_key=events)
        sent: list[str] = []
        stop = asyncio.Event()
        async with running(tmp_path, config=config, others=[KIND]) as hub, asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(publish_for_good(broker, queue, sent, stop=stop))
            done = hub.instances["in"].status.documents
            for how in RESTARTS:
                before = done.processed
                await until(lambda b=before: done.processed > b + 40, within=RESUMED_WITHIN, what="work resumes")  # type: ignore[misc]
                await getattr(broker, how)()
                await broker.start()
            before = done.processed
            await until(lambda: done.processed > before + 40, within=RESUMED_WITHIN, what="work resumes")
            stop.set()
            await publishing
            log = Log(hub)
            await until(lambda: _drained(broker, queue), within=60, what="the queue is empty")
            with suppress(AssertionError):
                await until(lambda: log.holds(sent), within=30, what="what the broker confirmed arrives")
            assert set(sent) - log.times.keys() == set(), "the broker confirmed it"
            assert set(log.times.values()) == {1}
            await until(lambda: _told(hub), within=60, what="every commit is told of")
        async with wires(broker.at) as line:
            told = set()
            while (message := await line.take(events)) is not None:
                told.add(message.message_id)
        assert len(told) >= len(log.times), "each under an id of its own"


class Log:
    """How often each document was committed, read on as it grows."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._after = 0
        self.times: Counter[str] = Counter()

    async def holds(self, names: list[str]) -> bool:
        while entries := await self._hub.service.store.changes(self._after, 1000):
            self.times.update(entry.document_id for entry in entries)
            self._after = entries[-1].version
        return self.times.keys() >= set(names)


async def _drained(broker: OwnBroker, queue: str) -> bool:
    async with wires(broker.at) as line:
        return await line.waiting(queue) == 0


async def _told(hub: Hub) -> bool:
    """Whether every delivery has arrived."""
    return not await hub.service.store.undelivered()


async def test_a_broker_that_is_not_there_at_the_start_is_waited_for(tmp_path: Path) -> None:
    broker = OwnBroker()
    try:
        config = table("in", broker.at, consume__queue="documents")
        async with running(tmp_path, config=config, others=[KIND]) as hub:
            status = hub.instances["in"].status
            await until(lambda: status.last_error is not None, within=10, what="it says so")
            assert broker.at in str(status.last_error)
            await broker.start()
            async with wires(broker.at) as line:
                await line.queue(name="documents")
                await line.publish("documents", body("a"))
            await until(lambda: status.documents.processed == 1, within=15, what="it comes by itself")
            assert status.state is InstanceState.RUNNING
    finally:
        await broker.remove()


async def test_a_broker_in_a_memory_alarm_holds_nothing_up_but_its_own_notifications(tmp_path: Path) -> None:
    async with own_broker() as broker:
        async with wires(broker.at) as line:
            events = await line.queue()
        config = table("out", broker.at, notify__routing_key=events, notify__timeout="1s")
        async with running(tmp_path, config=config, others=[KIND]) as hub:
            await hub.service.process_document(document_id="a", content="Before the alarm.")
            await until(lambda: _delivered(hub), within=15, what="the first is delivered")
            await broker.control("set_vm_memory_high_watermark", "0.0000001")
            await hub.service.process_document(document_id="b", content="In the alarm.")
            await until(lambda: _says(hub, "not confirmed within 1 s"), within=15, what="the publish times out")
            assert len(await hub.service.changes(0)) == 2
            await broker.control("set_vm_memory_high_watermark", "0.4")
            await until(lambda: _told(hub), within=30, what="it arrives after the alarm")
        async with wires(broker.at) as line:
            arrived = {(await line.take(events)).message_id for _ in range(2)}
        assert len(arrived) == 2


async def _delivered(hub: Hub) -> bool:
    return bool(await hub.service.store.deliveries(limit=1)) and await _told(hub)


async def _says(hub: Hub, reason: str) -> bool:
    [delivery, *_] = await hub.service.store.deliveries(limit=1)
    return any(reason in str(attempt.error) for attempt in await hub.service.store.attempts(delivery.id))


async def test_kill_9_of_a_hub_that_consumes_loses_nothing_and_doubles_nothing(
    make_hub: Callable[..., HubProcess], tmp_path: Path
) -> None:
    async with wires() as line:
        queue = await line.queue()
        names: list[str] = []
        hub = make_hub("[hub]\n" + table("in", line.at, consume__queue=queue))
        for life in range(KILLS):
            fresh = [f"d{life}-{number}" for number in range(1000)]
            await line.publish(queue, *map(body, fresh))
            names += fresh
            before = await line.waiting(queue)
            await hub.start()
            await until(lambda b=before: _fewer(line.waiting, queue, b), within=30, what="it consumes")  # type: ignore[misc]
            await asyncio.sleep(random.uniform(0, 0.1))
            await hub.kill()
        await hub.start()
        await until(lambda: _has_all(hub, len(names)), within=60, what="all are committed")
        assert await hub.terminate() == 0
        assert await line.waiting(queue) == 0, "all were acknowledged"
    async with await create_graph_service(f"sqlite:{tmp_path / 'aime.db'}") as service:
        log = Counter(entry.document_id for entry in await service.changes(0, limit=1_000_000))
    assert log == dict.fromkeys(names, 1)


async def _has_all(hub: HubProcess, count: int) -> bool:
    _, answer = await hub.call("GET", "/graph/version")
    return bool(answer["graph_version"] >= count)


async def _fewer(waiting: Callable[[str], object], queue: str, than: int) -> bool:
    return await waiting(queue) < than  # type: ignore[misc, no-any-return]
