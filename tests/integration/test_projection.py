"""The projection against a real Gremlin server: after whatever happened, the server holds what the store holds."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.aws.neptune import NeptuneClient, g
from core.errors import GraphServerConflict, GraphServerError, GraphServerUnavailable
from core.projection.elements import Edge, Elements, Vertex
from core.projection.gremlin import MARKER, GremlinGraph, batches, retry_conflicts
from core.projection.projection import CURSOR, Cursor, Projection
from core.projection.verify import Report, verify
from core.service import GraphService, create_graph_service
from tests.gremlin_rig import address, answering, results

NAMES = ("Ulm", "Bath", "Cork", "Ada Lovelace", "Grace Hopper", "Analytical Engine", "River Danube")


@pytest.fixture
async def client() -> AsyncIterator[NeptuneClient]:
    host, port = address()
    async with NeptuneClient(host, port, use_ssl=False, pool_size=1) as client:
        await client.query(g.V().drop())
        yield client
        await client.query(g.V().drop())


@pytest.fixture
def graph(client: NeptuneClient) -> GremlinGraph:
    return GremlinGraph(client)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[GraphService]:
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}") as service:
        yield service


@pytest.fixture
def projection(service: GraphService, graph: GremlinGraph) -> Projection:
    return Projection(service, graph)


async def follow(projection: Projection) -> None:
    while await projection.step():
        pass


async def compare(service: GraphService, graph: GremlinGraph, projection: Projection) -> Report:
    return await verify(service, graph, projection, sample=10_000)


def text(chosen: random.Random) -> str:
    return " ".join(
        f"{chosen.choice(NAMES)} met {chosen.choice(NAMES)} in the year {chosen.randrange(1000, 2000)}."
        for _ in range(chosen.randrange(1, 40))
    )


async def change(service: GraphService, chosen: random.Random, times: int) -> None:
    """Random adding, editing and deleting."""
    for _ in range(times):
        document_id = f"doc-{chosen.randrange(12)}"
        if chosen.random() < 0.25:
            await service.delete_document(document_id)
            continue
        metadata = {"title": chosen.choice(NAMES), "author": chosen.choice(NAMES)}
        if chosen.random() < 0.5:
            metadata["source"] = chosen.choice(("cms", "desk"))
        await service.process_document(document_id=document_id, content=text(chosen), metadata=metadata)


@pytest.mark.parametrize("with_chunks", [True, False])
async def test_random_edits_and_deletes_leave_the_server_equal_to_the_store(
    service: GraphService, graph: GremlinGraph, with_chunks: bool
) -> None:
    projection = Projection(service, graph, with_chunks=with_chunks)
    chosen = random.Random(4)
    for _ in range(6):
        await change(service, chosen, 15)
        await follow(projection)
        report = await compare(service, graph, projection)
        assert report.equal, report
        assert report.graph_version == await service.head() == projection.version
    assert projection.rebuilds == 1, "only the first step, on an empty server, writes all"
    assert report.counts["edges"].store > report.counts["entity"].store > 0


async def test_a_deleted_store_leaves_no_vertex_behind(
    service: GraphService, graph: GremlinGraph, projection: Projection
) -> None:
    await service.process_document(document_id="a", content="Ulm lies on the River Danube.", metadata={})
    await follow(projection)
    await service.delete_document("a")
    await follow(projection)
    assert await graph.count_vertices() == {}


async def test_properties_that_went_away_are_gone_on_the_server(
    service: GraphService, client: NeptuneClient, projection: Projection
) -> None:
    await service.process_document(document_id="a", content="Ulm.", metadata={"title": "Town", "source": "cms"})
    await follow(projection)
    await service.process_document(document_id="a", content="Ulm.", metadata={"title": "City"})
    await follow(projection)
    found = await client.get_vertex("d:a")
    assert found is not None
    assert found["title"] == "City"
    assert "source" not in found


async def test_a_server_that_lost_its_memory_is_written_anew(
    service: GraphService, graph: GremlinGraph, client: NeptuneClient, projection: Projection
) -> None:
    await change(service, random.Random(1), 10)
    await follow(projection)
    await client.query(g.V().drop())
    await follow(projection)
    assert projection.rebuilds == 2
    assert (await compare(service, graph, projection)).equal


async def test_a_server_restored_from_an_older_state_is_written_anew(
    service: GraphService, graph: GremlinGraph, client: NeptuneClient, projection: Projection
) -> None:
    await change(service, random.Random(1), 10)
    await follow(projection)
    marker = await graph.marker()
    assert marker is not None
    await graph.mark(marker[0], marker[1] - 1)
    await client.query(g.V("e:nobody", "d:doc-1").drop())
    await follow(projection)
    assert projection.rebuilds == 2
    assert (await compare(service, graph, projection)).equal


async def test_a_cursor_behind_the_collected_history_leads_to_a_rebuild(
    service: GraphService, graph: GremlinGraph, projection: Projection
) -> None:
    chosen = random.Random(2)
    await change(service, chosen, 10)
    await follow(projection)
    await change(service, chosen, 30)
    await service.gc(await service.head())
    await follow(projection)
    assert projection.rebuilds == 2
    assert (await compare(service, graph, projection)).equal


async def test_a_step_that_broke_off_is_done_again_to_the_same_end(
    service: GraphService, graph: GremlinGraph, projection: Projection
) -> None:
    await service.process_document(document_id="a", content="Ulm lies on the River Danube.", metadata={})
    await follow(projection)
    before = await service.store.record(*CURSOR)
    assert before is not None
    await service.process_document(document_id="b", content="Cork has a museum of Ada Lovelace.", metadata={})
    await follow(projection)
    # As a kill leaves it: the step's end is in the cursor, its elements are on the server, its success is nowhere.
    cursor = Cursor.model_validate_json(before)
    await graph.mark(cursor.generation, cursor.version)
    await projection._write(cursor.model_copy(update={"target": await service.head()}))
    await service.delete_document("b")
    again = Projection(service, graph)
    await follow(again)
    assert again.rebuilds == 0
    report = await compare(service, graph, again)
    assert report.equal, report


async def test_a_second_start_follows_on_from_the_cursor(
    service: GraphService, graph: GremlinGraph, projection: Projection
) -> None:
    chosen = random.Random(3)
    await change(service, chosen, 10)
    await follow(projection)
    await projection.close()
    await change(service, chosen, 10)
    again = Projection(service, graph)
    await follow(again)
    assert again.rebuilds == 0
    assert (await compare(service, graph, again)).equal


async def test_verify_finds_what_is_missing_what_is_too_much_and_what_says_something_else(
    service: GraphService, graph: GremlinGraph, client: NeptuneClient, projection: Projection
) -> None:
    with pytest.raises(GraphServerError, match="no projection"):
        await compare(service, graph, projection)
    await service.process_document(document_id="a", content="Ulm lies on the River Danube.", metadata={"title": "x"})
    await follow(projection)
    await client.query(g.V("d:a").property("title", "forged"))
    forged = await compare(service, graph, projection)
    assert not forged.equal
    assert forged.differing == ("d:a",)
    await graph.unmark()
    await follow(projection)
    await client.add_vertex("entity", {"name": "too much"})
    assert not (await compare(service, graph, projection)).equal
    await graph.unmark()
    await follow(projection)
    await client.query(g.E().limit(1).drop())
    lacking = await compare(service, graph, projection)
    assert not lacking.equal
    assert lacking.counts["edges"].server == lacking.counts["edges"].store - 1


async def test_what_is_no_part_of_the_projection_is_left_alone(
    service: GraphService, client: NeptuneClient, projection: Projection
) -> None:
    await client.add_vertex("town", {"id": "mine"})
    await service.process_document(document_id="a", content="Ulm lies on the River Danube.", metadata={})
    await follow(projection)
    assert await client.get_vertex("mine") is not None
    assert await client.get_vertex(MARKER) is not None


def test_a_batch_keeps_to_the_budget_and_loses_nothing() -> None:
    edges = [Edge(f"{n}", "l", "a", "b", (("x", n), ("y", n))) for n in range(100)]
    parts = list(batches(edges, budget=10))
    assert [one for part in parts for one in part] == edges
    assert all(sum(1 + len(one.properties) for one in part) <= 10 for part in parts)
    large = Vertex("v", "l", tuple((str(n), n) for n in range(50)))
    assert list(batches([large, large], budget=10)) == [[large], [large]]


async def test_a_conflict_is_tried_again_and_another_error_is_not() -> None:
    answers: list[Exception | list[int]] = [GraphServerConflict("once"), GraphServerConflict("twice"), [7]]

    async def send() -> list[int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await retry_conflicts(send) == [7]
    answers[:] = [GraphServerUnavailable("down"), [7]]
    with pytest.raises(GraphServerUnavailable):
        await retry_conflicts(send)


async def test_a_graph_that_no_hub_projected_is_left_alone(
    client: NeptuneClient, service: GraphService, projection: Projection
) -> None:
    await service.process_document(document_id="a", content="Ulm is on the Danube.")
    await client.add_vertex("document", {"title": "somebody else's"})
    with pytest.raises(GraphServerError, match="no hub has projected"):
        await projection.step()
    assert await client.query(g.V().values("title")) == ["somebody else's"]


@pytest.mark.parametrize("values", [(), (1, 2), ("many",), (None,), ({"document": "x"},), ({"id": "d:a", "is": None},)])
async def test_gremlin_that_is_no_answer_to_what_was_asked_is_a_typed_error(values: tuple[Any, ...]) -> None:
    wanted = Elements(
        vertices={"d:a": Vertex("d:a", "document", ())}, edges={"x": Edge("x", "mentions", "d:a", "d:a", ())}
    )
    async with (
        answering(results(*values)) as port,
        NeptuneClient("127.0.0.1", port, use_ssl=False, pool_size=1) as client,
    ):
        graph = GremlinGraph(client)
        for asked in (graph.count_vertices, graph.count_edges):
            with pytest.raises(GraphServerUnavailable, match="none to what it was asked"):
                await asked()
        if values:
            with pytest.raises(GraphServerUnavailable, match="none to what it was asked"):
                await graph.missing(wanted)


@pytest.mark.parametrize("version", ["\u00b2", "-1", "", "9" * 19, "9" * 5_000])
async def test_a_marker_that_no_hub_has_written_is_none(version: str) -> None:
    async with (
        answering(results(f"generation {version}")) as port,
        NeptuneClient("127.0.0.1", port, use_ssl=False, pool_size=1) as client,
    ):
        assert await GremlinGraph(client).marker() is None


async def test_a_server_that_holds_nothing_of_what_it_was_sent_is_an_error(service: GraphService) -> None:
    await service.process_document(document_id="a", content="Ada Lovelace went to Bath.")
    async with (
        answering(results()) as port,
        NeptuneClient("127.0.0.1", port, use_ssl=False, pool_size=1) as client,
    ):
        projection = Projection(service, GremlinGraph(client))
        with pytest.raises(GraphServerUnavailable, match="does not hold what was just written"):
            await projection.step()
        assert projection.version == 0
