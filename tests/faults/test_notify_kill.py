"""Kills a process that commits documents and notifies, at random moments, and counts what arrived.

Run as a script, this file is that process: it commits documents until it is killed, and prints the id of each one that
was acknowledged.
"""

import asyncio
import itertools
import os
import random
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from connectors.webhook.config import WebhookConfig
from connectors.webhook.connector import create
from core.service import GraphService, create_graph_service
from core.store.base import DeliveryState
from hub.net import Network
from hub.notify import Dispatcher, Endpoint, RetrySchedule
from hub.notify.sender import AttemptObserver
from hub.sdk.contract import Context, Notifies

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KILLS = 6


def endpoint(network: Network, url: str) -> Endpoint:
    config = WebhookConfig.model_validate({"notify": {"url": url, "secret": SECRET}})
    context = Context(
        name="crm",
        source="crm",
        http=network.client("crm", allow_networks=["127.0.0.1/32"]),
        log=structlog.stdlib.get_logger(),
        now=lambda: datetime.now(UTC),
        run_blocking=asyncio.to_thread,
    )
    connector = create(config, context)
    assert isinstance(connector, Notifies)
    return Endpoint("crm", ("document.processed",), connector)


def dispatcher_of(
    service: GraphService, network: Network, url: str, on_attempt: AttemptObserver | None = None
) -> Dispatcher:
    endpoints = {"crm": endpoint(network, url)}
    return Dispatcher(service, endpoints, schedule=RetrySchedule([0.01] * 100), poll=0.05, on_attempt=on_attempt)


async def commit_until_killed(store: str, url: str, life: str) -> None:
    async with await create_graph_service(store) as service, Network() as network:
        dispatcher = dispatcher_of(service, network, url)
        await dispatcher.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(dispatcher.run())
            for number in itertools.count():
                document_id = f"{life}-{number % 7}"
                result = await service.process_document(document_id=document_id, content=f"Version {number}.")
                os.write(1, f"{result.graph_version}\n".encode())


class Receiver:
    def __init__(self) -> None:
        self.ids: dict[int, set[str]] = defaultdict(set)
        self.versions: dict[str, list[int]] = defaultdict(list)

    async def handle(self, request: web.Request) -> web.Response:
        payload = await request.json()
        if random.random() < 0.1:
            return web.Response(status=500)
        self.ids[payload["graph_version"]].add(request.headers["webhook-id"])
        self.versions[payload["document_id"]].append(payload["graph_version"])
        return web.Response(status=204)


async def life_and_death(store: str, url: str, life: int, seconds: float) -> list[int]:
    """The versions that the process acknowledged before it was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, store, url, f"life{life}", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    first = await process.stdout.readline()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
    rest = await process.stdout.read()
    assert await process.wait() == -9, "it was killed, and did not end by itself"
    return [int(line) for line in (first + rest).split(b"\n")[:-1] if line]


@pytest.mark.faults
async def test_kill_9_loses_no_notification_and_doubles_no_delivery(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/kill.db"
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    acknowledged: list[int] = []
    try:
        for life in range(KILLS):
            acknowledged += await life_and_death(store, url, life, random.uniform(0.05, 0.6))
        async with await create_graph_service(store) as service, Network() as network:
            recorded = asyncio.Event()
            dispatcher = dispatcher_of(service, network, url, lambda *_: recorded.set())
            async with asyncio.TaskGroup() as tasks, asyncio.timeout(60):
                tasks.create_task(dispatcher.run())
                committed = [entry.version for entry in await service.changes(0, limit=100_000)]
                while True:
                    recorded.clear()
                    if len(receiver.ids) == len(committed) and not await pending(service):
                        break
                    await recorded.wait()
                dispatcher.stop()
            deliveries = await service.store.deliveries(limit=100_000)
    finally:
        await runner.cleanup()
    assert len(acknowledged) > KILLS
    assert set(acknowledged) <= set(committed)
    assert set(receiver.ids) == set(committed), "every commit was told of"
    assert all(len(ids) == 1 for ids in receiver.ids.values()), "always under the same id"
    assert len(deliveries) == len(committed), "no delivery was written twice"
    assert {delivery.state for delivery in deliveries} == {DeliveryState.DELIVERED}
    for seen in receiver.versions.values():
        # One whose outcome was not recorded is sent again, so a version may come twice; but never an older one later.
        assert seen == sorted(seen)
    assert max(Counter(version for seen in receiver.versions.values() for version in seen).values()) <= KILLS + 1


async def pending(service: GraphService) -> int:
    counts = await service.store.undelivered()
    return sum(count for (_, state), count in counts.items() if state is DeliveryState.PENDING)


if __name__ == "__main__":
    asyncio.run(commit_until_killed(*sys.argv[1:]))
