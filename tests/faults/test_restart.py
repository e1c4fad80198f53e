"""Stops under load, and starts that cannot be."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import aiohttp

from core.service import create_graph_service
from tests.faults.rig import HubProcess, Json, config

CLIENTS = 16
DRAIN_SECONDS = 30.0
REFUSED_WITHIN = 30.0
"""For a command that ends by itself."""


async def test_sigterm_under_load_drains_exits_zero_and_loses_nothing_acknowledged(
    make_hub: Callable[..., HubProcess],
) -> None:
    hub = make_hub(config())
    await hub.start()
    numbers = count()
    acknowledged: list[Json] = []
    enough = asyncio.Event()

    async def post() -> None:
        """Until the hub takes no more."""
        while True:
            body = {"document_id": f"d-{next(numbers)}", "content": f"Clara Osei left Port Ambrose. {'More. ' * 50}"}
            try:
                status, result = await hub.call("POST", "/documents", json=body)
            except aiohttp.ClientError:
                return
            if status == 200:
                acknowledged.append(result)
            else:
                assert status in (429, 503), result
            if len(acknowledged) >= 200:
                enough.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(post())
        await enough.wait()
        begun = time.monotonic()
        assert await hub.terminate() == 0, hub.last_words
        assert time.monotonic() - begun < DRAIN_SECONDS

    async with await create_graph_service(f"sqlite:{hub.store}") as service:
        stored = {document.document_id: document.v_from for document in await service.documents(limit=100_000)}
    assert {result["document_id"]: result["graph_version"] for result in acknowledged}.items() <= stored.items()


async def test_a_second_hub_on_the_same_store_ends_with_an_error_that_names_the_holder(
    tmp_path: Path, make_hub: Callable[..., HubProcess]
) -> None:
    first = make_hub(config())
    await first.start()
    second = make_hub(config(), folder=tmp_path / "second", store=first.store)
    await second.launch()
    assert await second.ended(within=REFUSED_WITHIN) == 1
    assert f"process {first.pid}" in second.last_words
    assert "Traceback" not in second.last_words
    status, _ = await first.call("GET", "/readyz")
    assert status == 200, "the first one does not notice"


async def test_a_hub_that_was_killed_leaves_no_lock_behind(make_hub: Callable[..., HubProcess]) -> None:
    hub = make_hub(config())
    await hub.start()
    await hub.kill()
    await hub.start()


async def test_a_port_in_use_is_an_error_that_names_the_address(make_hub: Callable[..., HubProcess]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        hub = make_hub(config())
        await hub.launch("--listen", address)
        assert await hub.ended(within=REFUSED_WITHIN) != 0
    assert address in hub.last_words
    assert "Traceback" not in hub.last_words


async def test_a_store_of_a_newer_release_is_refused_and_left_as_it_is(make_hub: Callable[..., HubProcess]) -> None:
    hub = make_hub(config())
    await hub.start()
    status, _ = await hub.call("POST", "/documents", json={"document_id": "a", "content": "Kept."})
    assert status == 200
    assert await hub.terminate() == 0
    with sqlite3.connect(hub.store) as db:
        db.execute("PRAGMA user_version = 1000")
    db.close()
    before = hub.store.read_bytes()

    await hub.launch()
    assert await hub.ended(within=REFUSED_WITHIN) != 0
    assert "newer release" in hub.last_words
    assert "Traceback" not in hub.last_words
    assert hub.store.read_bytes() == before
