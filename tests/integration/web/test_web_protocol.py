"""What a stranger can do to the server with HTTP itself."""

from __future__ import annotations

import asyncio
import logging

import pytest

from core.service import ServiceOptions
from tests.integration.web.rig import OpenSite, Site


async def raw(site: Site, data: bytes, *, end: bool = False) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(data)
    if end:
        writer.write_eof()
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_path_that_is_not_there_is_a_problem(site: Site) -> None:
    answer = await site.call("GET", "/nothing/here", status=404)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/documents", "GET, POST"),
        ("POST", "/documents/a/b", "DELETE, GET"),
        ("DELETE", "/documents/batch", None),
        ("GET", "/query", "POST"),
        ("TRACE", "/healthz", "GET"),
        ("PATCH", "/admin/connectors/x/run", "POST"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_405_with_those_it_has(
    site: Site, method: str, path: str, allow: str | None
) -> None:
    answer = await site.call(method, path, status=None)
    if allow is None:
        assert answer.status == 404  # a document of that name
    else:
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
        assert answer.json["code"] == "method_not_allowed"


async def test_every_answer_carries_a_request_id_and_takes_the_callers(site: Site) -> None:
    first = await site.call("GET", "/healthz")
    second = await site.call("GET", "/nope", status=404)
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    assert second.json["instance"] == f"urn:aime:request:{second.headers['X-Request-Id']}"
    given = await site.call("GET", "/healthz", headers={"X-Request-Id": "trace-1.2_3"})
    assert given.headers["X-Request-Id"] == "trace-1.2_3"
    forged = await site.call("GET", "/healthz", headers={"X-Request-Id": "a b<script>"})
    assert "script" not in forged.headers["X-Request-Id"]


async def test_every_answer_forbids_sniffing(site: Site) -> None:
    for path in ("/healthz", "/nope", "/docs", "/changes"):
        assert (await site.call("GET", path, status=None)).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/documents/%00", "/documents/%ff%fe", "/documents/%ED%A0%80", "/documents/..%2f..%2fetc%2fpasswd", "/%"]
)
async def test_a_strange_path_is_no_server_error(site: Site, path: str) -> None:
    answer = await raw(site, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.0 400", b"HTTP/1.1 400")), answer


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
async def test_what_is_no_http_is_400_without_a_traceback_anywhere(
    site: Site, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await raw(site, request_, end=True)
    assert answer == b"" or answer.split(b" ", 2)[1] == b"400", answer
    assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.exc_info]
    assert (await site.add("after"))["status"] == "processed"


async def test_a_body_that_ends_too_early_commits_nothing(site: Site) -> None:
    head = (
        "POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    )
    await raw(site, head.encode() + b'{"document_id":"a","content":"b"}', end=True)
    assert await site.service.head() == 0


async def test_headers_that_are_no_text_are_refused_and_not_an_error(site: Site) -> None:
    for name in (b"Authorization", b"X-API-Key", b"Content-Type", b"Content-Encoding", b"Origin", b"Last-Event-ID"):
        for path in (b"POST /documents", b"GET /changes"):
            request = path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAccept: text/event-stream\r\n"
            body = b"{}" if path.startswith(b"POST") else b""
            request += name + b": \xff\xc3\x28\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            if path.startswith(b"GET") and name in {b"Content-Type", b"Content-Encoding"}:
                continue  # of no meaning there: the stream begins
            answer = await raw(site, request)
            assert answer.split(b" ", 2)[1] in {b"400", b"401", b"403", b"415", b"422"}, (name, answer)


async def test_large_bodies_share_a_budget_and_are_refused_beyond_it(open_site: OpenSite) -> None:
    async with open_site(options=ServiceOptions(max_content_bytes=1_000_000)) as site:
        writers = []
        head = (
            "POST /documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            "Content-Length: 3900000\r\nConnection: close\r\n\r\n"
        )
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(head.encode() + b'{"document_id":"a","content":"' + b"x" * 3_800_000)
            writers.append((reader, writer))
        async with asyncio.timeout(20):
            done, _ = await asyncio.wait(
                [asyncio.ensure_future(reader.readline()) for reader, _ in writers], return_when=asyncio.FIRST_COMPLETED
            )
        assert done.pop().result() == b"HTTP/1.1 503 Service Unavailable\r\n"
        for _, writer in writers:
            writer.transport.abort()
        assert await site.service.head() == 0
        async with asyncio.timeout(10):
            while (await site.post("/documents", {"document_id": "after", "content": "x"}, status=None)).status != 200:
                pass


async def test_calls_in_flight_are_finished_when_the_server_closes(site: Site) -> None:
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(site.add(f"d{number}", f"Document {number}.")) for number in range(50)]
        while site.server.in_flight < 20:  # noqa: ASYNC110 - a number, and the next turn of the loop moves it
            await asyncio.sleep(0)
        tasks.create_task(site.server.close())
        done, _ = await asyncio.wait(calls, return_when=asyncio.ALL_COMPLETED)
    assert {call.result()["status"] for call in done} == {"processed"}
    assert await site.service.head() == 50
