"""The feed connector against a real server on this machine, with feeds as they are and as they should not be."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from connectors.feed.checkpoint import FeedCheckpoint
from connectors.feed.config import FeedConfig
from connectors.feed.connector import Feed
from hub.net import Network
from hub.sdk import AuthFailed, NotReady, RateLimited
from tests.connector_rig import LOOPBACK, Graph, context, pull, served

AWKWARD = Path(__file__).parents[3] / "shared" / "data" / "feeds"


def rss(*items: str, head: str = '<?xml version="1.0" encoding="utf-8"?>') -> bytes:
    return f"{head}<rss version='2.0'><channel><title>F</title>{''.join(items)}</channel></rss>".encode()


def item(guid: str, text: str, **more: str) -> str:
    fields = {"guid": guid, "title": f"Title of {guid}", "description": text, **more}
    return "<item>" + "".join(f"<{name}>{value}</{name}>" for name, value in fields.items() if value) + "</item>"


@dataclass
class Source:
    """What the server sends, and what it was asked."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    asked: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        etag, modified = self.headers.get("ETag"), self.headers.get("Last-Modified")
        if (etag and request.headers.get("If-None-Match") == etag) or (
            modified and request.headers.get("If-Modified-Since") == modified
        ):
            return web.Response(status=304)
        return web.Response(body=self.body, headers=self.headers, status=self.status)


Open = Callable[..., Any]


@asynccontextmanager
async def opened(source: Source, **options: Any) -> AsyncIterator[Feed]:
    async with served(source.answer) as url, Network() as network:
        config = FeedConfig.model_validate({"url": f"{url}/feed.xml", **options})
        yield Feed(config, context(network.client("news", allow_networks=LOOPBACK), "news"))


async def read(body: bytes, content_type: str = "application/xml", **options: Any) -> Graph:
    graph = Graph()
    async with opened(Source(body, {"Content-Type": content_type}), **options) as feed:
        await pull(feed, graph)
    return graph


# ---------------------------------------------------------------- mapping


async def test_an_rss_item_becomes_a_document_with_all_that_it_says() -> None:
    graph = await read(
        b"""<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
          xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><language>en</language><item>
          <guid isPermaLink="false">g-1</guid><link>https://example.com/1</link>
          <title>R&amp;amp;D &lt;b&gt;news&lt;/b&gt;</title>
          <dc:creator>Ada</dc:creator><category>x</category><category>y</category><category>x</category>
          <pubDate>Tue, 03 Mar 2026 09:30:00 +0200</pubDate><description>Short.</description>
          <content:encoded><![CDATA[<p>The whole text.</p>]]></content:encoded></item></channel></rss>"""
    )
    [document] = graph.documents.values()
    assert document.content == "<p>The whole text.</p>"
    assert document.metadata.as_json() == {
        "title": "R&D news",
        "author": ["Ada"],
        "tags": ["x", "y"],
        "published_at": "2026-03-03T07:30:00Z",
        "url": "https://example.com/1",
        "language": "en",
        "content_type": "text/html",
    }


