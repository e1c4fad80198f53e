"""The dispatcher with a real store, the real webhook connector and real receivers on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web
from standardwebhooks import Webhook

from connectors.webhook.config import WebhookConfig
from connectors.webhook.connector import create
from core.service import GraphService
from core.store.base import Attempt, Delivery, DeliveryState
from hub.net import Network
from hub.net.breaker import Breaker
from hub.notify import Dispatcher, Endpoint, RetrySchedule
from hub.sdk.contract import Context, Notifies

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = ["127.0.0.1/32"]
QUICK = RetrySchedule([0.01] * 12)

Answer = Callable[[dict[str, Any]], "int | tuple[int, dict[str, str]] | Awaitable[int]"]


@dataclass
class Receiver:
    """An outside system: verifies what it gets with the reference library, keeps it, answers as it is told."""

    answer: Answer = lambda _: 204
    url: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    """Each request: the payload, with `webhook-id` and `answered` (the status) added."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        payload: dict[str, Any] = Webhook(SECRET).verify(await request.read(), dict(request.headers))
        answer = self.answer(payload)
        if isinstance(answer, Awaitable):
            answer = await answer
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.got.append({**payload, "webhook-id": request.headers["webhook-id"], "answered": status})
        self.arrived.set()
        return web.Response(status=status, headers=headers, text="said the receiver")

    def accepted(self) -> list[str]:
        """The documents of the notifications that were answered 2xx, in order."""
        return [f"{got['document_id']}@{got['graph_version']}" for got in self.got if got["answered"] < 300]

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def receiving(answer: Answer = lambda _: 204) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    runner = web.ServerRunner(web.Server(receiver.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def patient(name: str) -> Breaker:
    """A breaker that stays out of the way."""
    return Breaker(name, threshold=1_000_000)


def endpoint(
    network: Network, receiver: Receiver, name: str = "crm", *, events: Iterable[str] = (), **notify: Any
) -> Endpoint:
    """The real connector, as the hub would make it from a `[connectors.NAME]` table."""
    config = WebhookConfig.model_validate({"notify": {"url": receiver.url, "secret": SECRET, **notify}})
    assert config.notify is not None

    async def run_blocking(*_: Any) -> Any:
        raise AssertionError("nothing here blocks")

    context = Context(
        name=name,
        source=name,
        http=network.client(name, allow_networks=LOOPBACK),
        log=structlog.stdlib.get_logger(),
        now=lambda: datetime.now(UTC),
        run_blocking=run_blocking,
    )
    connector = create(config, context)
    assert isinstance(connector, Notifies)
    return Endpoint(name, tuple(events) or config.notify.events, connector)


@asynccontextmanager
async def dispatching(
    service: GraphService,
    *endpoints: Endpoint,
    broken: Iterable[str] = (),
    recorded: Recorded | None = None,
    **options: Any,
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(
        service, **{"schedule": QUICK, "poll": 0.02, "breaker": patient, "on_attempt": recorded, **options}
    )
    await dispatcher.set_endpoints({each.name: each for each in endpoints}, broken=tuple(broken))
    await dispatcher.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            dispatcher.stop()


class Recorded:
    """Hears of each attempt once it is in the store."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, Attempt]] = []
        self._heard = asyncio.Event()

    def __call__(self, name: str, attempt: Attempt) -> None:
        self.attempts.append((name, attempt))
        self._heard.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._heard.clear()
                await self._heard.wait()

    def states(self) -> list[DeliveryState]:
        return [attempt.state for _, attempt in self.attempts]


class Odd:
    """A plugin's connector that does whatever the test says."""

    def __init__(self, act: Callable[[], Awaitable[Any]]) -> None:
        self.act = act

    async def notify(self, batch: Any) -> Any:
        return await self.act()


async def put(service: GraphService, document_id: str, content: str) -> int:
    result = await service.process_document(document_id=document_id, content=content, metadata={"source": "test"})
    return result.graph_version


async def stored(service: GraphService) -> list[Delivery]:
    return (await service.store.deliveries(limit=1000))[::-1]
