"""Work for hubs that are hurt: clients and a folder that know what was acknowledged, and what must then hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from core.model import LogEntry, Op
from core.plan import content_hash
from core.service import GraphService, create_graph_service
from hub.export import export_graph
from tests.faults.rig import Json, Receiver, until

DOCUMENTS = 15
"""Ids of one client; it posts each again and again, with ever new content."""
FILES = 60
SETTLE_SECONDS = 60.0
PEOPLE = [f"{first} {last}" for first in ("Ada", "Bruno", "Clara", "Dario") for last in ("Kerrin", "Molnar", "Osei")]
PLACES = ["Lowmere Works", "Port Ambrose", "Tarn Valley", "Hollin Bridge", "Vasterholm Library"]


def compose(random_: random.Random, title: str, number: int) -> str:
    """A text that nothing else in the run equals."""
    verbs = ("founded", "rebuilt", "described", "left")
    sentences = [f"{title}, state {number}."]
    for _ in range(random_.randint(1, 6)):
        year = random_.randint(1800, 2020)
        sentences.append(f"{random_.choice(PEOPLE)} {random_.choice(verbs)} the {random_.choice(PLACES)} in {year}.")
    return " ".join(sentences)


class Hub(Protocol):
    """What takes calls: a hub, or several on one store."""

    @property
    def up(self) -> asyncio.Event:
        """Set while it is worth trying."""
        ...

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON. Raises aiohttp.ClientError when nothing answers."""
        ...


