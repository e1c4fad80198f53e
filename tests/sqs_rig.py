"""The SQS of `make services`, and a line to it on which calls can be made to fail."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.connector_rig import served

SERVICE = Path(__file__).parents[1] / "build" / "services" / "ministack"
REGION = "eu-central-1"
KEYS = {"access_key_id": "test", "secret_access_key": "test"}


def endpoint() -> str:
    """The URL of the service; skips where none answers."""
    pytest.importorskip("aiobotocore", reason="aiobotocore is not there: `make venv` installs it")
    try:
        address = (SERVICE / "address").read_text(encoding="utf-8").strip()
        host, port = address.rsplit(":", 1)
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        pytest.skip("there is no SQS: `make services` installs and starts MiniStack")
    return f"http://{address}"


class Sqs:
    """What a test itself does at SQS."""

    def __init__(self, client: Any, at: str) -> None:
        self.client = client
        self.at = at

    async def queue(self, *, fifo: bool = False, dead_letters_after: int | None = None, **attributes: str) -> str:
        """A new queue; its URL. With `dead_letters_after` receipts a message moves to the queue of that name with
        `-dead` (before `.fifo`)."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        suffix = ".fifo" if fifo else ""
        if fifo:
            attributes["FifoQueue"] = "true"
        if dead_letters_after is not None:
            dead = await self._create(f"{name}-dead{suffix}", {"FifoQueue": "true"} if fifo else {})
            found = await self.client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
            policy = {
                "deadLetterTargetArn": found["Attributes"]["QueueArn"],
                "maxReceiveCount": str(dead_letters_after),
            }
            attributes["RedrivePolicy"] = json.dumps(policy)
        return await self._create(name + suffix, attributes)

    async def _create(self, name: str, attributes: Mapping[str, str]) -> str:
        made = await self.client.create_queue(QueueName=name, Attributes=dict(attributes))
        return str(made["QueueUrl"])

    async def send(self, url: str, *bodies: str, groups: Sequence[str] = ()) -> None:
        for start in range(0, len(bodies), 10):
            entries = []
            for at, body in enumerate(bodies[start : start + 10]):
                entry = {"Id": str(at), "MessageBody": body}
                if groups:
                    entry |= {"MessageGroupId": groups[start + at], "MessageDeduplicationId": str(uuid.uuid4())}
                entries.append(entry)
            answer = await self.client.send_message_batch(QueueUrl=url, Entries=entries)
            assert not answer.get("Failed"), answer

    async def count(self, url: str) -> tuple[int, int]:
        """Messages that wait, and those that were handed over."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = await self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return int(found["Attributes"][names[0]]), int(found["Attributes"][names[1]])

    async def is_empty(self, url: str) -> bool:
        return await self.count(url) == (0, 0)

    async def take(self, url: str) -> list[dict[str, Any]]:
        """Up to ten that wait now; they are deleted."""
        answer = await self.client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        for message in messages:
            await self.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages


@asynccontextmanager
async def sqs() -> AsyncIterator[Sqs]:
    at = endpoint()
    from aiobotocore.session import get_session

    async with get_session().create_client(
        "sqs", region_name=REGION, endpoint_url=at, aws_access_key_id="test", aws_secret_access_key="test"
    ) as client:
        yield Sqs(client, at)


def table(name: str, at: str, **options: object) -> str:
    """A `[connectors.NAME]` table; nested ones are written with dots, as `consume.queue_url`."""
    values: Mapping[str, object] = {"kind": "sqs", "region": REGION, "endpoint_url": at, **KEYS, **options}
    lines = [f"{key.replace('__', '.')} = {_toml(value)}" for key, value in values.items()]
    return "\n".join([f"[connectors.{name}]", *lines, ""])


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


Fault = Callable[[str, dict[str, Any]], "set[str] | web.Response | None"]
"""Of an action and what it is called with: the ids of the entries that are to be refused, or the whole answer."""


@asynccontextmanager
async def faulty(at: str, fault: Fault) -> AsyncIterator[str]:
    """The URL of a line to SQS on which `fault` says what goes wrong; everything else gets through."""
    async with aiohttp.ClientSession() as session:

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
            action = request.headers.get("x-amz-target", "").rpartition(".")[2]
            told = fault(action, json.loads(body))
            if isinstance(told, web.Response):
                return told
            if not told:
                return await _forward(session, at + request.path_qs, headers, body)
            call = json.loads(body)
            kept = [entry for entry in call["Entries"] if entry["Id"] not in told]
            answer: dict[str, Any] = {"Successful": []}
            if kept:
                forwarded = await _forward(
                    session, at + request.path_qs, headers, json.dumps({**call, "Entries": kept}).encode()
                )
                answer = json.loads(forwarded.body or b"")  # type: ignore[arg-type]
            refused = [
                {"Id": each, "Code": "InternalError", "Message": "not this time", "SenderFault": False}
                for each in sorted(told)
            ]
            answer["Failed"] = [*answer.get("Failed", []), *refused]
            return web.json_response(answer, content_type="application/x-amz-json-1.0")

        async with served(handle) as url:
            yield url


async def _forward(session: aiohttp.ClientSession, url: str, headers: dict[str, str], body: bytes) -> web.Response:
    async with session.post(url, headers=headers, data=body) as response:
        return web.Response(
            status=response.status, body=await response.read(), content_type="application/x-amz-json-1.0"
        )


def throttled() -> web.Response:
    error = {"__type": "com.amazonaws.sqs#ThrottlingException", "message": "Rate exceeded"}
    return web.json_response(error, status=400, content_type="application/x-amz-json-1.0")
