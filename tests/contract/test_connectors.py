"""What every built-in connector must do, whatever it is connected to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel

from hub.net import Network
from hub.plugins import Plugins
from hub.sdk import API_VERSION, ConnectorSpec, Health, Lists, Pulls
from tests import sqs_rig
from tests.connector_rig import LOOPBACK, Graph, context, pull, served
from tests.rabbitmq_rig import wires

PLUGINS = Plugins()
SECRET = "whsec_" + "aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8="
ANATOMY = ("config", "client", "mapping", "connector")


@dataclass
class World:
    """An outside system: the table that reaches it, and what changes in it."""

    table: dict[str, Any]
    change: Callable[[], None] = lambda: None
    """Adds a document, edits one and, where the kind can tell, removes one."""


@asynccontextmanager
async def folder(tmp_path: Path) -> AsyncIterator[World]:
    root = tmp_path / "world"
    root.mkdir()
    for number in range(7):
        path = root / f"{number}.md"
        path.write_text(f"# Page {number}\n")
        os.utime(path, (1e9, 1e9))
    (root / "lines.ndjson").write_text("".join(f'{{"_id": "line-{n}", "text": "Line {n}."}}\n' for n in range(5)))

    def change() -> None:
        (root / "1.md").unlink()
        (root / "2.md").write_text("# Edited\n")
        (root / "new.md").write_text("# New\n")
        (root / "lines.ndjson").write_text('{"_id": "line-1", "text": "Edited."}\n')

    yield World({"path": str(root)}, change)


@asynccontextmanager
async def feed(_: Path) -> AsyncIterator[World]:
    texts = {f"urn:{number}": f"Entry {number}." for number in range(7)}

    async def answer(_: web.Request) -> web.Response:
        entries = "".join(
            f"<entry><id>{id_}</id><title>T {id_}</title><content>{text}</content></entry>"
            for id_, text in texts.items()
        )
        return web.Response(text=f'<feed xmlns="http://www.w3.org/2005/Atom">{entries}</feed>', content_type="text/xml")

    async with served(answer) as url:
        yield World({"url": url}, lambda: texts.update({"urn:2": "Edited.", "urn:new": "New."}))


@asynccontextmanager
async def webhook(_: Path) -> AsyncIterator[World]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    async with served(answer) as url:
        yield World({"receive": {"secret": SECRET}, "notify": {"url": url, "secret": SECRET}})


@asynccontextmanager
async def rabbitmq(_: Path) -> AsyncIterator[World]:
    async with wires() as broker:
        queue = await broker.queue()
        yield World({"url": broker.url, "consume": {"queue": queue}, "notify": {"routing_key": queue}})
        await broker.delete(queue)


@asynccontextmanager
async def sqs(_: Path) -> AsyncIterator[World]:
    async with sqs_rig.sqs() as service:
        url = await service.queue()
        table = {"region": sqs_rig.REGION, "endpoint_url": service.at, "access_key_id": "test"}
        yield World({**table, "secret_access_key": SECRET, "consume": {"queue_url": url}, "notify": {"queue_url": url}})


WORLDS = {"filesystem": folder, "feed": feed, "webhook": webhook, "rabbitmq": rabbitmq, "sqs": sqs}
NOWHERE: dict[str, dict[str, Any]] = {
    "filesystem": {"path": "/no/such/folder"},
    "feed": {"url": "http://127.0.0.1:9/"},
    "webhook": {"notify": {"url": "http://127.0.0.1:9/", "secret": SECRET}},
    "rabbitmq": {"url": "amqp://127.0.0.1:9", "consume": {"queue": "documents"}},
    "sqs": {
        "region": "eu-central-1",
        "endpoint_url": "http://127.0.0.1:9/",
        "access_key_id": "test",
        "secret_access_key": "test",
        "consume": {"queue_url": "http://127.0.0.1:9/000000000000/documents"},
    },
}
"""Tables that are right, of systems that are not there."""

Make = Callable[..., Any]


@pytest.fixture(params=PLUGINS.kinds)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    assert name in WORLDS, f"a connector without a world of its own is not tested: {name}"
    return name


@pytest.fixture
def spec(kind: str) -> ConnectorSpec:
    return PLUGINS.spec(kind)


@pytest.fixture
async def world(kind: str, tmp_path: Path) -> AsyncIterator[World]:
    async with WORLDS[kind](tmp_path) as opened:
        yield opened


@pytest.fixture
async def make(spec: ConnectorSpec) -> AsyncIterator[Make]:
    """Makes an instance from a table, as the hub does."""
    async with Network() as network:
        made: list[Any] = []

        def make(table: dict[str, Any]) -> Any:
            http = network.client("it", allow_networks=LOOPBACK)
            made.append(spec.create(spec.config.model_validate(table), context(http, "it")))
            return made[-1]

        yield make
        for connector in made:
            await connector.aclose()


def test_it_declares_itself_and_has_the_anatomy_of_its_twins(kind: str, spec: ConnectorSpec) -> None:
    assert (spec.kind, spec.api_version) == (kind, API_VERSION)
    assert spec.summary.endswith(".")
    for part in ANATOMY:
        assert import_module(f"connectors.{kind}.{part}").__doc__, "each part says what it is"


def test_its_configuration_survives_a_round_trip_and_shows_no_secret(spec: ConnectorSpec, world: World) -> None:
    config = spec.config.model_validate(world.table)
    assert spec.config.model_validate(config.model_dump()) == config
    assert "aGVsbG8" not in repr(config)
    assert "aGVsbG8" not in config.model_dump_json()


def test_a_key_that_it_does_not_know_is_refused(spec: ConnectorSpec, world: World) -> None:
    with pytest.raises(ValueError, match="no_such_key"):
        spec.config.model_validate({**world.table, "no_such_key": 1})


async def test_it_can_be_made_without_its_system_and_says_that_it_is_not_there(kind: str, make: Make) -> None:
    connector = make(NOWHERE[kind])
    async with asyncio.timeout(20):
        health: Health = await connector.check()
    assert not health.ok
    assert health.detail


async def test_a_check_of_a_system_that_is_there_is_quick(make: Make, world: World) -> None:
    async with asyncio.timeout(5):
        assert (await make(world.table).check()).ok


pulling = pytest.mark.parametrize(
    "kind", [kind for kind in PLUGINS.kinds if PLUGINS.spec(kind).checkpoint], indirect=True
)
listing = pytest.mark.parametrize("kind", ["filesystem"], indirect=True)


@pulling
async def test_what_declares_a_checkpoint_pulls(make: Make, world: World) -> None:
    assert isinstance(make(world.table), Pulls)


async def checkpoints(connector: Any, page_size: int) -> list[BaseModel | None]:
    """What is saved after each batch of one run."""
    found: list[BaseModel | None] = []
    whole = Graph()
    taken = 0
    while True:
        taken += 1
        graph = Graph()
        found.append(await pull(connector, graph, page_size=page_size, batches=taken))
        if graph.writes == whole.writes and len(found) > 1:
            return found
        whole = graph


@pulling
@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_a_pull_may_stop_after_any_batch_and_goes_on_to_the_same_graph(
    make: Make, world: World, page_size: int
) -> None:
    connector = make(world.table)
    whole = Graph()
    await pull(connector, whole, page_size=page_size)
    assert whole.documents
    assert not whole.failures
    for batches in range(1, len(await checkpoints(connector, page_size)) + 1):
        graph = Graph()
        since = await pull(connector, graph, page_size=page_size, batches=batches)
        await pull(make(world.table), graph, since, page_size=page_size)
        assert graph.documents == whole.documents


@pulling
@pytest.mark.parametrize("page_size", [1, 100])
async def test_a_pull_from_the_last_checkpoint_brings_the_graph_to_where_a_first_pull_would(
    make: Make, world: World, page_size: int
) -> None:
    connector = make(world.table)
    graph, fresh = Graph(), Graph()
    since = await pull(connector, graph, page_size=page_size)
    world.change()
    await pull(connector, graph, since, page_size=page_size)
    await pull(make(world.table), fresh)
    assert graph.documents == fresh.documents


@pulling
async def test_a_pull_of_what_has_not_changed_settles(make: Make, world: World) -> None:
    connector = make(world.table)
    graph = Graph()
    since = await pull(connector, graph)
    before = dict(graph.documents)
    since = await pull(connector, graph, since)
    assert await pull(connector, graph, since) is not None
    assert graph.documents == before
    assert graph.deletes == []


@pulling
async def test_its_checkpoints_are_of_the_model_that_it_declares(spec: ConnectorSpec, make: Make, world: World) -> None:
    connector = make(world.table)
    checkpoint = await pull(connector, Graph())
    assert spec.checkpoint is not None
    assert type(checkpoint) is spec.checkpoint


@listing
async def test_its_listing_is_what_a_pull_brings(make: Make, world: World) -> None:
    connector = make(world.table)
    assert isinstance(connector, Lists)
    graph = Graph()
    await pull(connector, graph)
    assert {document_id async for document_id in connector.list_ids()} == set(graph.documents)


@pulling
async def test_two_of_its_instances_bring_documents_with_different_ids(spec: ConnectorSpec, world: World) -> None:
    graphs = {name: Graph() for name in ("one", "two")}
    async with Network() as network:
        for name, graph in graphs.items():
            http = network.client(name, allow_networks=LOOPBACK)
            connector = spec.create(spec.config.model_validate(world.table), context(http, name))
            await pull(connector, graph)
            await connector.aclose()
    shared = graphs["one"].documents.keys() & graphs["two"].documents.keys()
    assert {name for name in shared if not name.startswith("line-")} == set(), "lines bring ids of their own"