class Client:
    """Posts and deletes documents of its own, one call at a time, and remembers what the hub acknowledged."""

    def __init__(self, name: str, hub: Hub, random_: random.Random) -> None:
        self.held: dict[str, str | None] = {}
        """What was acknowledged last of each document; None where that was its removal."""
        self.acknowledged: list[tuple[str, str, int]] = []
        """(document, content, graph version) of every content that was."""
        self._name = name
        self._hub = hub
        self._random = random_
        self._number = 0

    async def work(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            document_id = f"{self._name}-{self._random.randrange(DOCUMENTS)}"
            if self.held.get(document_id) and self._random.random() < 0.1:
                await self._delete(document_id)
            else:
                await self._post(document_id)

    async def _post(self, document_id: str) -> None:
        """A new content, until one is acknowledged. One whose fate is unknown is sent again, or a newer one instead, as
        sources do."""
        content = self._compose(document_id)
        while True:
            body = {
                "document_id": document_id,
                "content": content,
                "metadata": {"title": document_id, "source": "test"},
            }
            answer = await self._call("POST", "/documents", json=body)
            if answer is not None:
                status, result = answer
                assert status == 200, result
                self.held[document_id] = content
                self.acknowledged.append((document_id, content, result["graph_version"]))
                return
            if self._random.random() < 0.3:
                content = self._compose(document_id)

    async def _delete(self, document_id: str) -> None:
        while (answer := await self._call("DELETE", f"/documents/{document_id}")) is None:
            pass
        status, result = answer
        assert status in (200, 404), result
        self.held[document_id] = None

    async def _call(self, method: str, path: str, **options: Any) -> tuple[int, Any] | None:
        """None when the hub died over it."""
        await self._hub.up.wait()
        try:
            return await self._hub.call(method, path, **options)
        except aiohttp.ClientError:
            return None

    def _compose(self, document_id: str) -> str:
        self._number += 1
        return compose(self._random, f"{PEOPLE[self._number % len(PEOPLE)]} of {document_id}", self._number)


class Folder:
    """A folder that somebody works in."""

    def __init__(self, path: Path, random_: random.Random) -> None:
        self.path = path
        self.contents: dict[str, str] = {}
        self._random = random_
        path.mkdir()

    def change(self, times: int) -> None:
        for _ in range(times):
            name = f"{self._random.choice('abc')}/note-{self._random.randrange(FILES // 3)}.txt"
            content = compose(self._random, name, self._random.randrange(10**9))
            file = self.path / name
            file.parent.mkdir(exist_ok=True)
            # Written aside and moved into place, as editors do: nobody reads half a file.
            aside = file.with_name(f".{file.name}")
            aside.write_text(content, encoding="utf-8")
            aside.rename(file)
            self.contents[name] = content


def acknowledged(clients: list[Client]) -> int:
    return sum(len(client.acknowledged) for client in clients)


async def folder_is_read(hub: Hub, folder: Folder) -> None:
    wanted = Counter(folder.contents.values())

    async def is_read() -> bool:
        found = await texts(hub, source="files")
        return Counter(found.values()) == wanted

    await until(is_read, within=SETTLE_SECONDS, what="each file of the folder is one document, as it stands now")


async def texts(hub: Hub, *, source: str) -> dict[str, str]:
    """Every document of a source with its text."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        _, page = await hub.call("GET", "/documents", params={"source": source, "cursor": cursor, "limit": "500"})
        for document in page["documents"]:
            _, state = await hub.call("GET", f"/documents/{document['document_id']}")
            found[document["document_id"]] = state["content"]
        if page["next"] is None:
            return found
        cursor = page["next"]


async def webhooks_have_arrived(hub: Hub, receiver: Receiver) -> None:
    """Each version's event, under one id each, and for each document in the order of the versions."""
    _, version = await hub.call("GET", "/graph/version")
    wanted = set(range(1, version["graph_version"] + 1))
    await until(
        lambda: {arrival.data["graph_version"] for arrival in receiver.arrivals} >= wanted,
        within=SETTLE_SECONDS,
        what="the webhook of every version arrives",
        progress=lambda: len(receiver.arrivals),
    )
    assert receiver.forged == 0
    ids = defaultdict(set)
    versions = defaultdict(list)
    for arrival in receiver.arrivals:
        ids[arrival.data["graph_version"]].add(arrival.id)
        versions[arrival.data["document_id"]].append(arrival.data["graph_version"])
    assert {version: found for version, found in ids.items() if len(found) > 1} == {}
    assert len(set.union(*ids.values())) == len(ids), "two versions share a webhook-id"
    assert {name: order for name, order in versions.items() if order != sorted(order)} == {}


async def everything_asked(hub: Hub) -> Json:
    """What the index knows: rankings, answers, entities and their neighbours."""
    questions = [f"Who {verb} the {place}?" for verb in ("founded", "left") for place in PLACES]
    questions += [f"What did {person} describe?" for person in PEOPLE]
    found: Json = {}
    for question in questions:
        _, found[question] = await hub.call("POST", "/query", json={"query": question, "top_k": 10})
    _, found["entities"] = await hub.call("GET", "/graph/entities", params={"limit": "100"})
    for entity in found["entities"]["entities"]:
        _, found[entity["id"]] = await hub.call("GET", f"/graph/entities/{entity['id']}")
    return found


async def the_log_says_each_once(store: str, clients: list[Client]) -> None:
    async with await create_graph_service(store) as service:
        log = await whole_log(service)
    assert [entry.version for entry in log] == list(range(1, len(log) + 1))
    states = Counter(
        (document.document_id, document.content_hash, document.metadata.model_dump_json())
        for document in (entry.document for entry in log if entry.op is Op.UPSERT)
        if document is not None
    )
    assert [state for state, times in states.items() if times > 1] == [], "committed twice"
    versions = {
        (entry.document_id, entry.document.content_hash): entry.version for entry in log if entry.document is not None
    }
    for client in clients:
        for document_id, content, version in client.acknowledged:
            assert versions[document_id, content_hash(content)] == version


async def whole_log(service: GraphService) -> list[LogEntry]:
    log: list[LogEntry] = []
    while page := await service.store.changes(log[-1].version if log else 0, 500, content=True):
        log.extend(page)
    return log


async def the_documents_are_there(store: str, clients: list[Client]) -> None:
    held = {id_: content for client in clients for id_, content in client.held.items() if content is not None}
    assert held, "the clients got nothing done"
    async with await create_graph_service(store) as service:
        stored = {
            document.document_id: (await service.document(document.document_id)).text
            for document in await service.documents(filters={"source": "test"}, limit=10_000)
        }
    assert stored == held


async def a_store_without_faults_is_the_same(store: str, fresh: Path) -> None:
    """The same documents, taken in once and in peace, make the same graph, to the byte."""
    async with (
        await create_graph_service(store) as hurt,
        await create_graph_service(f"sqlite:{fresh}") as healthy,
    ):
        documents = [
            {
                "document_id": document.document_id,
                "content": (await hurt.document(document.document_id)).text,
                "metadata": document.metadata.as_json(),
            }
            for document in await hurt.documents(limit=10_000)
        ]
        assert not [result.error async for result in healthy.process_documents(documents) if result.error]
        for form in ("json", "graphml"):
            assert await exported(hurt, form) == await exported(healthy, form)


async def exported(service: GraphService, form: Any) -> str:
    return "".join([piece async for piece in export_graph(service.store, form)])
