from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from typing import Any

import pytest

from core.service import ServiceOptions
from core.store.base import ChangeSet
from hub.web import journal
from tests.integration.web.rig import OpenSite, Site

ADA = "Ada Lovelace wrote the first program. It ran on the Analytical Engine."
CALLBACKS = '[hub.callbacks]\nsecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"\n'


async def test_a_document_is_committed_before_it_is_answered(site: Site) -> None:
    result = await site.add("a", ADA, source="cms")
    assert result["status"] == "processed"
    assert result["graph_version"] == 1
    assert await site.service.head() == 1


async def test_the_same_document_again_is_unchanged_and_moves_no_version(site: Site) -> None:
    await site.add("a", ADA)
    assert (await site.add("a", ADA))["status"] == "unchanged"
    assert await site.service.head() == 1


async def test_a_document_is_read_back_exactly_with_what_is_known_of_it(site: Site) -> None:
    await site.add("a", ADA, source="cms", title="Ada", published_at="2026-03-01", room=7)
    document = (await site.call("GET", "/documents/a")).json
    assert document["content"] == ADA
    assert document["status"] == "processed"
    assert document["origin"] == "api"
    assert document["metadata"] == {"source": "cms", "title": "Ada", "published_at": "2026-03-01T00:00:00Z", "room": 7}


@pytest.mark.parametrize("path", ["/documents/team%2Fnotes%2F1", "/documents/team/notes/1"])
async def test_an_id_with_slashes_is_reached_escaped_or_plain(site: Site, path: str) -> None:
    await site.add("team/notes/1")
    assert (await site.call("GET", path)).json["document_id"] == "team/notes/1"


async def test_an_earlier_version_is_read_with_as_of_version(site: Site) -> None:
    await site.add("a", "The first text.")
    await site.add("a", "The second text.")
    assert (await site.call("GET", "/documents/a?as_of_version=1")).json["content"] == "The first text."


async def test_a_version_that_is_not_written_is_422_and_one_that_was_collected_410(site: Site) -> None:
    await site.add("a", "One.")
    await site.add("a", "Two.")
    await site.call("GET", "/documents/a?as_of_version=9", status=422)
    await site.post("/admin/gc", {"before": 2})
    gone = (await site.call("GET", "/documents/a?as_of_version=1", status=410)).json
    assert gone["code"] == "version_unavailable"


async def test_a_removed_document_is_gone_and_cannot_be_removed_twice(site: Site) -> None:
    await site.add("a")
    assert (await site.call("DELETE", "/documents/a")).json["status"] == "deleted"
    await site.call("GET", "/documents/a", status=404)
    await site.call("DELETE", "/documents/a", status=404)


async def test_documents_are_listed_in_pages_in_the_order_of_their_ids(site: Site) -> None:
    for name in ("c", "a", "b"):
        await site.add(name, f"About {name}.")
    first = (await site.call("GET", "/documents?limit=2")).json
    assert [document["document_id"] for document in first["documents"]] == ["a", "b"]
    last = (await site.call("GET", f"/documents?limit=2&cursor={first['next']}")).json
    assert [document["document_id"] for document in last["documents"]] == ["c"]
    assert last["next"] is None


async def test_documents_are_listed_by_what_is_known_of_them(site: Site) -> None:
    await site.add("a", "One.", source="cms", tags=["x"])
    await site.add("b", "Two.", source="crm", tags=["x", "y"])
    for query in ("source=crm", "tags=y", 'filters={"tags":["y"]}'):
        found = (await site.call("GET", f"/documents?{query}")).json["documents"]
        assert [document["document_id"] for document in found] == ["b"], query


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("limt=5", "limt"),
        ("limit=1&limit=2", "limit"),
        ("filters=[1]", "filters"),
        ("filters={", "filters"),
        ('filters={"date_range":7}', "filters.date_range"),
    ],
)
async def test_a_list_that_is_asked_wrongly_names_the_parameter(site: Site, query: str, field: str) -> None:
    assert (await site.call("GET", f"/documents?{query}", status=422)).json["field"] == field


async def test_without_waiting_a_document_is_durable_first_and_committed_soon(site: Site) -> None:
    body = {"document_id": "later", "content": ADA}
    accepted = (await site.post("/documents?wait=false", body, status=202)).json
    assert accepted["status"] == "accepted"
    assert (await site.call("GET", "/changes?wait=10")).json["changes"][0]["document_id"] == "later"
    assert (await site.call("GET", "/documents/later")).json["content"] == ADA


async def test_without_waiting_a_bad_document_is_refused_at_once(site: Site) -> None:
    await site.post("/documents?wait=false", {"document_id": "", "content": "x"}, status=422)
    assert await site.service.store.journal(10) == []


