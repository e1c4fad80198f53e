"""Several processes' services on one PostgreSQL database: each follows what the others commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from core.model import Status
from core.service import GraphService, create_graph_service
from core.store.base import AuditRecord, ChangeSet


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the service tells its state, and no event
            await asyncio.sleep(0.01)


async def test_each_node_answers_with_the_documents_of_the_other(nodes: tuple[GraphService, GraphService]) -> None:
    one, other = nodes
    first = await one.process_document(document_id="bees", content="Honey bees dance to show where flowers are.")
    second = await other.process_document(document_id="owls", content="Barn owls hunt voles at night by ear.")

    answer = await other.query("What do honey bees dance to show?", min_version=first.graph_version)
    assert [source.document_id for source in answer.sources] == ["bees"]
    answer = await one.query("How do barn owls hunt voles at night?", min_version=second.graph_version)
    assert [source.document_id for source in answer.sources] == ["owls"]


async def test_a_node_follows_without_being_asked(nodes: tuple[GraphService, GraphService]) -> None:
    one, other = nodes
    result = await one.process_document(document_id="a", content="Tides follow the moon.")
    await until(lambda: other.index_version >= result.graph_version)
    assert await other.head() == result.graph_version


async def test_two_nodes_that_write_the_same_documents_lose_no_version(
    nodes: tuple[GraphService, GraphService],
) -> None:
    async def write(node: GraphService, name: str) -> list[int]:
        done = []
        for n in range(20):
            content = f"{name} wrote line {n} of this document."
            done.append((await node.process_document(document_id=f"d{n % 3}", content=content)).graph_version)
        return done

    versions = await asyncio.gather(*(write(node, name) for node, name in zip(nodes, ("Ada", "Bob"), strict=True)))

    assert sorted(v for done in versions for v in done) == list(range(1, 41))
    for node in nodes:
        entries = await node.store.changes(0, 100)
        assert [entry.version for entry in entries] == list(range(1, 41))
        await until(lambda node=node: node.index_version == 40)  # type: ignore[misc]


async def test_what_is_the_same_already_on_another_node_is_unchanged(nodes: tuple[GraphService, GraphService]) -> None:
    one, other = nodes
    await one.process_document(document_id="a", content="The same text.")
    again = await other.process_document(document_id="a", content="The same text.")
    assert (again.status, again.graph_version) == (Status.UNCHANGED, 1)


async def test_a_version_that_another_node_wrote_can_be_read_at_once(nodes: tuple[GraphService, GraphService]) -> None:
    one, other = nodes
    result = await one.process_document(document_id="a", content="Tides follow the moon.")
    assert await other.changes(result.graph_version) == []
    answer = await other.query("What do tides follow?", as_of_version=result.graph_version)
    assert [source.document_id for source in answer.sources] == ["a"]


async def test_the_audit_trail_grows_in_commit_order_whoever_writes(nodes: tuple[GraphService, GraphService]) -> None:
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 60:
            seen.extend(r.sequence for r in await nodes[0].store.trail(seen[-1] if seen else 0, 100))

    async def write(node: GraphService) -> None:
        for n in range(30):
            await node.write(ChangeSet(audit=(AuditRecord("tester", "noted", str(n)),)))

    async with asyncio.timeout(60):
        await asyncio.gather(follow(), *(write(node) for node in nodes))
    assert seen == list(range(1, 61))


async def test_a_node_wakes_for_an_audit_record_of_another(nodes: tuple[GraphService, GraphService]) -> None:
    one, other = nodes
    waiting = asyncio.create_task(other.wait_for_trail(0, 30))
    await one.write(ChangeSet(audit=(AuditRecord("tester", "noted"),)))
    assert await waiting


async def test_a_node_goes_on_when_another_collects_history(nodes: tuple[GraphService, GraphService]) -> None:
    one, other = nodes
    for n in range(5):
        await one.process_document(document_id="a", content=f"Edition {n} of the manual on tides.")
    await one.gc(5)
    result = await one.process_document(document_id="b", content="Owls hunt voles by ear.")
    answer = await other.query("How do owls hunt voles?", min_version=result.graph_version)
    assert [source.document_id for source in answer.sources] == ["b"]


async def test_an_index_is_found_again_at_the_next_start(database: str, tmp_path: Path) -> None:
    async with await create_graph_service(database) as node:
        await node.process_document(document_id="a", content="Tides follow the moon.")
        await node.query("What do tides follow?")
    async with await create_graph_service(database) as node:
        folders = sorted(path.name for path in (tmp_path / "cache" / "aime").iterdir() if path.is_dir())
        assert len(folders) == 1
        assert folders[0].endswith("-0")
        assert (await node.query("What do tides follow?")).sources
