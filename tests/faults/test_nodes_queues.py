"""Three nodes on one PostgreSQL database share a quorum queue and an SQS queue: kill -9 loses and doubles nothing.

AIME_KILLS sets how often one is killed (a release is tried with 50), AIME_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest

from core.service import create_graph_service
from tests import rabbitmq_rig, sqs_rig
from tests.faults.load import everything_asked, whole_log
from tests.faults.rig import HubProcess, until

KILLS = int(os.environ.get("AIME_KILLS", "5"))
SEED = int(os.environ.get("AIME_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
NODES = 3
BATCH = 10
PAUSE_SECONDS = 0.02
LONGEST_LIFE = 2.0
SETTLE_SECONDS = 60.0


async def fill(kind: str, send: Callable[[list[str]], Awaitable[None]], sent: list[str], enough: asyncio.Event) -> None:
    """Documents with ids of their own; those in `sent` are confirmed."""
    for number in count():
        names = [f"{kind}-{number}-{each}" for each in range(BATCH)]
        await send([json.dumps({"document_id": name, "content": f"Ada Kerrin left {name}."}) for name in names])
        sent += names
        if enough.is_set():
            return
        await asyncio.sleep(PAUSE_SECONDS)


@pytest.mark.timeout(180 + 15 * KILLS)
@pytest.mark.parametrize("seed", [SEED])
async def test_kill_nine_of_one_node_of_three_that_share_queues_loses_nothing_and_doubles_nothing(
    database: str, make_hub: Callable[..., HubProcess], tmp_path: Path, seed: int
) -> None:
    random_ = random.Random(seed)
    async with rabbitmq_rig.wires() as broker, sqs_rig.sqs() as service:
        queue, url = await broker.queue(), await service.queue()
        config = "\n".join(
            [
                "[hub]",
                rabbitmq_rig.table("rabbit", broker.at, consume__queue=queue),
                sqs_rig.table("sqs", service.at, consume__queue_url=url, consume__visibility="3s"),
            ]
        )
        nodes = [make_hub(config, folder=tmp_path / f"node-{n}", database=database) for n in range(NODES)]
        for node in nodes:
            await node.start()
        sent: list[str] = []
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            publish = fill("rabbit", lambda texts: broker.publish(queue, *map(str.encode, texts)), sent, enough)
            tasks.create_task(publish)
            tasks.create_task(fill("sqs", lambda texts: service.send(url, *texts), sent, enough))
            for _ in range(KILLS):
                await asyncio.sleep(random_.uniform(0, LONGEST_LIFE))
                node = random_.choice(nodes)
                await node.kill()
                await node.launch()
                if random_.random() < 0.7:
                    await node.ready()
            for node in nodes:
                await node.ready()
            enough.set()

        async def all_are_there() -> bool:
            _, answer = await nodes[0].call("GET", "/graph/version")
            return bool(answer["graph_version"] >= len(sent))

        await until(all_are_there, within=SETTLE_SECONDS, what="what was confirmed is committed")
        await until(lambda: service.is_empty(url), within=SETTLE_SECONDS, what="SQS has no more")
        answers = [await everything_asked(node) for node in nodes]
        assert answers[1:] == answers[:-1], "the nodes' indexes differ"
        for node in nodes:
            assert await node.terminate() == 0, node.last_words
        assert await broker.waiting(queue) == 0
    async with await create_graph_service(database) as graph:
        log = await whole_log(graph)
    assert [entry.version for entry in log] == list(range(1, len(log) + 1))
    assert sorted(entry.document_id for entry in log) == sorted(sent)