async def test_what_becomes_of_a_version_in_the_journal_is_told_to_its_poster_alone(site: Site) -> None:
    await site.add("a", ADA)
    poster, reader, admin = [await site.make_key(*scopes) for scopes in (("read", "write"), ("read",), ("admin",))]
    site.hub.journal.stop()
    site.key = poster
    await site.post("/documents?wait=false", {"document_id": "a", "content": "Another text."}, status=202)
    seen = {}
    for site.key in (poster, reader, admin):
        seen[site.key] = (await site.call("GET", "/documents/a")).json.get("journal")
    assert seen[reader] is None
    assert seen[poster]["status"] == seen[admin]["status"] == "accepted"


async def test_a_journal_that_is_full_takes_nothing_more_until_there_is_room(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_ITEMS", 2)
    async with open_site(CALLBACKS) as site:
        site.hub.journal.stop()  # nothing leaves it
        for number in range(2):
            await site.post("/documents?wait=false", {"document_id": f"d{number}", "content": ADA}, status=202)
        refused = await site.post("/documents?wait=false", {"document_id": "d2", "content": ADA}, status=429)
        assert (refused.json["code"], refused.headers["Retry-After"]) == ("queue_full", "5")
        question = {"query": "Who?", "callback_url": "https://receiver.example/answers"}
        assert (await site.post("/query", question, status=429)).json["code"] == "queue_full"
        await site.call("GET", "/documents/d2", status=404)
        first, _ = await site.service.store.journal(10)
        await site.service.write(ChangeSet(journal_done=(first.id,)))
        await site.post("/query", question, status=202)


async def test_a_journal_is_full_of_bytes_too_but_takes_one_item_of_any_size(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_BYTES", 1000)
    site.hub.journal.stop()
    large = {"document_id": "large", "content": "x " * 1000}
    await site.post("/documents?wait=false", large, status=202)
    await site.post("/documents?wait=false", {"document_id": "small", "content": "x"}, status=429)


async def test_many_at_once_do_not_fill_the_journal_beyond_its_bound(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_ITEMS", 5)
    site.hub.journal.stop()
    posts = [
        site.post("/documents?wait=false", {"document_id": f"d{number}", "content": ADA}, status=None)
        for number in range(20)
    ]
    statuses = [answer.status for answer in await asyncio.gather(*posts)]
    assert set(statuses) == {202, 429}
    assert statuses.count(202) == (await site.service.store.journal_size()).items <= 5


BAD: dict[str, tuple[bytes, int, str]] = {
    "no body": (b"", 400, "body"),
    "no JSON": (b"{", 400, "body"),
    "two values": (b'{"document_id":"a","content":"b"} {}', 400, "body"),
    "no UTF-8": (b'{"document_id":"a","content":"\xff"}', 400, "body"),
    "NaN": (b'{"document_id":"a","content":"b","metadata":{"x":NaN}}', 400, "body"),
    "an integer of 5000 digits": (
        b'{"document_id":"a","content":"b","metadata":{"x":' + b"9" * 5000 + b"}}", 400, "body",
    ),
    "deep JSON": (b'{"document_id":"a","content":"b","metadata":' + b'{"x":' * 5000 + b"1" + b"}" * 5001, 400, "body"),
    "an array": (b"[]", 422, "body"),
    "null": (b"null", 422, "body"),
    "no document_id": (b'{"content":"b"}', 422, "document_id"),
    "no content": (b'{"document_id":"a"}', 422, "content"),
    "an empty document_id": (b'{"document_id":"","content":"b"}', 422, "document_id"),
    "a number as document_id": (b'{"document_id":7,"content":"b"}', 422, "document_id"),
    "a control character in the id": (b'{"document_id":"a\\u0007","content":"b"}', 422, "document_id"),
    "an id of 1 MB": (b'{"document_id":"' + b"a" * 1_000_000 + b'","content":"b"}', 422, "document_id"),
    "a lone surrogate in the id": (b'{"document_id":"\\ud800","content":"b"}', 422, "document_id"),
    "NUL in the content": (b'{"document_id":"a","content":"\\u0000"}', 422, "content"),
    "a lone surrogate in the content": (b'{"document_id":"a","content":"\\udc00"}', 422, "content"),
    "a number as content": (b'{"document_id":"a","content":7}', 422, "content"),
    "metadata that is no object": (b'{"document_id":"a","content":"b","metadata":[]}', 422, "metadata"),
    "a date that does not parse": (
        b'{"document_id":"a","content":"b","metadata":{"published_at":"soon"}}', 422, "metadata.published_at",
    ),
    "a huge integer": (b'{"document_id":"a","content":"b","metadata":{"x":99999999999999999999}}', 422, "metadata.x"),
    "an infinite number": (b'{"document_id":"a","content":"b","metadata":{"x":1e999}}', 422, "metadata.x"),
    "metadata 100 deep": (
        b'{"document_id":"a","content":"b","metadata":{"x":' + b"[" * 100 + b"]" * 100 + b"}}", 422, "metadata.x",
    ),
    "a lone surrogate as a key": (
        b'{"document_id":"a","content":"b","metadata":{"\\ud800":1}}', 422, "metadata",
    ),
    "an unknown content type": (
        b'{"document_id":"a","content":"b","metadata":{"content_type":"text/x"}}', 422, "metadata.content_type",
    ),
    "a misspelt field": (b'{"document_id":"a","content":"b","metdata":{}}', 422, "metdata"),
}  # fmt: skip


async def test_bad_input_is_answered_with_the_field_that_is_wrong_and_leaves_nothing_behind(site: Site) -> None:
    await site.add("before")
    for name, (body, status, field) in BAD.items():
        problem = await site.post("/documents", body, status=None)
        assert (problem.status, problem.json["field"]) == (status, field), name
        assert problem.headers["Content-Type"] == "application/problem+json", name
        assert len(problem.body) < 4000, name
        assert await site.service.head() == 1, name
    assert len(await site.audit("document.rejected")) == len(BAD)
    assert (await site.add("after"))["graph_version"] == 2


async def test_a_misspelt_field_is_told_its_right_name(site: Site) -> None:
    problem = await site.post("/documents", {"document_id": "a", "contents": "b"}, status=422)
    assert problem.json["detail"] == "is not known here; did you mean 'content'?"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Encoding": "br"},
        {"Content-Encoding": "gzip, gzip"},
    ],
)
async def test_a_type_or_encoding_that_is_not_taken_is_415(site: Site, headers: dict[str, str]) -> None:
    await site.post("/documents", b"{}", headers=headers, status=415)


async def test_50_megabytes_of_content_are_413_and_leave_nothing_behind(open_site: OpenSite) -> None:
    async with open_site(options=ServiceOptions(max_content_bytes=2_000_000)) as site:
        body = {"document_id": "big", "content": "x" * 50_000_000}
        assert (await site.post("/documents", body, status=413)).json["code"] == "body_too_large"
        body["content"] = "x" * 2_000_001
        problem = (await site.post("/documents", body, status=413)).json
        assert (problem["code"], problem["field"]) == ("content_too_large", "content")
        assert await site.service.head() == 0
        body["content"] = "x" * 2_000_000
        assert (await site.post("/documents", body)).json["status"] == "processed"


async def test_content_at_the_cap_may_be_spelled_in_escapes(open_site: OpenSite) -> None:
    async with open_site(options=ServiceOptions(max_content_bytes=1_000_000)) as site:
        body = json.dumps({"document_id": "a", "content": "é " * 330_000}).encode()
        assert len(body) > 2_000_000
        assert (await site.post("/documents", body)).json["status"] == "processed"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_document_is_taken(site: Site, encoding: str) -> None:
    body = json.dumps({"document_id": "a", "content": ADA}).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    await site.post("/documents", packed, headers={"Content-Encoding": encoding})
    assert (await site.call("GET", "/documents/a")).json["content"] == ADA


async def test_a_gzip_bomb_is_413_and_is_never_unpacked_whole(open_site: OpenSite) -> None:
    async with open_site(options=ServiceOptions(max_content_bytes=1_000_000)) as site:
        bomb = gzip.compress(b'{"document_id":"a","content":"' + b"0" * 500_000_000 + b'"}', compresslevel=1)
        await site.post("/documents", bomb, headers={"Content-Encoding": "gzip"}, status=413)
        assert await site.service.head() == 0


@pytest.mark.parametrize("packed", [b"no gzip at all", gzip.compress(b'{"document_id":"a","content":"b"}')[:-6]])
async def test_a_broken_or_cut_compression_is_400(site: Site, packed: bytes) -> None:
    problem = await site.post("/documents", packed, headers={"Content-Encoding": "gzip"}, status=400)
    assert problem.json["code"] == "malformed_body"
    assert await site.service.head() == 0


async def test_html_with_scripts_and_200000_nested_tags_is_taken_or_refused_but_never_an_error(site: Site) -> None:
    html = "<script>alert(1)</script>" + "<div>" * 200_000 + "A moth was found." + "</div>" * 200_000
    body = {"document_id": "html", "content": html, "metadata": {"content_type": "text/html"}}
    answer = await site.post("/documents", body, status=None)
    assert answer.status in (200, 422), answer.body
    assert (await site.add("after"))["status"] == "processed"


# ---------------------------------------------------------------- batches


def ndjson(*documents: Any) -> bytes:
    return b"".join((d if isinstance(d, bytes) else json.dumps(d).encode()) + b"\n" for d in documents)


async def batch(site: Site, body: bytes, status: int = 200, **headers: str) -> list[dict[str, Any]]:
    answer = await site.call(
        "POST",
        "/documents/batch",
        data=io.BytesIO(body),
        headers={"Content-Type": "application/x-ndjson", **headers},
        status=status,
    )
    return answer.lines


def doc(number: int) -> dict[str, str]:
    return {"document_id": f"d{number}", "content": f"Document {number} is about moths."}


async def test_a_batch_answers_each_line_in_order(site: Site) -> None:
    results = await batch(site, ndjson(*map(doc, range(500))))
    assert [result["line"] for result in results] == list(range(1, 501))
    assert [result["document_id"] for result in results] == [f"d{n}" for n in range(500)]
    assert {result["status"] for result in results} == {"processed"}
    assert await site.service.head() == 500


async def test_a_bad_line_is_rejected_in_its_place_and_the_others_go_on(site: Site) -> None:
    results = await batch(site, ndjson(doc(1), b"{", {"document_id": "x"}, b"", b"\xff\xfe", doc(2)))
    assert [(result["line"], result["status"]) for result in results] == [
        (1, "processed"),
        (2, "rejected"),
        (3, "rejected"),
        (5, "rejected"),
        (6, "processed"),
    ]
    assert results[2]["error"]["field"] == "content"
    assert await site.service.head() == 2
    assert len(await site.audit("document.rejected")) == 3


async def test_documents_of_one_id_are_committed_in_the_order_of_their_lines(site: Site) -> None:
    versions = [{"document_id": "a", "content": f"Text number {n}."} for n in range(50)]
    results = await batch(site, ndjson(*versions))
    assert [result["status"] for result in results] == ["processed"] * 50
    assert (await site.call("GET", "/documents/a")).json["content"] == "Text number 49."


async def test_a_truncated_batch_keeps_what_came_before_and_says_where_it_broke(site: Site) -> None:
    whole = ndjson(doc(1), doc(2), doc(3))
    results = await batch(site, whole[:-20])
    assert [(result["line"], result["status"]) for result in results] == [
        (1, "processed"),
        (2, "processed"),
        (3, "rejected"),
    ]
    assert await site.service.head() == 2


async def test_a_batch_whose_compression_is_cut_keeps_what_came_before_and_says_so(site: Site) -> None:
    packed = gzip.compress(ndjson(*map(doc, range(3000))))
    results = await batch(site, packed[: len(packed) // 2], **{"Content-Encoding": "gzip"})
    *done, last = results
    assert {result["status"] for result in done} == {"processed"}
    assert last["status"] == "rejected"
    assert "breaks off" in last["error"]["message"]
    assert last["line"] == len(done) + 1
    assert await site.service.head() == len(done) > 0


async def test_a_line_over_the_cap_is_rejected_alone(open_site: OpenSite) -> None:
    async with open_site(options=ServiceOptions(max_content_bytes=100_000)) as site:
        huge = {"document_id": "huge", "content": "x" * 5_000_000}
        results = await batch(site, ndjson(doc(1), huge, doc(2)))
        assert [result["status"] for result in results] == ["processed", "rejected", "processed"]
        assert results[1]["error"]["code"] == "content_too_large"


async def test_a_batch_answers_while_it_is_still_being_sent(site: Site) -> None:
    answered = asyncio.Event()

    async def body() -> Any:
        yield ndjson(doc(1))
        await answered.wait()
        yield ndjson(doc(2))

    headers = {"Content-Type": "application/x-ndjson"}
    async with site.session.post(f"{site.server.url}/documents/batch", data=body(), headers=headers) as response:
        first = json.loads(await response.content.readline())
        answered.set()
        second = json.loads(await response.content.readline())
    assert (first["document_id"], second["document_id"]) == ("d1", "d2")


async def test_what_a_caller_who_goes_away_has_sent_stands(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    lines = ndjson(doc(1), doc(2))
    head = (
        f"POST /documents/batch HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {len(lines) + 100}\r\n\r\n"
    )
    writer.write(head.encode() + lines + b'{"document_id":"cut')
    async with asyncio.timeout(10):
        answer = b""
        while answer.count(b'"processed"') < 2:
            answer += await reader.read(65536)
    writer.transport.abort()
    assert await site.service.head() == 2
    assert (await site.add("after"))["status"] == "processed"


async def test_a_batch_in_a_wrong_form_is_a_problem_and_no_stream(site: Site) -> None:
    answer = await site.call("POST", "/documents/batch", data=b"x", headers={"Content-Type": "text/csv"}, status=415)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_client_that_sends_all_before_it_reads_gets_every_result(site: Site) -> None:
    body = ndjson(*map(doc, range(5000)))
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=2**16)
    writer.write(
        f"POST /documents/batch HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    async with asyncio.timeout(60):
        await writer.drain()
        answer = await reader.read()
        while piece := await reader.read():
            answer += piece
    writer.close()
    assert answer.count(b'"processed"') == 5000
