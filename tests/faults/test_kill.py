"""kill -9 at random, while documents are posted, a folder is read and webhooks go out: nothing is lost or doubled.

AIME_KILLS sets how often (a release is tried with 50), AIME_SEED repeats a run; the test's name tells the seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.load import (
    FILES,
    SETTLE_SECONDS,
    Client,
    Folder,
    a_store_without_faults_is_the_same,
    acknowledged,
    everything_asked,
    folder_is_read,
    the_documents_are_there,
    the_log_says_each_once,
    webhooks_have_arrived,
)
from tests.faults.rig import HubProcess, Receiver, config, until

KILLS = int(os.environ.get("AIME_KILLS", "5"))
SEED = int(os.environ.get("AIME_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
CLIENTS = 4
LONGEST_LIFE = 2.0
"""Seconds from a start to the kill. A start takes about one, so some are killed in the middle of it."""
LAST_LIFE = 400
"""Contents that are acknowledged after the last kill."""


@pytest.mark.timeout(120 + 30 * KILLS)
@pytest.mark.parametrize("seed", [SEED])
async def test_kill_nine_at_random_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, make_hub: Callable[..., HubProcess], receiver: Receiver, seed: int
) -> None:
    random_ = random.Random(seed)
    folder = Folder(tmp_path / "notes", random_)
    folder.change(FILES // 2)
    hub = make_hub(config(folder=folder.path, receiver=receiver))
    clients = [Client(f"client-{n}", hub, random.Random(random_.random())) for n in range(CLIENTS)]
    await hub.start()

    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.work(enough))
        for _ in range(KILLS):
            folder.change(FILES // 2)
            await asyncio.sleep(random_.uniform(0, LONGEST_LIFE))
            await hub.kill()
            await hub.launch()
            if random_.random() < 0.7:
                await hub.ready()
        await hub.ready()
        # The last life takes in enough that its index is one that was fed piece by piece, not one just read from disk.
        fed = acknowledged(clients) + LAST_LIFE
        await until(lambda: acknowledged(clients) >= fed, within=SETTLE_SECONDS, what="the last hub takes documents")
        enough.set()

    await folder_is_read(hub, folder)
    await webhooks_have_arrived(hub, receiver)
    answers = await everything_asked(hub)
    assert await hub.terminate() == 0

    await the_log_says_each_once(hub.store_url, clients)
    await the_documents_are_there(hub.store_url, clients)
    await a_store_without_faults_is_the_same(hub.store_url, tmp_path / "fresh.db")
    copy = make_hub(config(), folder=tmp_path / "copy")
    for file in tmp_path.glob("aime.db*"):
        if file.is_file() and not file.name.endswith(".lock"):
            shutil.copy(file, copy.folder / file.name)
    await copy.start()
    assert await everything_asked(copy) == answers, "the index that lived through the kills differs from a rebuilt one"