async def test_an_atom_entry_keeps_its_own_dates_type_and_link() -> None:
    graph = await read(
        b"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>urn:1</id><title>T</title>
          <link href="/relative"/><author><name>A</name></author><author><name>B</name></author>
          <published>2026-01-01T00:00:00Z</published><updated>2026-02-01T00:00:00Z</updated>
          <summary>Short.</summary><content type="text">Plain &lt;text&gt;.</content></entry></feed>"""
    )
    [document] = graph.documents.values()
    metadata = document.metadata
    assert (document.content, metadata.content_type) == ("Plain <text>.", "text/plain")
    assert metadata.author == ("A", "B")
    assert str(metadata.url).startswith("http://127.0.0.1")
    assert str(metadata.url).endswith("/relative")
    assert metadata.published_at is not None
    assert metadata.updated_at is not None
    assert metadata.published_at < metadata.updated_at


async def test_ids_stay_the_same_when_an_entry_is_edited_and_begin_with_the_prefix() -> None:
    before = await read(rss(item("urn:1", "old"), item("urn:2", "x")))
    after = await read(rss(item("urn:3", "new on top"), item("urn:1", "edited", title="Other")))
    assert len(before.documents.keys() & after.documents.keys()) == 1
    assert all(document_id.startswith("news-") for document_id in before.documents)
    assert all(name.startswith("p/") for name in (await read(rss(item("urn:1", "x")), prefix="p/")).documents)


async def test_entries_come_oldest_first() -> None:
    graph = await read(rss(item("3", "c"), item("2", "b"), item("1", "a")))
    assert [document.content for document in graph.documents.values()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("items", "contents"),
    [
        (["<item><link>https://e.org/1</link><description>by link</description></item>"], ["by link"]),
        (["<item><title>Only a title</title></item>"], ["Only a title"]),
        (["<item><description>only text</description></item>"], ["only text"]),
        ([item("same", "a", link="https://e.org/1"), item("same", "b", link="https://e.org/2")], ["b", "a"]),
        ([item("same", "a", title="A"), item("same", "b", title="B")], ["b", "a"]),
        ([item("1", "a", pubDate="not a date")], ["a"]),
        ([item("1", "a", pubDate="Tue, 03 Mar 99999 09:30:00 GMT")], ["a"]),
        ([item("1", "x &#0; y")], ["x  y"]),
    ],
)
async def test_an_entry_without_id_link_title_or_date_is_still_a_document(
    items: list[str], contents: list[str]
) -> None:
    graph = await read(rss(*items))
    assert [document.content for document in graph.documents.values()] == contents
    assert not graph.failures


async def test_an_entry_that_says_nothing_is_a_failure_and_its_neighbours_go_on() -> None:
    graph = await read(rss(item("1", "a"), "<item><guid>2</guid></item>", item("3", "c")))
    assert [document.content for document in graph.documents.values()] == ["c", "a"]
    assert [failure.error for failure in graph.failures] == ["the entry has neither text nor title"]


# ---------------------------------------------------------------- what is asked for


async def test_an_unchanged_feed_is_asked_for_once_and_gives_nothing_more() -> None:
    source = Source(rss(item("1", "a")), {"ETag": '"v1"', "Last-Modified": "Tue, 03 Mar 2026 09:30:00 GMT"})
    graph = Graph()
    async with opened(source) as feed:
        checkpoint = await pull(feed, graph)
        assert await pull(feed, graph, checkpoint) == checkpoint
    assert "If-None-Match" not in source.asked[0].headers
    assert source.asked[1].headers["If-None-Match"] == '"v1"'
    assert source.asked[1].headers["If-Modified-Since"] == "Tue, 03 Mar 2026 09:30:00 GMT"
    assert graph.writes == 1


async def test_of_a_changed_feed_only_new_and_edited_entries_are_handed_over() -> None:
    source = Source(rss(item("1", "a"), item("2", "b")))
    graph = Graph()
    async with opened(source) as feed:
        checkpoint = await pull(feed, graph)
        source.body = rss(item("3", "c"), item("1", "edited"), item("2", "b"))
        checkpoint = await pull(feed, graph, checkpoint)
        assert graph.writes == 4
        source.body = rss(item("3", "c"))
        await pull(feed, graph, checkpoint)
    assert sorted(document.content for document in graph.documents.values()) == ["b", "c", "edited"]
    assert graph.deletes == [], "what leaves a feed is old, not gone"


async def test_a_run_that_was_cut_off_asks_for_the_whole_feed_again() -> None:
    source = Source(rss(item("3", "c"), item("2", "b"), item("1", "a")), {"ETag": '"v1"'})
    graph = Graph()
    async with opened(source) as feed:
        checkpoint = await pull(feed, graph, page_size=1, batches=2)
        await pull(feed, graph, checkpoint, page_size=1)
    assert "If-None-Match" not in source.asked[1].headers
    assert sorted(document.content for document in graph.documents.values()) == ["a", "b", "c"]
    assert graph.writes == 3


async def test_a_checkpoint_of_another_address_is_not_used() -> None:
    source = Source(rss(item("1", "a")), {"ETag": '"v1"'})
    graph = Graph()
    async with opened(source) as feed:
        await pull(feed, graph, FeedCheckpoint(url="https://other.example.com/", etag='"v1"'))
    assert graph.writes == 1


async def test_a_key_is_sent_and_shown_nowhere() -> None:
    source = Source(rss(item("1", "a")))
    async with opened(source, headers={"Authorization": SecretStr("Bearer hush")}) as feed:
        await pull(feed, Graph())
        assert "hush" not in repr(feed.__dict__)
    assert source.asked[0].headers["Authorization"] == "Bearer hush"
    with pytest.raises(ValidationError, match=r"headers\.Authorization") as raised:
        FeedConfig.model_validate({"url": "https://user:hush@example.com/feed"})
    assert "hush" not in str(raised.value)


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (500, {}, NotReady),
        (404, {}, NotReady),
        (401, {}, AuthFailed),
        (429, {"Retry-After": "7"}, RateLimited),
    ],
)
async def test_a_server_that_refuses_is_told_apart(
    status: int, headers: dict[str, str], error: type[Exception]
) -> None:
    async with opened(Source(b"", headers, status)) as feed:
        with pytest.raises(error) as raised:
            await pull(feed, Graph())
        assert getattr(raised.value, "retry_after", None) == (7.0 if status == 429 else None)
        assert not (await feed.check()).ok


async def test_a_server_that_answers_is_healthy() -> None:
    async with opened(Source(rss(item("1", "x" * 100_000)))) as feed:
        assert (await feed.check()).ok


@pytest.mark.parametrize("body", [b"", b"<html><body>Not here</body></html>", b"\x89PNG\r\n", b"{}", b"\xff\xfe<\x00"])
async def test_what_is_no_feed_says_so(body: bytes) -> None:
    with pytest.raises(NotReady, match="is not a feed"):
        await read(body)


BOMB = (
    '<!DOCTYPE lolz [<!ENTITY lol0 "lol">'
    + "".join('<!ENTITY lol{} "{}">'.format(n, f"&lol{n - 1};" * 10) for n in range(1, 10))
    + "]>"
)
OUTSIDE = '<!DOCTYPE r [<!ENTITY file SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-le"])
@pytest.mark.parametrize("doctype", [BOMB, OUTSIDE, OUTSIDE.replace("ENTITY", "ENTITY %"), "<!-- x -->" + BOMB.lower()])
async def test_a_feed_that_declares_entities_is_refused_at_once(doctype: str, encoding: str) -> None:
    body = rss("<item><guid>1</guid><title>&lol9;&file;</title></item>", head=doctype).decode().encode(encoding)
    began = time.monotonic()
    with pytest.raises(NotReady, match="entities"):
        await read(body)
    assert time.monotonic() - began < 5


async def test_a_feed_that_speaks_of_entities_is_read() -> None:
    graph = await read(rss(item("1", "<![CDATA[Write <!ENTITY a 'b'> in the DTD.]]>"), head="<!DOCTYPE rss>"))
    assert len(graph.documents) == 1


@pytest.mark.parametrize("packed", [True, False])
async def test_a_feed_over_the_cap_is_refused_as_it_unpacks(packed: bool) -> None:
    body = rss(item("1", "x" * 200_000))
    headers = {"Content-Encoding": "gzip"} if packed else {}
    async with opened(Source(gzip.compress(body) if packed else body, headers), max_bytes=100_000) as feed:
        with pytest.raises(NotReady, match="longer than 100,000 bytes"):
            await pull(feed, Graph())


def declared(encoding: str) -> str:
    return f"<?xml version='1.0' encoding='{encoding}'?>"


@pytest.mark.parametrize(
    ("head", "written_in", "content_type"),
    [
        (declared("iso-8859-1"), "latin-1", "text/xml"),
        ("", "latin-1", "application/rss+xml; charset=iso-8859-1"),
        (declared("utf-16"), "utf-16", "text/xml"),
        (declared("us-ascii"), "utf-8", "application/xml"),
        (declared("utf-8"), "latin-1", "application/xml; charset=utf-8"),
    ],
)
async def test_encodings_that_are_declared_wrongly_or_not_at_all_are_read(
    head: str, written_in: str, content_type: str
) -> None:
    body = rss(item("1", "café"), head=head).decode().encode(written_in)
    [document] = (await read(body, content_type)).documents.values()
    assert document.content == "café"


@pytest.mark.parametrize(
    "body",
    [
        rss(item("1", "a"), item("2", "b"))[:-40],
        rss(item("1", "a & b < c"), item("2", "b")),
        rss(item("1", "a <b>unclosed"), item("2", "b")),
        rss(item("1", "&undeclared; a"), item("2", "b")),
        b"\n\n junk " + rss(item("1", "a"), item("2", "b")),
        rss(item("1", "a \x0b"), item("2", "b")),
    ],
)
async def test_a_broken_feed_is_read_as_far_as_it_goes(body: bytes) -> None:
    assert len((await read(body)).documents) >= 1


async def test_a_feed_of_nothing_but_nested_tags_ends() -> None:
    graph = await read(rss(item("1", "<x>" * 20_000)))
    assert len(graph.documents) + len(graph.failures) == 1


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="the collection of awkward feeds is not there")
@pytest.mark.parametrize("path", sorted(AWKWARD.glob("*")) if AWKWARD.is_dir() else [], ids=lambda path: path.name)
async def test_feeds_as_they_are_found_give_every_entry_once_with_text(path: Path) -> None:
    body = path.read_bytes()
    entries = body.count(b"<item>") + body.count(b"<item ") + body.count(b"<entry>") + body.count(b"<entry ")
    graph = await read(body)
    assert len(graph.documents) + len(graph.failures) == entries
    assert all(document.content.strip() for document in graph.documents.values())
    assert [failure.error for failure in graph.failures] == (
        ["the entry has neither text nor title"] if path.name == "missing-fields.atom" else []
    )


@pytest.mark.timeout(5)
async def test_a_title_of_nothing_but_open_brackets_ends() -> None:
    feed = await read(rss(item("1", "Text.", title="&lt;" * 100_000, author="&lt;" * 100_000)))
    assert len(feed.documents) == 1


@pytest.mark.parametrize("body", [b"<html></html>", b'<!DOCTYPE x [<!ENTITY a "b">]><rss/>'])
async def test_an_error_names_the_server_and_not_the_key_in_the_address(body: bytes) -> None:
    async with served(Source(body).answer) as url, Network() as network:
        config = FeedConfig.model_validate({"url": f"{url}/hush/feed.xml?key=hush"})
        feed = Feed(config, context(network.client("news", allow_networks=LOOPBACK), "news"))
        with pytest.raises(NotReady) as raised:
            await pull(feed, Graph())
    assert url in raised.value.message
    assert "hush" not in raised.value.message
