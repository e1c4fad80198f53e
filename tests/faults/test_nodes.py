"""Three nodes on one PostgreSQL database: killed, restarted in turn, frozen and cut off under load.

AIME_KILLS sets how often one is killed (a release is tried with 50), AIME_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import signal
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from core.plan import content_hash
from core.service import create_graph_service
from tests import rabbitmq_rig, sqs_rig
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
    whole_log,
)
from tests.faults.rig import AIME, HubProcess, Receiver, config, environment, until
from tests.gremlin_rig import OwnServer as GremlinServer
from tests.postgres_rig import Wire
from tests.rabbitmq_rig import Wires, wires
from tests.sqs_rig import Sqs, sqs

KILLS = int(os.environ.get("AIME_KILLS", "5"))
SEED = int(os.environ.get("AIME_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
NODES = 3
CLIENTS = 6
LONGEST_LIFE = 2.0
FEED_SECONDS = 1.0
TAKEN_OVER_WITHIN = 15.0
CUT_SECONDS = 30.0
READ_WITHIN = 3.0
"""The folder, once it was taken over."""


class Cluster:
    """Nodes behind a balancer that knows nothing: each call goes to the next of them."""

    def __init__(self, nodes: list[HubProcess]) -> None:
        self.nodes = nodes
        self.up = asyncio.Event()
        self.up.set()
        self._turn = 0

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Raises aiohttp.ClientError when the node is not there, or takes no work."""
        self._turn += 1
        return await self.ask(self.nodes[self._turn % len(self.nodes)], method, path, **options)

    async def ask(self, node: HubProcess, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """The same of one node."""
        try:
            status, answer = await node.call(method, path, **options)
        except TimeoutError as error:
            raise aiohttp.ClientConnectionError("no answer in time") from error
        if status == 503:
            raise aiohttp.ClientConnectionError(answer["detail"])
        return status, answer

    async def start(self) -> None:
        # The first makes the tables; the others would wait for it.
        for node in self.nodes:
            await node.start()

    async def stop(self) -> None:
        for node in self.nodes:
            assert await node.terminate() == 0, node.last_words


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "notes", random.Random(SEED))
    folder.change(FILES // 2)
    return folder


@pytest.fixture
def make_node(
    tmp_path: Path, folder: Folder, make_hub: Callable[..., HubProcess], receiver: Receiver
) -> Callable[..., HubProcess]:
    """Makes a node on a database, with what is configured beside the folder and the receiver."""
    text = config(folder=folder.path, receiver=receiver).replace('"file:secret"', f'"file:{tmp_path / "secret"}"')
    numbers = count()

    def make(database: str, more: str = "") -> HubProcess:
        return make_hub(text + more, folder=tmp_path / f"node-{next(numbers)}", database=database)

    return make


@pytest.fixture
def cluster(database: str, make_node: Callable[..., HubProcess]) -> Cluster:
    return Cluster([make_node(database) for _ in range(NODES)])


class Feeder:
    """Puts documents into two queues: each its own in RabbitMQ; in an SQS FIFO queue version after version of a few."""

    def __init__(self, rabbit: Wires, queue: str, sqs: Sqs, fifo: str) -> None:
        self.rabbit, self.queue, self.sqs, self.fifo = rabbit, queue, sqs, fifo
        self.contents: dict[str, list[str]] = {}
        self._number = 0

    async def work(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            once = [self._message(f"rabbit-{self._number + n}") for n in range(20)]
            await self.rabbit.publish(self.queue, *(body.encode() for body in once))
            names = [f"fifo-{n}" for n in range(5)]
            await self.sqs.send(self.fifo, *map(self._message, names), groups=names)
            await asyncio.sleep(FEED_SECONDS)

    def _message(self, document_id: str) -> str:
        self._number += 1
        content = f"The tide table of {document_id}, number {self._number}, is out."
        self.contents.setdefault(document_id, []).append(content)
        return json.dumps({"document_id": document_id, "content": content, "metadata": {"source": "queue"}})

    async def is_consumed(self) -> bool:
        return await self.rabbit.waiting(self.queue) == 0 and await self.sqs.is_empty(self.fifo)


@pytest.fixture
async def feeder() -> AsyncIterator[Feeder]:
    async with wires() as rabbit, sqs() as service:
        yield Feeder(rabbit, await rabbit.queue(), service, await service.queue(fifo=True))


@pytest.fixture
async def graph_server(tmp_path: Path) -> AsyncIterator[GremlinServer]:
    server = GremlinServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


@pytest.mark.timeout(240 + 20 * KILLS)
@pytest.mark.parametrize("seed", [SEED])
async def test_kill_nine_of_one_node_of_three_loses_nothing_and_does_nothing_twice(
    database: str,
    make_node: Callable[..., HubProcess],
    folder: Folder,
    receiver: Receiver,
    feeder: Feeder,
    graph_server: GremlinServer,
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = rabbitmq_rig.table("rabbit", feeder.rabbit.at, consume__queue=feeder.queue)
    more += sqs_rig.table("fifo", feeder.sqs.at, consume__queue_url=feeder.fifo, consume__visibility="3s")
    more += f'[projection]\nurl = "ws://127.0.0.1:{graph_server.port}/gremlin"\n'
    cluster = Cluster([make_node(database, more) for _ in range(NODES)])
    random_ = random.Random(seed)
    clients = [Client(f"client-{n}", cluster, random.Random(random_.random())) for n in range(CLIENTS)]
    await cluster.start()
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feeder.work(enough))
        for client in clients:
            tasks.create_task(client.work(enough))
        for _ in range(KILLS):
            folder.change(FILES // 4)
            await asyncio.sleep(random_.uniform(0, LONGEST_LIFE))
            node = random_.choice(cluster.nodes)
            await node.kill()
            await node.launch()
            if random_.random() < 0.7:
                await node.ready(within=SETTLE_SECONDS)
        for node in cluster.nodes:
            await node.ready(within=SETTLE_SECONDS)
        fed = acknowledged(clients) + 200
        await until(lambda: acknowledged(clients) >= fed, within=SETTLE_SECONDS, what="documents are taken at the end")
        enough.set()

    await until(feeder.is_consumed, within=SETTLE_SECONDS, what="the queues are empty")
    await folder_is_read(cluster, folder)
    await webhooks_have_arrived(cluster, receiver)
    answers = [await everything_asked(node) for node in cluster.nodes]
    assert answers[1:] == answers[:-1], "the nodes' indexes differ"
    await the_projection_is_the_graph(cluster)
    await cluster.stop()
    await the_log_says_each_once(database, clients)
    await the_documents_are_there(database, clients)
    await every_message_is_in_the_log(database, feeder)
    await a_store_without_faults_is_the_same(database, tmp_path / "fresh.db")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    rebuilt = make_node(database)
    await rebuilt.start()
    assert await everything_asked(rebuilt) == answers[0], "the indexes that were fed differ from a new one"


async def the_projection_is_the_graph(cluster: Cluster) -> None:
    lag = math.inf

    async def is_followed() -> bool:
        nonlocal lag
        lag = max([await projection_lag(node) for node in cluster.nodes])
        return lag == 0

    await until(is_followed, within=SETTLE_SECONDS, what="the projection follows", progress=lambda: lag)
    node = cluster.nodes[0]
    options = ("--config", str(node.config), "--store", node.store_url)
    process = await asyncio.create_subprocess_exec(AIME, "projection", "verify", *options, env=environment())
    assert await process.wait() == 0, "the projection differs from the graph"


async def projection_lag(node: HubProcess) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{node.url}/metrics") as response:
        (lag,) = re.findall(r"^aime_projection_lag_versions (\S+)", await response.text(), re.MULTILINE)
        return float(lag)


async def every_message_is_in_the_log(database: str, feeder: Feeder) -> None:
    """Once, and the versions of a document in the order in which they were sent."""
    versions = defaultdict(list)
    async with await create_graph_service(database) as service:
        for entry in await whole_log(service):
            if entry.document is not None:
                versions[entry.document_id].append(entry.document.content_hash)
    for document_id, contents in feeder.contents.items():
        assert versions[document_id] == [content_hash(content) for content in contents], document_id


class Asker:
    """Does what a good client does: what fails is tried once more, elsewhere."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random = random.Random(SEED)
        self.done = 0
        self.lost: list[str] = []

    async def work(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            number = self.done
            body = {"document_id": f"asked-{number % 40}", "content": f"The tide table of day {number} is out."}
            await self._once_more("POST", "/documents", json=body)
            await self._once_more("POST", "/query", json={"query": "Which tide table is out?"})
            self.done += 1

    async def _once_more(self, method: str, path: str, **options: Any) -> None:
        first, second = self._random.sample(self._cluster.nodes, 2)
        for node in (first, second):
            try:
                status, answer = await self._cluster.ask(node, method, path, **options)
            except aiohttp.ClientError as error:
                if node is second:
                    self.lost.append(f"{method} {path}: {error!r}")
            else:
                if status != 200:
                    self.lost.append(f"{method} {path}: {status} {answer}")
                return


@pytest.mark.timeout(240)
async def test_a_rolling_restart_fails_no_request_that_is_tried_once_more(cluster: Cluster) -> None:
    await cluster.start()
    asker = Asker(cluster)
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(asker.work(enough))
        for node in cluster.nodes:
            assert await node.terminate() == 0, node.last_words
            await node.start()
            then = asker.done + 50
            await until(lambda then=then: asker.done >= then, within=SETTLE_SECONDS, what="requests are served")
        enough.set()
    assert asker.lost == []
    assert asker.done > 150
    await cluster.stop()


async def driver(cluster: Cluster) -> HubProcess:
    """The node that pulls, once all have heard of it."""

    async def agreed() -> bool:
        named = {await named_by(node) for node in cluster.nodes}
        return len(named) == 1 and None not in named

    await until(agreed, within=TAKEN_OVER_WITHIN, what="the nodes agree on who drives")
    name = await named_by(cluster.nodes[0])
    return next(node for node in cluster.nodes if node_name(node) == name)


async def named_by(node: HubProcess) -> str | None:
    """Which node drives the folder's connector, as this one has heard: `HOST:PROCESS`."""
    _, listed = await node.call("GET", "/admin/connectors")
    (files,) = [item for item in listed["connectors"] if item["name"] == "files"]
    return None if files["node"] is None else files["node"].rpartition(":")[0]


def node_name(node: HubProcess) -> str:
    return f"{socket.gethostname()}:{node.pid}"


@pytest.mark.timeout(240)
async def test_what_a_node_drove_is_taken_over_within_15_seconds_of_its_end(
    cluster: Cluster, folder: Folder, receiver: Receiver
) -> None:
    await cluster.start()
    await folder_is_read(cluster, folder)
    first = await driver(cluster)
    await first.kill()
    folder.change(5)
    cluster.nodes.remove(first)
    began = asyncio.get_running_loop().time()
    await folder_is_read(cluster, folder)
    assert asyncio.get_running_loop().time() - began < TAKEN_OVER_WITHIN + READ_WITHIN
    assert await driver(cluster) in cluster.nodes
    await webhooks_have_arrived(cluster, receiver)
    await cluster.stop()


@pytest.mark.timeout(240)
async def test_a_node_that_was_frozen_does_nothing_under_leases_that_went_to_others(
    cluster: Cluster, folder: Folder, receiver: Receiver
) -> None:
    await cluster.start()
    await folder_is_read(cluster, folder)
    frozen = await driver(cluster)
    frozen.process.send_signal(signal.SIGSTOP)
    others = Cluster([node for node in cluster.nodes if node is not frozen])
    try:
        folder.change(10)
        await folder_is_read(others, folder)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    folder.change(10)
    await folder_is_read(cluster, folder)
    assert await driver(cluster) in others.nodes
    await webhooks_have_arrived(cluster, receiver)
    await cluster.stop()


@pytest.mark.timeout(300)
async def test_a_node_that_is_cut_off_from_the_database_acknowledges_nothing_and_comes_back(
    database: str, make_node: Callable[..., HubProcess], folder: Folder, receiver: Receiver, tmp_path: Path
) -> None:
    port = urlsplit(database).port
    assert port is not None
    wire = Wire(port)
    await wire.open()
    cut, other = make_node(database.replace(str(port), str(wire.port))), make_node(database)
    cluster = Cluster([cut, other])
    await cluster.start()
    await folder_is_read(cluster, folder)
    assert await driver(cluster) is cut
    clients = [Client(f"client-{n}", cluster, random.Random(SEED + n)) for n in range(CLIENTS)]
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.work(enough))
        await until(lambda: acknowledged(clients) > 50, within=SETTLE_SECONDS, what="documents are taken")

        wire.fall_silent()
        posted = tasks.create_task(settled(cut.call("POST", "/documents", json={"document_id": "x", "content": "X."})))
        folder.change(10)

        async def is_taken_over() -> bool:
            return await named_by(other) == node_name(other)

        await until(is_taken_over, within=TAKEN_OVER_WITHIN, what="the other node takes over")
        await folder_is_read(other, folder)
        status, _ = await cut.call("GET", "/readyz")
        assert status == 503
        done, _ = await asyncio.wait({posted}, timeout=max(0.0, CUT_SECONDS - TAKEN_OVER_WITHIN))
        assert {task.result() for task in done} <= {503, None}
        wire.speak()

        before = len(clients[0].acknowledged)
        await until(lambda: len(clients[0].acknowledged) > before + 20, within=SETTLE_SECONDS, what="work goes on")
        await cut.ready(within=SETTLE_SECONDS)
        enough.set()

    status, _ = await cut.call("POST", "/documents", json={"document_id": "y", "content": "The tide is out."})
    assert status == 200
    folder.change(10)
    await folder_is_read(cut, folder)
    await webhooks_have_arrived(cluster, receiver)
    answers = [await everything_asked(node) for node in cluster.nodes]
    assert answers[0] == answers[1]
    await cluster.stop()
    await wire.close()
    await the_log_says_each_once(database, clients)
    await the_documents_are_there(database, clients)


async def settled(call: Awaitable[tuple[int, Any]]) -> int | None:
    """The status, or None where there was no answer."""
    try:
        return (await call)[0]
    except (aiohttp.ClientError, TimeoutError):
        return None
