"""The export is a function of the documents alone, in a form that graph tools read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import networkx as nx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.model import Change, Delete, Document, Upsert
from core.service import GraphService, create_graph_service
from hub.export import ExportFormat, export_graph

SENTENCES = [
    "The World Health Organization (WHO) met Ada Lovelace.",
    "The WHO and ada lovelace spoke & \x0b <left>.",
    "Acme Inc. hired Dr. Ada Lovelace; Lovelace left Acme.",
    "Nothing of note happened on that day. " * 50,
]
SPACE = "{http://graphml.graphdrawing.org/xmlns}"
READ_AS = {"string": str, "int": int}

documents = st.builds(
    lambda number, content, title: Document.parse(
        {
            "document_id": f"d{number}",
            "content": content,
            "metadata": {"title": title, "author": ["Mary Somerville"], "tags": ["Note", "note"], "doi": "10.1/x"},
        }
    ),
    st.integers(0, 4),
    st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4).map("\n\n".join),
    st.sampled_from(["Ada Lovelace", "ADA LOVELACE", "Letters (1840)"]),
)
changes = documents.map(Upsert) | documents.map(Upsert) | st.integers(0, 4).map(lambda number: Delete(f"d{number}"))


async def exported(history: Sequence[Change], form: ExportFormat) -> str:
    async with await create_graph_service("sqlite::memory:") as service:
        for change in history:
            await service.submit([change], origin="test", actor="test")
        return await text_of(service, form)


async def text_of(service: GraphService, form: ExportFormat) -> str:
    return "".join([piece async for piece in export_graph(service.store, form)])


@given(history=st.lists(changes, min_size=1, max_size=10), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_history_and_its_outcome_in_any_order_export_the_same_bytes(
    history: list[Change], data: st.DataObject
) -> None:
    last: dict[str, Change] = {change.document_id: change for change in history if change.document_id}
    outcome = [change for change in last.values() if isinstance(change, Upsert)]
    shuffled = data.draw(st.permutations(outcome))
    for form in ("json", "graphml"):
        assert asyncio.run(exported(history, form)) == asyncio.run(exported(shuffled, form))


def read_graphml(text: str) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str, dict[str, Any]]]]:
    """Nodes by id, and edges, with their data as declared. Refuses what GraphML does not allow: an undeclared
    key, one declared for another kind of element, an id twice, an edge to a node that is not there."""
    root = ET.fromstring(text)
    keys = {key.attrib["id"]: key.attrib for key in root.iter(f"{SPACE}key")}
    [graph] = root.findall(f"{SPACE}graph")
    assert graph.attrib["edgedefault"] in {"directed", "undirected"}

    def data(element: ET.Element, domain: str) -> dict[str, Any]:
        values = {}
        for each in element:
            declared = keys[each.attrib["key"]]
            assert declared["for"] in {domain, "all"}
            values[declared["attr.name"]] = READ_AS[declared["attr.type"]](each.text or "")
        return values

    nodes: dict[str, dict[str, Any]] = {}
    for node in graph.findall(f"{SPACE}node"):
        assert node.attrib["id"] not in nodes
        nodes[node.attrib["id"]] = data(node, "node")
    edges = [(e.attrib["source"], e.attrib["target"], data(e, "edge")) for e in graph.findall(f"{SPACE}edge")]
    read: set[str] = set()
    for element in graph:
        if element.tag == f"{SPACE}node":
            read.add(element.attrib["id"])
        else:
            assert {element.attrib["source"], element.attrib["target"]} <= read, "an edge before its nodes"
    return nodes, edges


@given(st.lists(documents, min_size=1, max_size=5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_graphml_reads_as_the_same_graph_as_json(several: list[Document]) -> None:
    history = [Upsert(document) for document in several]
    nodes, edges = read_graphml(asyncio.run(exported(history, "graphml")))
    graph = json.loads(asyncio.run(exported(history, "json")))
    names = {entity["id"]: entity["name"] for entity in graph["entities"]}
    assert {key.removeprefix("e:"): node["name"] for key, node in nodes.items() if node["kind"] == "entity"} == names
    chunks = [chunk for document in graph["documents"] for chunk in document["chunks"]]
    assert sum(node["kind"] == "chunk" for node in nodes.values()) == len(chunks)
    stated = sorted(
        (f"e:{relation['subject']}", f"e:{relation['object']}", relation["predicate"])
        for chunk in chunks
        for relation in chunk["relations"]
    )
    of_edges = sorted((one, other, edge["relation"]) for one, other, edge in edges if one.startswith("e:"))
    assert of_edges == stated
    mentioned = sum(edge["mentions"] for _, _, edge in edges if edge["relation"] == "mentions")
    assert mentioned == sum(len(chunk["mentions"]) for chunk in chunks)


@given(st.lists(documents, min_size=1, max_size=5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_networkx_reads_every_node_and_edge_with_its_data(several: list[Document]) -> None:
    text = asyncio.run(exported([Upsert(document) for document in several], "graphml"))
    nodes, edges = read_graphml(text)
    graph = nx.parse_graphml(text, force_multigraph=True)
    assert dict(graph.nodes(data=True)) == nodes

    def in_order(edges: Iterable[tuple[str, str, dict[str, Any]]]) -> list[str]:
        return sorted(f"{one} {other} {sorted(data.items())}" for one, other, data in edges)

    assert in_order(graph.edges(data=True)) == in_order(edges)


def test_relations_of_every_kind_are_exported() -> None:
    metadata = {
        "title": "Letters",
        "author": "Mary Somerville",
        "tags": ["mail"],
        "product": "Engine",
        "doi": "10.1/x",
        "url": "https://example.com/letters",
    }
    raw = {"document_id": "d", "content": "Acme Inc. met. Later Acme grew.", "metadata": metadata}
    _, edges = read_graphml(asyncio.run(exported([Upsert(Document.parse(raw))], "graphml")))
    kinds = {edge["relation"] for _, _, edge in edges}
    assert kinds >= {"author", "tag", "product", "doi", "url", "short_for", "has_chunk", "mentions"}
