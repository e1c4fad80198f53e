"""A hub that consumes from SQS is killed, again and again: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from core.service import create_graph_service
from tests.faults.rig import HubProcess, until
from tests.sqs_rig import Sqs, sqs, table

KILLS = 5


async def test_kill_9_of_a_hub_that_consumes_loses_nothing_and_doubles_nothing(
    make_hub: Callable[..., HubProcess], tmp_path: Path
) -> None:
    async with sqs() as service:
        url = await service.queue()
        names: list[str] = []
        hub = make_hub("[hub]\n" + table("in", service.at, consume__queue_url=url, consume__visibility="3s"))
        for life in range(KILLS):
            fresh = [f"d{life}-{number}" for number in range(600)]
            await service.send(url, *(json.dumps({"document_id": each, "content": f"{each} tells."}) for each in fresh))
            names += fresh
            before = await _left(service, url)
            await hub.start()
            await until(lambda b=before: _fewer(service, url, b), within=30, what="it consumes")  # type: ignore[misc]
            await asyncio.sleep(random.uniform(0, 0.1))
            await hub.kill()
        await hub.start()
        await until(lambda: service.is_empty(url), within=60, what="the queue is empty")
        assert await hub.terminate() == 0
    async with await create_graph_service(f"sqlite:{tmp_path / 'aime.db'}") as graph:
        log = Counter(entry.document_id for entry in await graph.changes(0, limit=1_000_000))
    assert log == dict.fromkeys(names, 1)


async def _left(service: Sqs, url: str) -> int:
    return sum(await service.count(url))


async def _fewer(service: Sqs, url: str, than: int) -> bool:
    return await _left(service, url) < than
