"""PostgreSQL restarts and crashes while two nodes write: nothing acknowledged is lost, nothing doubled.

AIME_RESTARTS sets how often (a release is tried with 20).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest

from core.errors import StoreError
from core.service import GraphService, create_graph_service
from core.store.base import AuditRecord, ChangeSet
from tests.faults.rig import until
from tests.postgres_rig import new_database, own_server

RESTARTS = [("fast", "immediate")[number % 2] for number in range(int(os.environ.get("AIME_RESTARTS", "6")))]
WRITERS = 4
"""Of each node."""
RESUMED_WITHIN = 10.0


@pytest.mark.timeout(120 + 15 * len(RESTARTS))
async def test_restarts_under_load_lose_nothing_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    async with own_server() as server, AsyncExitStack() as stack:
        url = await new_database(server.url)
        nodes = [await stack.enter_async_context(await create_graph_service(url)) for _ in range(2)]
        acknowledged: dict[str, int] = {}
        noted: list[str] = []
        refused: Counter[str] = Counter()
        numbers = count()
        stop = asyncio.Event()

        async def write(node: GraphService) -> None:
            while not stop.is_set():
                name = f"d-{next(numbers)}"
                try:
                    result = await node.process_document(document_id=name, content=f"{name} tells of tides and owls.")
                    acknowledged[name] = result.graph_version
                    await node.write(ChangeSet(audit=(AuditRecord("tester", "noted", name),)))
                    noted.append(name)
                except StoreError as error:
                    refused[type(error).__name__] += 1

        async with asyncio.TaskGroup() as tasks:
            for node in nodes:
                for _ in range(WRITERS):
                    tasks.create_task(write(node))
            for mode in RESTARTS:
                before = len(noted)
                await until(lambda b=before: len(noted) > b + 40, within=RESUMED_WITHIN, what="work resumes")  # type: ignore[misc]
                await server.stop(mode)
                await server.start()
            before = len(noted)
            await until(lambda: len(noted) > before + 40, within=RESUMED_WITHIN, what="work resumes")
            stop.set()

        entries = await nodes[0].store.changes(0, 1_000_000)
        assert [entry.version for entry in entries] == list(range(1, len(entries) + 1))
        stored = Counter(entry.document_id for entry in entries)
        assert stored.keys() >= acknowledged.keys()
        assert set(stored.values()) == {1}
        assert {entry.document_id: entry.version for entry in entries}.items() >= acknowledged.items()
        trail = Counter(r.record.subject for r in await nodes[0].store.audit(action="noted", limit=1_000_000))
        assert trail.keys() >= set(noted)
        assert set(trail.values()) == {1}
        assert not refused, f"a restart is shorter than the store tries again: {refused}"
        for node in nodes:
            await until(lambda node=node: node.index_version == len(entries), within=30, what="the index follows")  # type: ignore[misc]
