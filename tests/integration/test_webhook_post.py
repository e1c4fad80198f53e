"""One notification to real receivers that misbehave, through the real client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from core.errors import ConfigError
from hub.net import Network
from hub.notify import Callbacks
from hub.sdk.contract import Notification, Outcome
from hub.sdk.webhooks import StandardWebhook, post

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = Notification("msg_1", "document.processed", datetime(2026, 3, 1, tzinfo=UTC), {"document_id": "a"})
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def receiver(talk: Talk) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks/s3cret?token=s3cret"


def saying(answer: bytes) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return talk


async def sent(talk: Talk, *, timeout: float = 5.0) -> Outcome:
    async with receiver(talk) as url, Network() as network:
        client = network.client("crm", allow_networks=["127.0.0.1/32"])
        signer = StandardWebhook([SecretStr(SECRET)])
        return await post(client, url, EVENT, signer, now=datetime.now(UTC), timeout=timeout)


async def test_a_receiver_that_says_too_much_has_still_taken_it() -> None:
    outcome = await sent(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000))
    assert (outcome.error, outcome.status, outcome.response) == (None, 200, "x" * 1000)


async def test_a_receiver_that_drips_its_answer_is_cut_and_tried_again() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    start = asyncio.get_running_loop().time()
    outcome = await sent(drip, timeout=0.3)
    assert asyncio.get_running_loop().time() - start < 3
    assert "did not answer in full within 0.3 s" in (outcome.error or "")
    assert not outcome.permanent


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "broke off"),
        (b"", "closed the connection"),
        (b"SMTP ready\r\n\r\n", "http://127.0.0.1:"),
    ],
)
async def test_a_broken_answer_is_tried_again_with_a_reason_and_without_the_urls_secrets(
    answer: bytes, said: str
) -> None:
    outcome = await sent(saying(answer))
    assert said in (outcome.error or "")
    assert "s3cret" not in (outcome.error or "")
    assert (outcome.permanent, outcome.gone, outcome.unsent) == (False, False, False)


async def test_retry_after_is_handed_on_in_full_and_then_nothing_is_sent() -> None:
    asked = 0

    async def busy(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b"HTTP/1.1 429 Slow\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with receiver(busy) as url, Network() as network:
        callbacks = Callbacks(network, SecretStr(SECRET), allow_networks=["127.0.0.1/32"])
        to = Notification("msg_1", "query.answered", EVENT.timestamp, {}, target=url)
        (first,) = await callbacks.notify([to])
        (second,) = await callbacks.notify([to])
    assert (first.status, first.retry_after, first.unsent) == (429, 86400, False)
    assert second.unsent
    assert 86390 < (second.retry_after or 0) <= 86400
    assert asked == 1


async def test_a_callback_secret_that_is_not_base64_is_named_by_its_setting() -> None:
    async with Network() as network:
        with pytest.raises(ConfigError, match=r"hub\.callbacks\.secret"):
            Callbacks(network, SecretStr("no base64!"))


async def test_without_a_secret_a_callback_is_not_sent_and_not_lost() -> None:
    async with Network() as network:
        to = Notification("msg_1", "query.answered", EVENT.timestamp, {}, target="https://x.example/")
        (outcome,) = await Callbacks(network, None).notify([to])
    assert "hub.callbacks.secret" in (outcome.error or "")
    assert not outcome.permanent
