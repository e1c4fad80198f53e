"""The dispatcher with a real store, the real webhook connector and real receivers on the loopback interface."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from pydantic import SecretStr
from standardwebhooks import Webhook

from connectors.webhook.config import WebhookConfig
from connectors.webhook.connector import create
from core.errors import NotFound
from core.service import GraphService, create_graph_service
from core.store.base import Attempt, ChangeSet, Delivery, DeliveryState, NewDelivery
from hub.net import Network
from hub.net.breaker import Breaker
from hub.notify import Callbacks, Dispatcher, Endpoint, RetrySchedule, callback_delivery
from hub.notify.schedule import Clock
from hub.sdk.contract import Context, Notifies, Outcome

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


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(breaker=patient) as network:
        yield network


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[GraphService]:
    async with await create_graph_service(f"sqlite:{tmp_path}/notify.db") as service:
        yield service


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
    recorded: "Recorded | None" = None,
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


async def put(service: GraphService, document_id: str, content: str) -> int:
    result = await service.process_document(document_id=document_id, content=content, metadata={"source": "test"})
    return result.graph_version


async def stored(service: GraphService) -> list[Delivery]:
    return (await service.store.deliveries(limit=1000))[::-1]


# ---------------------------------------------------------------- what is sent


async def test_every_commit_arrives_signed_and_flat(service: GraphService, network: Network) -> None:
    async with receiving() as crm, dispatching(service, endpoint(network, crm)):
        await put(service, "cms-1", "Hello.")
        await service.delete_document("cms-1")
        await crm.until(lambda: len(crm.got) == 2)
    processed, deleted = crm.got
    assert processed["type"] == "document.processed"
    assert (processed["document_id"], processed["status"], processed["graph_version"]) == ("cms-1", "processed", 1)
    assert processed["source"] == "test"
    assert datetime.fromisoformat(processed["timestamp"]).tzinfo is not None
    assert (deleted["type"], deleted["document_id"], deleted["graph_version"]) == ("document.deleted", "cms-1", 2)
    assert [delivery.state for delivery in await stored(service)] == [DeliveryState.DELIVERED] * 2


async def test_an_endpoint_hears_only_of_the_events_that_it_asks_for(service: GraphService, network: Network) -> None:
    async with receiving() as some, receiving() as other:
        a = endpoint(network, some, "a", events=["document.unchanged", "document.rejected"])
        b = endpoint(network, other, "b", events=["document.deleted"])
        async with dispatching(service, a, b):
            await put(service, "1", "same")
            await put(service, "1", "same")
            [_ async for _ in service.process_documents([{"document_id": "2", "content": 3}])]
            await service.delete_document("1")
            await some.until(lambda: len(some.got) == 2)
            await other.until(lambda: len(other.got) == 1)
    assert {got["type"] for got in some.got} == {"document.unchanged", "document.rejected"}
    assert [got["type"] for got in other.got] == ["document.deleted"]


async def test_a_new_endpoint_begins_at_the_head_and_a_known_one_where_it_stood(
    service: GraphService, network: Network
) -> None:
    async with receiving() as old, receiving() as new:
        await put(service, "before", "any endpoint")
        async with dispatching(service, endpoint(network, old, "old")) as dispatcher:
            await put(service, "with", "the first endpoint")
            await old.until(lambda: len(old.got) == 1)
            both = {"old": endpoint(network, old, "old"), "new": endpoint(network, new, "new")}
            await dispatcher.set_endpoints(both)
            await put(service, "then", "both")
            await old.until(lambda: len(old.got) == 2)
            await new.until(lambda: len(new.got) == 1)
        await put(service, "while", "the dispatcher is stopped")
        async with dispatching(service, *both.values()):
            await old.until(lambda: len(old.got) == 3)
            await new.until(lambda: len(new.got) == 2)
    assert [got["document_id"] for got in old.got] == ["with", "then", "while"]
    assert [got["document_id"] for got in new.got] == ["then", "while"]


async def test_an_endpoint_that_was_broken_for_a_while_missed_nothing(service: GraphService, network: Network) -> None:
    async with receiving() as crm, receiving() as other:
        good, mended = endpoint(network, other, "other"), endpoint(network, crm)
        async with dispatching(service, good, mended):
            await put(service, "before", "both work")
            await crm.until(lambda: len(crm.got) == 1)
        async with dispatching(service, good, broken=["crm", "never-worked"]) as restarted:
            await put(service, "while", "its plugin does not import")
            await other.until(lambda: len(other.got) == 2)
            await restarted.set_endpoints({"other": good, "crm": mended})
            await put(service, "after", "both work again")
            await crm.until(lambda: len(crm.got) == 3)
    assert [got["document_id"] for got in crm.got] == ["before", "while", "after"]


async def test_an_endpoint_that_is_no_longer_configured_is_forgotten(service: GraphService, network: Network) -> None:
    async with receiving() as crm, receiving() as other:
        good, back = endpoint(network, other, "other"), endpoint(network, crm)
        async with dispatching(service, good, back) as dispatcher:
            await dispatcher.set_endpoints({"other": good})
            await put(service, "while", "it is gone")
            await other.until(lambda: len(other.got) == 1)
            await dispatcher.set_endpoints({"other": good, "crm": back})
            await put(service, "after", "it is back")
            await crm.until(lambda: len(crm.got) == 1)
    assert [got["document_id"] for got in crm.got] == ["after"]


# ---------------------------------------------------------------- order


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


# ---------------------------------------------------------------- pauses, ends


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


# ---------------------------------------------------------------- callbacks


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


# ---------------------------------------------------------------- connectors that misbehave


class Odd:
    """A plugin's connector that does whatever the test says."""

    def __init__(self, act: Callable[[], Awaitable[Any]]) -> None:
        self.act = act

    async def notify(self, batch: Any) -> Any:
        return await self.act()


async def raising() -> Any:
    raise RuntimeError("a plugin's fault")


async def silent() -> Any:
    return []


async def endless() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("act", "error"),
    [(raising, "RuntimeError"), (silent, "ValueError"), (endless, "no outcome within 0.05 s")],
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


# ---------------------------------------------------------------- stops, restarts, clocks


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
