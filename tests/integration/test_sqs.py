"""The sqs connector, in a hub, against a real SQS service."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from connectors.sqs.client import Queue
from connectors.sqs.config import SqsConfig
from connectors.sqs.connector import Outbound, create
from connectors.sqs.receiving import Receiver
from core.errors import NotReady
from hub.runtime import Hub, InstanceState
from hub.sdk import Notification, Outcome, hooks
from tests.connector_rig import context
from tests.integration.hub.rig import audited, running, stored, until
from tests.sqs_rig import KEYS, REGION, Sqs, faulty, sqs, table, throttled

KIND = EntryPoint("sqs", "connectors.sqs.connector", hooks.ENTRY_POINT_GROUP)
Running = Callable[..., AbstractAsyncContextManager[Hub]]
LOG = structlog.stdlib.get_logger("test")


@pytest.fixture
async def service() -> AsyncIterator[Sqs]:
    async with sqs() as found:
        yield found


@pytest.fixture
def hub(tmp_path: Path) -> Running:
    def run(*tables: str) -> AbstractAsyncContextManager[Hub]:
        return running(tmp_path, config="\n".join(tables), others=[KIND])

    return run


def body(document_id: str, content: str = "Owls hunt at night.") -> str:
    return json.dumps({"document_id": document_id, "content": content})


def config(at: str, **table_: Any) -> SqsConfig:
    return SqsConfig.model_validate({"region": REGION, "endpoint_url": at, **KEYS, **table_})


# ---------------------------------------------------------------- consuming


async def test_messages_become_documents_and_are_deleted(service: Sqs, hub: Running) -> None:
    url = await service.queue()
    await service.send(url, *(body(f"d{number}") for number in range(300)))
    async with hub(table("in", service.at, consume__queue_url=url)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed == 300)
        await until(lambda: service.is_empty(url))
        assert set(await stored(running_.service)) == {f"d{number}" for number in range(300)}
        assert len(await running_.service.changes(0, limit=1000)) == 300


async def test_a_fifo_queue_keeps_the_order_of_each_document(service: Sqs, hub: Running) -> None:
    url = await service.queue(fifo=True)
    names = [f"d{number % 7}" for number in range(140)]
    await service.send(url, *(body(name, f"Version {at}.") for at, name in enumerate(names)), groups=names)
    async with hub(table("in", service.at, consume__queue_url=url, consume__receivers=4)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed == 140)
        await until(lambda: service.is_empty(url))
        seen: dict[str, list[int]] = {}
        for entry in await running_.service.changes(0, limit=1000):
            view = await running_.service.document(entry.document_id, as_of_version=entry.version)
            seen.setdefault(entry.document_id, []).append(int(view.text.split()[1].rstrip(".")))
    assert all(versions == sorted(versions) for versions in seen.values())
    assert Counter(map(len, seen.values())) == {20: 7}


POISON = {
    "no json": "the body is not JSON",
    '{"content": "no id"}': "document_id: is required",
    "[" * 100_000: "the body",
}


async def test_what_cannot_be_read_is_kept_whole_in_the_quarantine_and_deleted(service: Sqs, hub: Running) -> None:
    url = await service.queue()
    huge = json.dumps({"content": "owl " * 262_000})
    assert 1_048_000 < len(huge) < 1_048_576
    await service.send(url, *POISON, body("good"))
    await service.send(url, huge)
    async with hub(table("in", service.at, consume__queue_url=url)) as running_:
        await until(lambda: service.is_empty(url))
        kept = [entry for entry in await running_.quarantine.list() if entry.message_bytes is not None]
        messages = [await running_.quarantine.message("in", entry.document_id) for entry in kept]
        assert {message.message.decode() for message in messages} == {*POISON, huge}
        assert len(await audited(running_.service, "message.quarantined")) == 4
        assert set(await stored(running_.service)) == {"good"}


async def test_poison_goes_to_the_dead_letter_queue_where_the_admin_says_so(service: Sqs, hub: Running) -> None:
    url = await service.queue(dead_letters_after=2)
    await service.send(url, "no json", body("good"))
    async with hub(table("in", service.at, consume__queue_url=url, consume__poison="dead_letter")) as running_:
        await until(lambda: service.is_empty(url))
        assert set(await stored(running_.service)) == {"good"}
    assert [message["Body"] for message in await service.take(f"{url}-dead")] == ["no json"]


async def test_a_message_that_is_long_at_work_stays_hidden_from_others(service: Sqs) -> None:
    url = await service.queue()
    await service.send(url, body("a"))
    hidden = asyncio.Queue[str]()

    def watch(action: str, _: dict[str, Any]) -> None:
        if action == "ChangeMessageVisibilityBatch":
            hidden.put_nowait(action)

    async with faulty(service.at, watch) as line:
        settings = config(line, consume={"queue_url": url, "visibility": "3s"})
        assert settings.consume is not None
        queue = Queue(settings, url, context())
        receiver = Receiver(queue, settings.consume, LOG)
        async with aclosing(receiver.messages()) as messages:
            message = await anext(messages)
            for _ in range(5):  # once a second: by then its first three seconds are over
                await hidden.get()
            assert await service.count(url) == (0, 1)
            await receiver.delete(message)
        await queue.aclose()
    assert await service.is_empty(url)


async def test_what_is_not_settled_at_a_stop_is_given_back_at_once(service: Sqs) -> None:
    url = await service.queue()
    await service.send(url, *(body(f"d{number}") for number in range(10)))
    given_back: list[str] = []

    def watch(action: str, call: dict[str, Any]) -> None:
        if action == "ChangeMessageVisibilityBatch":
            given_back.extend(each["ReceiptHandle"] for each in call["Entries"] if each["VisibilityTimeout"] == 0)

    async with faulty(service.at, watch) as line:
        settings = config(line, consume={"queue_url": url, "receivers": 1})
        assert settings.consume is not None
        queue = Queue(settings, url, context())
        receiver = Receiver(queue, settings.consume, LOG)
        async with aclosing(receiver.messages()) as messages:
            first = await anext(messages)
            await receiver.delete(first)
            await anext(messages)
        await queue.aclose()
    assert len(set(given_back) - {first.receipt}) == len(given_back) == 9


async def test_an_entry_that_is_not_deleted_with_its_batch_is_deleted_with_another(service: Sqs, hub: Running) -> None:
    url = await service.queue()
    refused: Counter[str] = Counter()

    def fault(action: str, call: dict[str, Any]) -> set[str] | None:
        if action != "DeleteMessageBatch":
            return None
        found = {each["Id"] for each in call["Entries"] if not refused[each["ReceiptHandle"]]}
        refused.update(each["ReceiptHandle"] for each in call["Entries"])
        return {each for each in found if int(each) % 2}

    await service.send(url, *(body(f"d{number}") for number in range(100)))
    async with faulty(service.at, fault) as line, hub(table("in", line, consume__queue_url=url)) as running_:
        await until(lambda: service.is_empty(url))
        assert not running_.instances["in"].status.failures
        assert len(await running_.service.changes(0, limit=1000)) == 100
    assert max(refused.values()) == 2


async def test_an_entry_that_is_never_deleted_is_an_outage_and_its_message_comes_again(
    service: Sqs, hub: Running
) -> None:
    url = await service.queue()
    broken = True

    def fault(action: str, call: dict[str, Any]) -> set[str] | None:
        return {each["Id"] for each in call["Entries"]} if action == "DeleteMessageBatch" and broken else None

    await service.send(url, body("a"))
    # The poll that an outage cuts off may still take the message, at the service's end: it is hidden for a while then.
    async with (
        faulty(service.at, fault) as line,
        hub(table("in", line, consume__queue_url=url, consume__visibility="3s")) as running_,
    ):
        await until(lambda: running_.instances["in"].status.last_error)
        assert "InternalError: not this time" in str(running_.instances["in"].status.last_error)
        broken = False
        await until(lambda: service.is_empty(url))
        assert len(await running_.service.changes(0)) == 1, "what comes again is unchanged"


async def test_throttling_is_waited_out(service: Sqs, hub: Running) -> None:
    url = await service.queue()
    await service.send(url, body("a"))
    answers = [throttled(), throttled()]

    def fault(action: str, _: dict[str, Any]) -> web.Response | None:
        return answers.pop() if action == "ReceiveMessage" and answers else None

    async with faulty(service.at, fault) as line, hub(table("in", line, consume__queue_url=url)) as running_:
        await until(lambda: running_.instances["in"].status.documents.processed == 1)
        assert "Rate exceeded" in str(running_.instances["in"].status.last_error)
        assert await audited(running_.service, "connector.failed") == [], "a limit is no outage"


def garbage(body: str, content_type: str = "application/x-amz-json-1.0") -> Callable[[], web.Response]:
    return lambda: web.Response(text=body, content_type=content_type)


@pytest.mark.parametrize(
    "answer",
    [
        garbage("<html>Log in first</html>", "text/html"),
        garbage("[]"),
        garbage('{"Messages": [7]}'),
        garbage('{"Messages": [{"Body": "{}", "ReceiptHandle": "r"}]}'),
    ],
    ids=["the page of a proxy", "a list", "messages that are none", "a message without its count"],
)
async def test_a_service_that_answers_garbage_is_an_outage_and_comes_back(
    service: Sqs, hub: Running, answer: Callable[[], web.Response]
) -> None:
    url = await service.queue()
    await service.send(url, body("a"))
    answers = [answer() for _ in range(2)]  # one for each receiver

    def fault(action: str, _: dict[str, Any]) -> web.Response | None:
        return answers.pop() if action == "ReceiveMessage" and answers else None

    async with faulty(service.at, fault) as line, hub(table("in", line, consume__queue_url=url)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.documents.processed == 1)
        assert "what it answers is no answer of SQS" in str(status.last_error)


async def test_a_queue_that_is_not_there_is_named_and_taken_up_once_it_is(service: Sqs, hub: Running) -> None:
    url = await service.queue()
    await service.client.delete_queue(QueueUrl=url)
    async with hub(table("in", service.at, consume__queue_url=url)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.last_error)
        assert url in str(status.last_error)
        assert "does not exist" in str(status.last_error)
        await service.client.create_queue(QueueName=url.rpartition("/")[2])
        await service.send(url, body("a"))
        await until(lambda: status.documents.processed == 1)


async def test_keys_that_are_refused_stop_it_and_are_not_shown(service: Sqs, hub: Running) -> None:
    url = await service.queue()

    def fault(*_: object) -> web.Response:
        error = {"__type": "com.amazon.coral.service#InvalidClientTokenId", "message": "The security token is invalid."}
        return web.json_response(error, status=403, content_type="application/x-amz-json-1.0")

    async with faulty(service.at, fault) as line, hub(table("in", line, consume__queue_url=url)) as running_:
        status = running_.instances["in"].status
        await until(lambda: status.state is InstanceState.FAILED)
        assert "The security token is invalid." in str(status.last_error)


# ---------------------------------------------------------------- notifying


def notification(number: int, document_id: str = "d", **data: Any) -> Notification:
    now = datetime.now(UTC)
    return Notification(f"msg_{number}", "document.processed", now, {"document_id": document_id, **data})


async def test_a_notification_is_a_message_that_names_its_event(service: Sqs, hub: Running) -> None:
    url = await service.queue()
    async with hub(table("out", service.at, notify__queue_url=url)) as running_:
        await running_.service.process_document(document_id="a", content="Owls hunt at night.")
        await until(lambda: _holds(service, url, 1))
    [message] = await service.take(url)
    assert json.loads(message["Body"])["document_id"] == "a"
    assert message["MessageAttributes"]["type"]["StringValue"] == "document.processed"


async def _holds(service: Sqs, url: str, count: int) -> bool:
    return (await service.count(url))[0] == count


async def test_each_entry_of_a_batch_has_an_outcome_of_its_own(service: Sqs) -> None:
    url = await service.queue()
    settings = config(service.at, notify={"queue_url": url})

    def fault(action: str, call: dict[str, Any]) -> set[str] | None:
        return {"2", "5"} if action == "SendMessageBatch" else None

    async with faulty(service.at, fault) as line:
        there = create(settings.model_copy(update={"endpoint_url": line}), context())
        assert isinstance(there, Outbound)
        outcomes = await there.notify([notification(number) for number in range(7)])
        await there.aclose()
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, True, True, False, True]
    assert outcomes[2] == Outcome("InternalError: not this time", status=500)
    assert (await service.count(url))[0] == 5


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (garbage("<html>Log in first</html>", "text/html"), "what it answers is no answer of SQS"),
        (garbage("{}"), "the answer does not name it"),
    ],
)
async def test_a_notification_that_the_service_does_not_confirm_is_not_sent(
    service: Sqs, answer: Callable[[], web.Response], error: str
) -> None:
    url = await service.queue()
    settings = config(service.at, notify={"queue_url": url})
    async with faulty(service.at, lambda *_: answer()) as line:
        there = create(settings.model_copy(update={"endpoint_url": line}), context())
        assert isinstance(there, Outbound)
        [outcome] = await there.notify([notification(1)])
        await there.aclose()
    assert error in str(outcome.error)
    assert not outcome.permanent


async def test_a_notification_over_1_mib_is_refused_by_name_and_its_neighbours_go_on(service: Sqs) -> None:
    url = await service.queue()
    there = create(config(service.at, notify={"queue_url": url}), context())
    assert isinstance(there, Outbound)
    big = [notification(number, text="x" * 400_000) for number in range(5)]
    outcomes = await there.notify([*big, notification(9, text="x" * 1_048_576)])
    await there.aclose()
    assert [outcome.error for outcome in outcomes[:5]] == [None] * 5
    assert outcomes[5].permanent
    assert "SQS takes messages of at most 1,048,576" in str(outcomes[5].error)
    assert (await service.count(url))[0] == 5


async def test_a_fifo_queue_gets_each_documents_events_in_order_and_none_twice(service: Sqs) -> None:
    url = await service.queue(fifo=True)
    there = create(config(service.at, notify={"queue_url": url}), context())
    assert isinstance(there, Outbound)
    odd = "Größe/ " + "x" * 200
    batch = [notification(number, odd if number % 2 else "d", graph_version=number) for number in range(6)]
    assert [outcome.error for outcome in await there.notify(batch)] == [None] * 6
    assert [outcome.error for outcome in await there.notify(batch)] == [None] * 6
    await there.aclose()
    messages = await service.take(url)
    groups: dict[str, list[int]] = {}
    for message in messages:
        groups.setdefault(message["Attributes"]["MessageGroupId"], []).append(
            json.loads(message["Body"])["graph_version"]
        )
    assert sorted(groups.values()) == [[0, 2, 4], [1, 3, 5]]


async def test_a_service_that_is_away_has_sent_nothing(service: Sqs) -> None:
    url = await service.queue()
    there = create(config("http://127.0.0.1:9", notify={"queue_url": url}), context())
    assert isinstance(there, Outbound)
    [outcome] = await there.notify([notification(1)])
    await there.aclose()
    assert outcome.unsent
    assert outcome.retry_after


async def test_a_receiver_hears_of_an_outage(service: Sqs) -> None:
    settings = config("http://127.0.0.1:9", consume={"queue_url": "http://127.0.0.1:9/000000000000/x"})
    assert settings.consume is not None
    queue = Queue(settings, str(settings.consume.queue_url), context())
    async with aclosing(Receiver(queue, settings.consume, LOG).messages()) as messages:
        with pytest.raises(NotReady, match="127.0.0.1:9"):
            await anext(messages)
    await queue.aclose()
