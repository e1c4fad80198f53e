"""Stopping, and the part of a reload that is one: no connector is closed while it is used, and all ends in time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import Busy
from hub.config import Config, load_config
from hub.runtime import Hub
from hub.sdk import Batch, InboundRequest, Notification, Outcome, Window
from tests.integration.hub.rig import Hook, Position, Queue, Source, doc, running, stored, table, until

NOTIFY = 'notify.events = ["document.processed"]'


class Bell(Source):
    """Is told of documents; answers when it may, and says whether it was open all the while."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()
        self.heard: list[str] = []
        self.open_throughout: list[bool] = []

    async def notify(self, notifications: Sequence[Notification]) -> list[Outcome]:
        self.heard += [notification.type for notification in notifications]
        await self.may.wait()
        self.open_throughout.append(not self.closed)
        return [Outcome() for _ in notifications]


async def ring(hub: Hub, bell: Bell, document_id: str) -> None:
    """Have it told of a document, and wait until it is being told."""
    heard = len(bell.heard)
    await hub.service.process_document(document_id=document_id, content="Some text.")
    await until(lambda: len(bell.heard) > heard)


async def test_a_connector_is_open_until_the_last_notification_has_gone_out_at_a_stop(tmp_path: Path) -> None:
    bell = Bell()
    async with running(tmp_path, {"b": bell}, table("b", NOTIFY)) as hub:
        await ring(hub, bell, "a")
        asyncio.get_running_loop().call_later(0.3, bell.may.set)
    assert bell.open_throughout == [True]
    assert bell.closed


async def test_a_connector_is_open_until_the_last_notification_has_gone_out_at_a_reload(tmp_path: Path) -> None:
    bell = Bell()
    async with running(tmp_path, {"b": bell}, table("b", NOTIFY)) as hub:
        await ring(hub, bell, "a")
        old = hub.instances["b"]
        reload = asyncio.create_task(hub.reload(edited(tmp_path, table("b", NOTIFY, "step = 2"))))
        await until(lambda: old.stopping)
        await hub.service.process_document(document_id="b", content="While it goes over.")
        asyncio.get_running_loop().call_later(0.3, bell.may.set)
        await reload
        await until(lambda: len(bell.open_throughout) == 2)
        assert bell.open_throughout[0]
        assert bell.closed


async def test_once_the_stop_has_begun_nothing_is_taken_in(tmp_path: Path) -> None:
    queue = Queue()
    async with running(tmp_path, {"h": Hook(lambda _: [doc("a")]), "q": queue}) as hub:
        queue.send([doc("before")])
        await until(lambda: "ack before" in queue.fate)
        hub.begin_stop()
        with pytest.raises(Busy):
            await hub.receive("h", InboundRequest("POST", "/hooks/h", {}, {}, b"", datetime.now(UTC)), "sender")
        await until(lambda: "disconnected" in queue.fate)
        assert hub.draining
        assert list(await stored(hub.service)) == ["before"]


async def test_a_stop_that_began_before_it_was_waited_for_has_one_deadline(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        assert hub.begin_stop() == hub.begin_stop()


class Stubborn(Source):
    """Neither ends when it is told to, nor closes."""

    def __init__(self, done: asyncio.Event) -> None:
        super().__init__()
        self.done = done
        self.pulling = False

    async def pull(self, since: Position | None, window: Window) -> AsyncIterator[Batch[Position]]:
        self.pulling = True
        while not self.done.is_set():
            try:
                await self.done.wait()
            except asyncio.CancelledError:
                continue
        yield Batch([])

    async def aclose(self) -> None:
        await self.done.wait()


@pytest.mark.parametrize("reloading", [False, True])
async def test_a_connector_that_does_not_end_keeps_the_hub_no_longer_than_the_drain(
    tmp_path: Path, reloading: bool
) -> None:
    done = asyncio.Event()
    source = Stubborn(done)
    loop = asyncio.get_running_loop()
    reload: asyncio.Task[None] | None = None
    began = 0.0
    try:
        async with running(tmp_path, {"s": source}, hub="drain_seconds = 2") as hub:
            await until(lambda: source.pulling)
            instance = hub.instances["s"]
            if reloading:
                reload = asyncio.create_task(hub.reload(Config(hub=hub.config.hub)))
                await until(lambda: instance.stopping)
            began = loop.time()
        assert loop.time() - began < 3.0
    finally:
        done.set()
        if reload is not None:
            await reload


def edited(folder: Path, text: str) -> Config:
    """Another configuration, in a file that the hub does not watch."""
    path = folder / "edited.toml"
    path.write_text(text)
    return load_config(path)


async def test_a_reload_that_cannot_write_to_the_store_goes_over_and_tells_the_endpoints_later(tmp_path: Path) -> None:
    bell = Bell()
    bell.may.set()
    source = Source([doc("a")])
    async with running(tmp_path, {"s": source, "b": bell}, table("s")) as hub:
        await until(lambda: hub.instances["s"].status.next_run)
        with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await hub.reload(edited(tmp_path, table("s", "step = 2") + table("b", NOTIFY)))
            await until(lambda: len(source.started_at) == 2)
            other.execute("ROLLBACK")
        await until(lambda: "b" in hub.dispatcher.endpoints)
        await ring(hub, bell, "c")
