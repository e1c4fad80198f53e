"""The rabbitmq connector, in a hub, against a real broker."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from connectors.rabbitmq import client
from connectors.rabbitmq.config import ConsumeConfig, RabbitmqConfig
from core.errors import NotReady
from hub.runtime import Hub, InstanceState
from hub.sdk import hooks
from tests.integration.hub.rig import audited, running, stored, until
from tests.rabbitmq_rig import Line, Wires, own_broker, table, wires

KIND = EntryPoint("rabbitmq", "connectors.rabbitmq.connector", hooks.ENTRY_POINT_GROUP)
Running = Callable[..., AbstractAsyncContextManager[Hub]]


@pytest.fixture
async def broker() -> AsyncIterator[Wires]:
    async with wires() as found:
        yield found


@pytest.fixture
def hub(tmp_path: Path) -> Running:
    def run(*tables: str) -> AbstractAsyncContextManager[Hub]:
        return running(tmp_path, config="\n".join(tables), others=[KIND])

    return run


def body(document_id: str, content: str = "Owls hunt at night.", **metadata: Any) -> bytes:
    return json.dumps({"document_id": document_id, "content": content, "metadata": metadata}).encode()


# ---------------------------------------------------------------- consuming


@pytest.mark.parametrize("kind", ["quorum", "classic"])
async def test_messages_become_documents_in_their_order_and_are_gone_from_the_queue(
    broker: Wires, hub: Running, kind: str
) -> None:
    queue = await broker.queue(kind)
    await broker.publish(queue, *(body(f"d{n % 100}", f"Version {n}.") for n in range(300)))
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed == 300)
        texts = {name: (await running_.service.document(name)).text for name in await stored(running_.service)}
        assert texts == {f"d{n}": f"Version {200 + n}." for n in range(100)}
        assert (await stored(running_.service))["d1"].metadata.source == "in"
        deletion = json.dumps({"type": "document.deleted", "document_id": "d1"}).encode()
        await broker.publish(queue, deletion)
        await until(lambda: running_.instances["in"].status.documents.deleted == 1)
    assert await broker.waiting(queue) == 0


async def test_the_broker_hands_over_no_more_than_the_prefetch(broker: Wires) -> None:
    queue = await broker.queue()
    await broker.publish(queue, *(body(f"d{n}") for n in range(20)))
    config = RabbitmqConfig.model_validate({"url": f"amqp://{broker.at}", "consume": {"queue": queue, "prefetch": 5}})
    assert config.consume is not None
    consumer = client.Consumer(client.Broker(config, "it"), config.consume)
    async with aclosing(consumer.messages()) as messages:
        taken = [await anext(messages) for _ in range(5)]
        assert await broker.waiting(queue) == 15
        await taken[0].ack()
        await anext(messages)
    await until(lambda: _waits(broker, queue, 19))


async def _waits(broker: Wires, queue: str, count: int) -> bool:
    return await broker.waiting(queue) == count


POISON = {
    b"no json": "the body is not JSON",
    b"\xff\xfe\x00": "the body is not UTF-8",
    b'"text"': "must be a JSON object",
    b'{"content": "no id"}': "document_id: is required",
    b'{"document_id": "d", "content": 7}': "content: ",
    "größer".encode("latin-1"): "the body is not UTF-8",
    b"[" * 100_000: "the body",
}


HALF = b'{"documents": [{"document_id": "good", "content": "x"}, {"document_id": "bad"}]}'


async def test_what_cannot_be_read_is_kept_whole_in_the_quarantine_and_its_neighbours_go_on(
    broker: Wires, hub: Running
) -> None:
    queue = await broker.queue()
    await broker.publish(queue, *POISON, body("good"))
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed == 1)
        await until(lambda: _kept(running_, len(POISON)))
        kept = [entry for entry in await running_.quarantine.list() if entry.message_bytes is not None]
        messages = [await running_.quarantine.message("in", entry.document_id) for entry in kept]
        assert {message.message for message in messages} == POISON.keys()
        assert all(message.error.startswith(POISON[message.message]) for message in messages)
        assert len(await audited(running_.service, "message.quarantined")) == len(POISON)
    assert await broker.waiting(queue) == 0


async def _kept(hub: Hub, count: int) -> bool:
    return sum(entry.message_bytes is not None for entry in await hub.quarantine.list()) == count


async def test_of_a_message_that_fits_in_part_what_fits_is_taken_and_the_whole_is_kept(
    broker: Wires, hub: Running
) -> None:
    queue = await broker.queue()
    await broker.publish(queue, HALF)
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        await until(lambda: _kept(running_, 1))
        assert set(await stored(running_.service)) == {"good"}
        assert {entry.document_id for entry in await running_.quarantine.list()} > {"bad"}


async def _dead_lettering(broker: Wires) -> tuple[str, str]:
    """A queue, and the one that its dead letters go to."""
    dead = await broker.queue()
    queue = await broker.queue(**{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    return queue, dead


async def test_poison_goes_to_the_dead_letter_exchange_where_the_admin_says_so(broker: Wires, hub: Running) -> None:
    queue, dead = await _dead_lettering(broker)
    await broker.publish(queue, *POISON, HALF)
    async with hub(table("in", broker.at, consume__queue=queue, consume__poison="dead_letter")) as running_:
        await until(lambda: _waits(broker, dead, len(POISON) + 1))
        assert set(await stored(running_.service)) == {"good"}
        assert await _kept(running_, 0)
    assert {(await broker.take(dead)).body for _ in range(len(POISON) + 1)} == {*POISON, HALF}


async def test_a_message_of_50_mb_is_not_read_goes_to_the_dead_letters_and_holds_up_nobody(
    broker: Wires, hub: Running
) -> None:
    queue, dead = await _dead_lettering(broker)
    huge = body("huge", "owl " * 12_500_000)
    await broker.publish(queue, huge, body("good"))
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        await until(lambda: _waits(broker, dead, 1))
        await until(lambda: running_.instances["in"].status.documents.processed == 1)
        trail = await running_.service.store.audit(action="document.rejected")
        assert "the cap is 16,777,216 (consume.max_bytes)" in str(trail[0].record.detail)
    assert (await broker.take(dead)).body == huge


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(struct.pack(">HQ", 1 << 6, 1_700_000_000 * 10**9), id="a timestamp in nanoseconds"),
        pytest.param(struct.pack(">HB", 1 << 5, 4) + "größ".encode("latin-1"), id="a type that is no UTF-8"),
        pytest.param(struct.pack(">HIB", 1 << 13, 3, 1) + b"\xf6V", id="a header's name that is no UTF-8"),
    ],
)
async def test_properties_that_no_client_can_read_hold_up_nobody(
    broker: Wires, hub: Running, properties: bytes
) -> None:
    from pamqp.commands import Basic

    class Strange(Basic.Properties):
        def marshal(self) -> bytes:
            return properties

    queue = await broker.queue()
    wire = await broker.channel.get_underlay_channel()
    await wire.basic_publish(body("strange"), routing_key=queue, properties=Strange())
    await broker.publish(queue, body("good"))
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed == 2)
        assert set(await stored(running_.service)) == {"strange", "good"}
        assert await audited(running_.service, "connector.failed") == []
    assert await broker.waiting(queue) == 0


async def test_a_queue_that_is_not_there_is_named_and_taken_up_once_it_is(broker: Wires, hub: Running) -> None:
    queue = await broker.queue()
    await broker.delete(queue)
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.last_error)
        assert f"no queue '{queue}'" in str(status.last_error)
        await broker.queue(name=queue)
        await broker.publish(queue, body("a"))
        await until(lambda: status.documents.processed == 1)


async def test_a_queue_that_is_deleted_under_its_consumer_is_noticed_and_taken_up_again(
    broker: Wires, hub: Running
) -> None:
    queue = await broker.queue()
    await broker.publish(queue, body("a"))
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.documents.processed == 1)
        await broker.delete(queue)
        await until(lambda: status.state is InstanceState.WAITING)
        await broker.queue(name=queue)
        await broker.publish(queue, body("b"))
        await until(lambda: status.documents.processed == 2)
        assert await audited(running_.service, "connector.failed") == ["connector.failed in"]


async def test_a_wrong_password_stops_it_and_says_so_without_the_password(broker: Wires, hub: Running) -> None:
    queue = await broker.queue()
    async with hub(table("in", broker.at, password="wrong-one", consume__queue=queue)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.state is InstanceState.FAILED)
        assert "ACCESS_REFUSED" in str(status.last_error)
        assert "wrong-one" not in str(status.last_error)


async def test_a_line_that_is_dead_is_found_out_by_the_watch_and_the_messages_come_again(
    broker: Wires, hub: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.2)
    queue = await broker.queue()
    await broker.publish(queue, body("a"))
    async with Line(broker.at) as line, hub(table("in", line.at, consume__queue=queue)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.documents.processed == 1)
        line.die()
        await until(lambda: status.state is InstanceState.WAITING)
        assert "does not answer" in str(status.last_error)
        line.live()
        await broker.publish(queue, body("b"))
        await until(lambda: status.documents.processed == 2)


async def test_a_consumer_that_the_broker_has_forgotten_is_found_out(
    broker: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "WATCH_SECONDS", 0.1)
    queue = await broker.queue()
    config = ConsumeConfig(queue=queue)
    url = RabbitmqConfig.model_validate({"url": f"amqp://{broker.at}", "consume": {"queue": queue}})
    consumer = client.Consumer(client.Broker(url, "it"), config)
    found = await broker.channel.get_queue(queue)
    with pytest.raises(NotReady, match="has lost its consumers"):
        await consumer._watch(found)
    tag = await found.consume(asyncio.Queue[Any]().put)
    await consumer._watch(found)
    await found.cancel(tag)


async def test_tls_is_spoken_to_a_broker_whose_certificate_is_trusted_and_to_no_other(hub: Running) -> None:
    async with own_broker(tls=True) as broker:
        async with wires(broker.at) as line:
            await line.queue(name="documents")
            await line.publish("documents", body("a"))
        trusted = f"amqps://{broker.tls_at}?cafile={broker.certificate}"
        tables = [
            table("trusting", broker.at, url=trusted, consume__queue="documents"),
            table("strange", broker.at, url=f"amqps://{broker.tls_at}", consume__queue="documents"),
        ]
        async with hub(*tables) as running_:
            await until(lambda: running_.instances["trusting"].status.documents.processed == 1)
            await until(lambda: running_.instances["strange"].status.last_error)
            assert "certificate verify failed" in str(running_.instances["strange"].status.last_error)


# ---------------------------------------------------------------- notifying


async def test_a_notification_is_a_persistent_message_that_names_its_event_and_its_id(
    broker: Wires, hub: Running
) -> None:
    events = await broker.queue()
    config = table(
        "out", broker.at, notify__routing_key=events, notify__events=("document.processed", "document.deleted")
    )
    async with hub(config) as running_:
        await running_.service.process_document(document_id="a", content="Owls hunt at night.")
        await running_.service.delete_document("a")
        await until(lambda: _waits(broker, events, 2))
        deliveries = (await running_.service.store.deliveries(limit=10))[::-1]
    messages = [await broker.take(events) for _ in range(2)]
    assert [message.type for message in messages] == ["document.processed", "document.deleted"]
    assert [message.message_id for message in messages] == [delivery.id for delivery in deliveries]
    assert [json.loads(message.body)["graph_version"] for message in messages] == [1, 2]
    assert {message.delivery_mode for message in messages} == {2}
    assert {message.content_type for message in messages} == {"application/json"}


async def test_an_exchange_gets_the_event_as_routing_key(broker: Wires, hub: Running) -> None:
    events = await broker.queue()
    found = await broker.channel.get_queue(events)
    await found.bind("amq.topic", "document.*")
    async with hub(table("out", broker.at, notify__exchange="amq.topic")) as running_:
        await running_.service.process_document(document_id="a", content="Owls hunt at night.")
        await until(lambda: _waits(broker, events, 1))
    assert (await broker.take(events)).routing_key == "document.processed"


@pytest.mark.parametrize(
    ("notify", "reason"),
    [
        ({"notify__routing_key": "test-no-such-queue"}, "no queue takes it"),
        ({"notify__exchange": "test-no-such-exchange"}, "no exchange 'test-no-such-exchange'"),
    ],
)
async def test_what_no_queue_takes_is_told_and_waits_in_the_hub(
    broker: Wires, hub: Running, notify: dict[str, str], reason: str
) -> None:
    async with hub(table("out", broker.at, **notify)) as running_:
        await running_.service.process_document(document_id="a", content="Owls hunt at night.")
        await until(lambda: _attempted(running_))
        [delivery] = await running_.service.store.deliveries(limit=10)
        [attempt, *_] = await running_.service.store.attempts(delivery.id)
        assert reason in str(attempt.error)
        assert delivery.state == "pending"


async def _attempted(hub: Hub) -> bool:
    deliveries = await hub.service.store.deliveries(limit=10)
    return bool(deliveries) and bool(await hub.service.store.attempts(deliveries[0].id))


async def test_one_connector_does_both_and_says_how_its_broker_is(broker: Wires, hub: Running) -> None:
    queue, events = await broker.queue(), await broker.queue()
    config = table("both", broker.at, consume__queue=queue, notify__routing_key=events)
    await broker.publish(queue, body("a"))
    async with hub(config) as running_:
        instance = running_.instances["both"]
        assert instance.modes == ("consumes", "notifies")
        await until(lambda: _waits(broker, events, 1))
        health = await instance.check()
        assert health.ok
        assert "1 consumers" in health.detail


async def test_a_stop_leaves_what_was_not_taken_in_the_queue(broker: Wires, hub: Running) -> None:
    queue = await broker.queue()
    await broker.publish(queue, *(body(f"d{n}") for n in range(500)))
    async with hub(table("in", broker.at, consume__queue=queue)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed > 0)
    async with hub() as running_:
        taken = len(await stored(running_.service))
        await until(lambda: _waits(broker, queue, 500 - taken))
