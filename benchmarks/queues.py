"""A hub that consumes a queue, beside a loop that takes the same messages from it and throws them away."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aio_pika
from aiobotocore.session import get_session

from benchmarks.corpus import read_documents
from core.memory import keep_little
from core.service import create_graph_service
from hub.cli.interpreter import collect_rarely, switch_often
from hub.config import load_config
from hub.runtime import Hub

SERVICES = Path(__file__).parents[1] / "build" / "services"
PREFETCH = 200
SENT_AT_ONCE = 100
LOOK_SECONDS = 0.01


def server(name: str) -> str | None:
    """Host and port of the server of `make services`; None where none answers."""
    try:
        address = (SERVICES / name / "address").read_text(encoding="utf-8").strip()
        host, port = address.rsplit(":", 1)
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return None
    return address


async def rabbitmq(documents: str, folder: str, at: str) -> dict[str, float]:
    """Seconds of the hub (`hub`) from its first message until the last is acknowledged, and of the bare loop
    (`limit`): quorum queues, persistent messages."""
    bodies = bodies_of(documents)
    url = f"amqp://guest:guest@{at}/"
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queues = [await declare(channel, bodies) for _ in range(2)]
        bare = await _bare_rabbitmq(url, queues[0], len(bodies))

        async def waiting() -> int:
            found = await (await channel.get_queue(queues[1])).declare()
            return int(found.message_count)

        table = [f'url = "amqp://{at}"', f'consume.queue = "{queues[1]}"', f"consume.prefetch = {PREFETCH}"]
        hub = await _hub("rabbitmq", table, Path(folder), len(bodies), waiting)
        for queue in queues:
            await channel.queue_delete(queue)
    return {"hub": hub, "limit": bare}


async def sqs(documents: str, folder: str, at: str) -> dict[str, float]:
    """Seconds of the hub (`hub`) from its first message until the last is deleted, and of the bare loop (`limit`)."""
    bodies = [body.decode() for body in bodies_of(documents)]
    keys = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}
    async with get_session().create_client(
        "sqs", region_name="us-east-1", endpoint_url=f"http://{at}", **keys
    ) as client:
        urls = [await _create(client, bodies) for _ in range(2)]
        bare = await _bare_sqs(client, urls[0], len(bodies))

        async def waiting() -> int:
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            found = await client.get_queue_attributes(QueueUrl=urls[1], AttributeNames=names)
            return sum(int(found["Attributes"][name]) for name in names)

        table = ['region = "us-east-1"', f'endpoint_url = "http://{at}"', 'access_key_id = "bench"']
        table += ['secret_access_key = "bench"', f'consume.queue_url = "{urls[1]}"']
        hub = await _hub("sqs", table, Path(folder), len(bodies), waiting)
        for url in urls:
            await client.delete_queue(QueueUrl=url)
    return {"hub": hub, "limit": bare}


def bodies_of(documents: str) -> list[bytes]:
    """The corpus as messages."""
    return [json.dumps(document).encode() for document in read_documents(Path(documents))]


async def _hub(
    kind: str, table: Sequence[str], folder: Path, count: int, waiting: Callable[[], Awaitable[int]]
) -> float:
    collect_rarely()  # as every `aime` command does
    switch_often()
    keep_little()
    path = folder / "plugins.toml"
    path.write_text("\n".join(["[hub]", "[connectors.in]", f'kind = "{kind}"', *table, ""]), encoding="utf-8")
    async with await create_graph_service(f"sqlite:{folder / 'aime.db'}") as service:
        await service.catch_up()
        begun = time.perf_counter()
        async with Hub(load_config(path), service=service) as hub:
            done = hub.instances["in"].status.documents
            while done.processed < count or await waiting():  # noqa: ASYNC110 - a queue announces nothing
                await asyncio.sleep(LOOK_SECONDS)
            seconds = time.perf_counter() - begun
    if left := await waiting():
        raise RuntimeError(f"{left} messages were not acknowledged")
    return seconds


async def declare(channel: Any, bodies: Sequence[bytes], name: str | None = None) -> str:
    """A durable quorum queue, new unless it is named, with these messages put into it; its name."""
    name = name or f"bench-{uuid.uuid4().hex[:12]}"
    await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
    for start in range(0, len(bodies), SENT_AT_ONCE):
        messages = [
            aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            for body in bodies[start : start + SENT_AT_ONCE]
        ]
        await asyncio.gather(*(channel.default_exchange.publish(message, name) for message in messages))
    return name


async def _bare_rabbitmq(url: str, queue: str, count: int) -> float:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        found = await channel.get_queue(queue)
        done = asyncio.Event()
        left = count

        async def take(message: Any) -> None:
            nonlocal left
            await message.ack()
            left -= 1
            if not left:
                done.set()

        begun = time.perf_counter()
        await found.consume(take)
        await done.wait()
        return time.perf_counter() - begun


async def _create(client: Any, bodies: Sequence[str]) -> str:
    made = await client.create_queue(QueueName=f"bench-{uuid.uuid4().hex[:12]}")
    url = str(made["QueueUrl"])
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies[start : start + 10])]
        answer = await client.send_message_batch(QueueUrl=url, Entries=entries)
        if answer.get("Failed"):
            raise RuntimeError(f"not sent: {answer['Failed'][0]}")
    return url


async def _bare_sqs(client: Any, url: str, count: int) -> float:
    begun = time.perf_counter()
    while count > 0:
        answer = await client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        entries = [
            {"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]} for at, each in enumerate(answer["Messages"])
        ]
        await client.delete_message_batch(QueueUrl=url, Entries=entries)
        count -= len(entries)
    return time.perf_counter() - begun
