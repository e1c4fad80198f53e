"""NeptuneClient against a real Gremlin server, and against servers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session

from core.aws.neptune import NeptuneClient, g
from core.aws.signing import neptune_headers
from core.errors import ConfigError, GraphServerError, GraphServerUnavailable, InvalidInput, NotFound
from tests.gremlin_rig import NO_TRAVERSER, address, answering, babble, hang, hostile, refuse, results


@pytest.fixture
async def client() -> AsyncIterator[NeptuneClient]:
    host, port = address()
    async with NeptuneClient(host, port, use_ssl=False, pool_size=2) as client:
        await client.query(g.V().drop())
        yield client
        await client.query(g.V().drop())


async def test_a_vertex_is_read_as_it_was_added(client: NeptuneClient) -> None:
    vertex = await client.add_vertex("town", {"name": "Zürich", "people": 436_000, "area": 87.9, "capital": False})
    found = await client.get_vertex(vertex)
    assert found == {
        "id": vertex, "label": "town", "name": "Zürich", "people": 436_000, "area": 87.9, "capital": False,
    }  # fmt: skip
    assert await client.get_vertex("no such vertex") is None


async def test_an_edge_joins_two_vertices_and_one_without_them_is_refused(client: NeptuneClient) -> None:
    ulm = await client.add_vertex("town", {"id": "ulm"})
    danube = await client.add_vertex("river", {"id": "danube"})
    assert (ulm, danube) == ("ulm", "danube")
    edge = await client.add_edge(ulm, danube, "lies_on", {"bank": "left"})
    assert await client.query(g.V("ulm").out("lies_on").id_()) == ["danube"]
    assert await client.query(g.E(edge).values("bank")) == ["left"]
    with pytest.raises(NotFound, match="rhine"):
        await client.add_edge(ulm, "rhine", "lies_on")


async def test_more_calls_than_connections_all_get_their_own_answer(client: NeptuneClient) -> None:
    answers = await asyncio.gather(*(client.query(g.inject(number)) for number in range(60)))
    assert answers == [[number] for number in range(60)]


async def test_a_result_of_several_frames_comes_whole(client: NeptuneClient) -> None:
    assert len(await client.query(g.inject(list(range(1000))).unfold())) == 1000


async def test_a_traversal_that_fails_says_why_and_the_connection_goes_on(client: NeptuneClient) -> None:
    await client.add_vertex("town", {"id": "ulm"})
    with pytest.raises(GraphServerError, match="exists") as refused:
        await client.add_vertex("town", {"id": "ulm"})
    assert not isinstance(refused.value, GraphServerUnavailable)
    assert await client.query(g.V().count()) == [1]


async def test_script_text_is_refused(client: NeptuneClient) -> None:
    with pytest.raises(InvalidInput, match="query"):
        await client.query("g.V().drop()")  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [hang, refuse, babble])
async def test_a_server_that_is_none_is_a_typed_error_within_the_timeout(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async with hostile(answer) as port, NeptuneClient("127.0.0.1", port, use_ssl=False, timeout=0.2) as client:
        with pytest.raises(GraphServerUnavailable, match=f"127.0.0.1:{port}"):
            await client.get_vertex("x")


async def test_an_answer_that_no_traversal_gives_is_a_typed_error() -> None:
    async with answering(NO_TRAVERSER) as port, NeptuneClient("127.0.0.1", port, use_ssl=False) as client:
        with pytest.raises(GraphServerUnavailable, match=f"127.0.0.1:{port}"):
            await client.get_vertex("x")


async def test_an_answer_that_never_ends_is_left_after_the_timeout() -> None:
    async with (
        answering(NO_TRAVERSER, status=206, for_ever=True) as port,
        NeptuneClient("127.0.0.1", port, use_ssl=False, timeout=0.2) as client,
        asyncio.timeout(60),
    ):
        with pytest.raises(GraphServerUnavailable, match="does not answer in time"):
            await client.get_vertex("x")


@pytest.mark.parametrize("bulk", [20_000_000, 2**62])
async def test_an_answer_that_says_it_is_huge_is_not_unfolded(bulk: int) -> None:
    async with answering(results(7, bulk=bulk)) as port, NeptuneClient("127.0.0.1", port, use_ssl=False) as client:
        with pytest.raises(GraphServerUnavailable, match="more than 10,000,000 results"):
            await client.query(g.V())


async def test_closing_does_not_wait_for_a_server_that_hangs() -> None:
    reached = asyncio.Event()

    async def hang_and_tell(_: asyncio.StreamWriter) -> None:
        reached.set()

    async with hostile(hang_and_tell) as port:
        client = NeptuneClient("127.0.0.1", port, use_ssl=False, timeout=600)
        call = asyncio.create_task(client.get_vertex("x"))
        await reached.wait()
        async with asyncio.timeout(60):
            await client.close()
            with pytest.raises(GraphServerUnavailable):
                await call
    with pytest.raises(GraphServerUnavailable, match="closed"):
        await client.get_vertex("x")


async def test_a_call_past_the_bound_is_refused_at_once() -> None:
    async with hostile(hang) as port:
        client = NeptuneClient("127.0.0.1", port, use_ssl=False, pool_size=1, max_waiting=1, timeout=600)
        calls = [asyncio.create_task(client.get_vertex("x")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(GraphServerUnavailable, match="too many"):
            await client.get_vertex("x")
        await client.close()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [GraphServerUnavailable] * 2, "also the one that waited for a thread"


def aws_session() -> Session:
    session = Session()
    session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token")
    return session


async def test_the_websocket_request_is_signed_as_botocore_signs_it() -> None:
    heads: list[dict[str, str]] = []
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        heads.append({"request": lines[0]} | dict(line.split(": ", 1) for line in lines[1:] if line))
        arrived.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with NeptuneClient("127.0.0.1", port, False, "eu-central-1", session=aws_session()) as client:
        with pytest.raises(GraphServerUnavailable):
            await client.get_vertex("x")
    await arrived.wait()
    server.close()
    sent = heads[0]  # an HTTP client may send a GET again on a new connection
    assert sent["request"] == "GET /gremlin HTTP/1.1"
    assert sent["Host"] == f"127.0.0.1:{port}"
    assert sent["X-Amz-Security-Token"] == "a-session-token"
    # Signed again by botocore from what came over the wire, for the moment that it names.
    request = AWSRequest(method="GET", url=f"http://{sent['Host']}/gremlin", headers={})
    request.context["timestamp"] = sent["X-Amz-Date"]
    for name in ("X-Amz-Date", "X-Amz-Security-Token"):
        request.headers[name] = sent[name]
    signer = SigV4Auth(
        Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token"),
        "neptune-db",
        "eu-central-1",
    )
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert sent["Authorization"].endswith(f"Signature={signature}")
    assert "/eu-central-1/neptune-db/aws4_request" in sent["Authorization"]


@pytest.mark.parametrize("url", ["wss://db.example:8182/gremlin", "wss://db.example/gremlin"])
def test_host_date_and_token_are_what_is_signed(url: str) -> None:
    headers = neptune_headers(url, "eu-central-1", aws_session())
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token" in headers["Authorization"]


def test_a_region_without_credentials_is_an_error_of_the_configuration() -> None:
    session = Session()
    session.get_component("credential_provider").providers.clear()
    with pytest.raises(ConfigError, match="credentials"):
        neptune_headers("wss://db.example:8182/gremlin", "eu-central-1", session)
