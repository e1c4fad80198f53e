"""Bedrock as tests meet it: MiniStack, Microburst in front of it, and a server that answers whatever a test says."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from core.aws.bedrock import BedrockClient

SERVICES = Path(__file__).parents[1] / "build" / "services"
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
REGION = "eu-central-1"
MODEL = "eu.anthropic.claude-3-haiku-20240307-v1:0"


def client(url: str, model: str = MODEL, **options: Any) -> BedrockClient:
    return BedrockClient(REGION, model, endpoint_url=url, **{**KEYS, **options})


async def streamed(bedrock: BedrockClient, into: list[str]) -> None:
    """Read a stream to its end, keeping what came before an error."""
    async for piece in bedrock.stream_model("What is red?"):
        into.append(piece)  # noqa: PERF401 - the error takes a comprehension with it


def service_url(name: str) -> str:
    """Where a server of `make services` answers; skips where it does not."""
    try:
        host, port = (SERVICES / name / "address").read_text(encoding="utf-8").strip().rsplit(":", 1)
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        pytest.skip(f"there is no {name}: `make services` installs and starts it")
    return f"http://{host}:{port}"


@asynccontextmanager
async def faults(*rules: Mapping[str, Any]) -> AsyncIterator[str]:
    """The URL of a Bedrock with these faults, in Microburst's words."""
    service_url("ministack")
    url = service_url("microburst")
    async with aiohttp.ClientSession() as session:
        (await session.post(f"{url}/_microburst/rules", json=rules, raise_for_status=True)).close()
        try:
            yield url
        finally:
            (await session.post(f"{url}/_microburst/rules", json=[], raise_for_status=True)).close()


class FakeClock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


# ---------------------------------------------------------------- a server that says what a test wants

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Recorded:
    """One request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: object
    """The other end of the connection that it came over."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def prompt(self) -> str:
        """The text of a request to Converse."""
        text: str = self.json["messages"][0]["content"][0]["text"]
        return text


@dataclass
class ScriptedBedrock:
    """Speaks the wire form of Bedrock Runtime. `answer` is called for each request."""

    url: str = ""
    answer: Answer | None = None
    requests: list[Recorded] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        assert self.answer is not None
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        self.requests.append(Recorded(request.method, request.raw_path, dict(request.headers), body, peer))
        return await self.answer(request)


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[ScriptedBedrock]:
    bedrock = ScriptedBedrock(answer=answer)
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", bedrock.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    bedrock.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield bedrock
    finally:
        await runner.cleanup()


def converse_body(text: str, *, stop: str = "end_turn", tokens: tuple[int, int] = (100, 20)) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": stop,
        "usage": {"inputTokens": tokens[0], "outputTokens": tokens[1], "totalTokens": sum(tokens)},
        "metrics": {"latencyMs": 12},
    }


def says(text: str, **details: Any) -> Answer:
    """A whole answer of Converse."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(converse_body(text, **details))

    return answer


def fails(status: int, code: str, message: str = "no", headers: Mapping[str, str] | None = None) -> Answer:
    """An error in the form of AWS's REST-JSON services."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"message": message}, status=status, headers={"x-amzn-ErrorType": code, **(headers or {})}
        )

    return answer


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other; the last one for ever."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def event(kind: str, payload: Mapping[str, Any], *, message_type: str = "event") -> bytes:
    """One message of AWS's event stream encoding: https://smithy.io/2.0/aws/amazon-eventstream.html"""
    names = {"event": ":event-type", "exception": ":exception-type"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in {
            ":message-type": message_type,
            names[message_type]: kind,
            ":content-type": "application/json",
        }.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def converse_events(*pieces: str, stop: str = "end_turn") -> list[bytes]:
    """A whole stream of Converse."""
    deltas = [event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in pieces]
    return [
        event("messageStart", {"role": "assistant"}),
        *deltas,
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": stop}),
        event("metadata", {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "metrics": {}}),
    ]


def chunk(payload: Mapping[str, Any]) -> bytes:
    """A message of InvokeModelWithResponseStream."""
    return event("chunk", {"bytes": base64.b64encode(json.dumps(payload).encode()).decode()})


def streams(*messages: bytes, end: Answer | None = None) -> Answer:
    """A stream of these messages; then `end`, if there is one, before the connection is closed."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/vnd.amazon.eventstream"})
        await response.prepare(request)
        for message in messages:
            await response.write(message)
        if end is not None:
            await end(request)
        return response

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """Close the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def replies(reply: Callable[[str], str], **details: Any) -> Answer:
    """An answer of Converse that depends on the prompt."""

    async def answer(request: web.Request) -> web.StreamResponse:
        prompt = (await request.json())["messages"][0]["content"][0]["text"]
        return web.json_response(converse_body(reply(prompt), **details))

    return answer


def number_of(prompt: str, part: str) -> int:
    """The number of the first sentence of the evidence that holds `part`."""
    line = next(line for line in prompt.splitlines() if line.startswith("[") and part in line)
    return int(line[1 : line.index("]")])
