"""The client against real servers on the loopback interface."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from core.errors import AuthFailed, NotReady, NotSent, RateLimited
from hub.net import Network
from hub.net.breaker import BreakerState
from hub.net.client import RetryPolicy

LOOPBACK = ["127.0.0.1/32"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names(AbstractResolver):
    """A name server under an attacker's hand: each name has a list of answers, one for each time it is asked."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): list(addresses) for name, addresses in answers.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[str]:
    server = web.Server(handler)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(retries=RetryPolicy(attempts=3, first=0.001, longest=0.002, jitter=0)) as network:
        yield network


def answering(*statuses: int, headers: dict[str, str] | None = None) -> tuple[Handler, list[web.Request]]:
    """A handler that answers these statuses in turn, the last one for ever, and the list of what it got."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        return web.Response(status=statuses[min(len(seen), len(statuses)) - 1], headers=headers, text="body")

    return handler, seen


async def raw_server(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


# ---------------------------------------------------------------- what it does


async def test_a_json_request_arrives_whole_and_its_answer_comes_back(network: Network) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"query": dict(request.query), "body": await request.json()})

    async with serving(echo) as url:
        answer = await network.client("a", allow_networks=LOOPBACK).request(
            "post", f"{url}/x?a=1", params={"b": "2"}, json={"ü": 1}
        )
    assert answer.status == 200
    assert answer.text() == '{"query": {"a": "1", "b": "2"}, "body": {"\\u00fc": 1}}'


async def test_reading_is_tried_again_and_writing_is_not(network: Network) -> None:
    client = network.client("a", allow_networks=LOOPBACK)
    handler, seen = answering(502, 503, 200)
    async with serving(handler) as url:
        assert (await client.request("GET", url)).status == 200
    assert len(seen) == 3
    handler, seen = answering(502, 200)
    async with serving(handler) as url:
        with pytest.raises(NotReady, match="502 Bad Gateway"):
            await client.request("POST", url, data=b"x")
    assert len(seen) == 1


async def test_nothing_is_sent_within_retry_after(network: Network) -> None:
    client = network.client("a", allow_networks=LOOPBACK)
    handler, seen = answering(429, headers={"Retry-After": "30"})
    async with serving(handler) as url:
        with pytest.raises(RateLimited) as caught:
            await client.request("GET", url)
        assert caught.value.retry_after == 30
        with pytest.raises(NotSent) as held:
            await network.client("a", allow_networks=LOOPBACK).request("GET", url)
    assert 29 < (held.value.retry_after or 0) <= 30
    assert len(seen) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told_apart(network: Network, status: int) -> None:
    handler, _ = answering(status)
    async with serving(handler) as url:
        with pytest.raises(AuthFailed, match="check the credentials"):
            await network.client("a", allow_networks=LOOPBACK).request("GET", url)


async def test_without_raise_for_status_every_answer_is_handed_back(network: Network) -> None:
    handler, seen = answering(502)
    async with serving(handler) as url:
        answer = await network.client("a", allow_networks=LOOPBACK).request("GET", url, raise_for_status=False)
    assert (answer.status, answer.body, len(seen)) == (502, b"body", 1)


async def test_failures_open_the_accounts_breaker_and_no_other(network: Network) -> None:
    client = network.client("down", allow_networks=LOOPBACK)
    handler, seen = answering(500)
    async with serving(handler) as url:
        for _ in range(5):
            with pytest.raises(NotReady):
                await client.request("POST", url)
        with pytest.raises(NotSent, match="500 Internal Server Error"):
            await client.request("POST", url)
        assert len(seen) == 5
        with pytest.raises(NotReady, match="answered 500"):
            await network.client("other", allow_networks=LOOPBACK).request("POST", url)
    assert [(health.account, health.breaker) for health in network.health() if health.account == "down"] == [
        ("down", BreakerState.OPEN)
    ]


# ---------------------------------------------------------------- where it goes


async def test_a_private_target_is_refused_before_a_packet_is_sent(network: Network) -> None:
    handler, seen = answering(200)
    async with serving(handler) as url:
        with pytest.raises(NotReady, match=r"127\.0\.0\.1 is not a public address"):
            await network.client("a").request("GET", url)
    assert seen == []


async def test_a_name_that_resolves_to_a_private_address_is_refused() -> None:
    handler, seen = answering(200)
    async with (
        serving(handler) as url,
        Network(resolver=Names(inside_example=["127.0.0.1"])) as network,
    ):
        with pytest.raises(NotReady, match=r"127\.0\.0\.1 is not a public address"):
            await network.client("a").request("GET", url.replace("127.0.0.1", "inside.example"))
    assert seen == []


async def test_a_name_that_changes_its_address_gains_nothing() -> None:
    """DNS rebinding: allowed the first time it is asked, private the second; every connection is judged anew."""
    handler, seen = answering(200)
    async with (
        serving(handler) as url,
        Network(resolver=Names(rebind_example=["127.0.0.1", "127.0.0.2"])) as network,
    ):
        port = url.rpartition(":")[2]
        client = network.client("a", allow_networks=LOOPBACK)
        target = f"http://rebind.example:{port}"
        assert (await client.request("GET", target, headers={"Connection": "close"})).status == 200
        with pytest.raises(NotReady, match=r"127\.0\.0\.2 is not a public address"):
            await client.request("GET", target)
    assert len(seen) == 1


async def test_a_connection_of_a_looser_policy_is_not_reused_by_a_stricter_one() -> None:
    handler, seen = answering(200)
    async with (
        serving(handler) as url,
        Network(resolver=Names(inside_example=["127.0.0.1"])) as network,
    ):
        target = url.replace("127.0.0.1", "inside.example")
        assert (await network.client("loose", allow_networks=LOOPBACK).request("GET", target)).status == 200
        with pytest.raises(NotReady, match="not a public address"):
            await network.client("strict").request("GET", target)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "inside",
    ["http://127.0.0.2:{port}/", "http://inside.example:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/"],
)
async def test_a_redirect_to_a_private_place_is_refused(inside: str) -> None:
    handler, seen = answering(200)
    async with serving(handler, "127.0.0.2") as private:
        location = inside.format(port=private.rpartition(":")[2])
        redirect, _ = answering(302, headers={"Location": location})
        async with (
            serving(redirect) as url,
            Network(
                resolver=Names(inside_example=["127.0.0.2"], localhost=["127.0.0.2"]), retries=RetryPolicy(attempts=1)
            ) as network,
        ):
            with pytest.raises(NotReady, match="allow_networks does not name"):
                await network.client("a", allow_networks=LOOPBACK).request("GET", url)
    assert seen == []


async def test_redirects_are_followed_a_few_times_and_secrets_stay_at_home(network: Network) -> None:
    landed, seen = answering(200)
    async with serving(landed) as target:
        away, passed = answering(307, headers={"Location": f"{target}/landing"})
        async with serving(away) as url:
            client = network.client("a", allow_networks=LOOPBACK)
            headers = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "If-None-Match": '"1"'}
            answer = await client.request("GET", url, headers=headers)
    assert answer.url == f"{target}/landing"
    assert passed[0].headers["X-Api-Key"] == "s3cret"
    assert "s3cret" not in str(seen[0].headers)
    assert seen[0].headers["If-None-Match"] == '"1"'


async def test_a_redirect_loop_ends(network: Network) -> None:
    handler, seen = answering(302, headers={"Location": "/again"})
    async with serving(handler) as url:
        with pytest.raises(NotReady, match="redirects more than 5 times"):
            await network.client("a", allow_networks=LOOPBACK).request("GET", url)
    assert len(seen) == 6


async def test_a_write_is_never_redirected(network: Network) -> None:
    handler, seen = answering(307, 200, headers={"Location": "/elsewhere"})
    async with serving(handler) as url:
        with pytest.raises(NotReady, match="307"):
            await network.client("a", allow_networks=LOOPBACK).request("POST", url, data=b"x")
    assert len(seen) == 1


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1."])
async def test_odd_spellings_of_loopback_do_not_pass(network: Network, host: str) -> None:
    handler, seen = answering(200)
    async with serving(handler) as url:
        with pytest.raises(NotReady):
            await network.client("a").request("GET", f"http://{host}:{url.rpartition(':')[2]}/")
    assert seen == []


# ---------------------------------------------------------------- how much and how long


async def test_an_oversize_answer_is_refused_or_cut(network: Network) -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 300_000)

    async with serving(large) as url:
        client = network.client("a", allow_networks=LOOPBACK)
        with pytest.raises(NotReady, match="longer than 200,000 bytes"):
            await client.request("GET", url, max_bytes=200_000)
        answer = await client.request("GET", url, max_bytes=200_000, cut=True)
        assert len(answer.body) == 200_000
        assert len((await client.request("GET", url, max_bytes=300_000)).body) == 300_000


async def test_a_small_answer_that_unpacks_to_a_huge_one_is_refused(network: Network) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    async def explode(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with serving(explode) as url:
        with pytest.raises(NotReady, match="longer than 1,000,000 bytes"):
            await network.client("a", allow_networks=LOOPBACK).request("GET", url, max_bytes=1_000_000)


async def test_a_peer_that_drips_its_body_is_cut_at_the_deadline(network: Network) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    server = await raw_server(drip)
    async with server:
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(NotReady, match=r"did not answer in full within 0\.3 s"):
            await network.client("a", allow_networks=LOOPBACK).request("POST", f"http://127.0.0.1:{port}/", timeout=0.3)
        assert loop.time() - start < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_not_ready_with_a_reason(network: Network, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    server = await raw_server(talk)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotReady, match=f"127.0.0.1:{port}"):
            await network.client("a", allow_networks=LOOPBACK).request("GET", f"http://127.0.0.1:{port}/")


async def test_no_message_repeats_a_secret_of_the_url(network: Network) -> None:
    client = network.client("a", allow_networks=LOOPBACK)
    handler, _ = answering(500)
    messages = []
    async with serving(handler) as url:
        port = url.rpartition(":")[2]
        with pytest.raises(NotReady) as caught:
            await client.request("POST", f"http://admin:hunter2@127.0.0.1:{port}/hooks/T0/s3cret?token=s3cret")
        messages.append(caught.value.message)
    for url in (
        f"http://admin:hunter2@127.0.0.1:{port}/s3cret?token=s3cret",
        "http://admin:hunter2@10.0.0.1/s3cret?token=s3cret",
        "http://admin:hunter2@no-such-host.invalid/s3cret?s3cret",
        "gopher://hunter2@x/s3cret",
    ):
        with pytest.raises(NotReady) as caught:
            await client.request("POST", url)
        messages.append(caught.value.message)
    assert all("hunter2" not in message and "s3cret" not in message for message in messages), messages


async def test_a_closed_network_gives_no_client() -> None:
    network = Network()
    network.client("a")
    await network.close()
    with pytest.raises(RuntimeError):
        network.client("a")
