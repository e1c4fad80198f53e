"""The projection beside a loop that sends the same upserts with gremlinpython alone."""

from __future__ import annotations

import asyncio
import socket
import time
from itertools import islice
from pathlib import Path
from typing import Any

from gremlin_python.driver.client import Client
from gremlin_python.process.graph_traversal import __
from gremlin_python.process.traversal import Direction, Merge, T

from benchmarks.corpus import read_documents
from core.aws.neptune import NeptuneClient, g
from core.projection.elements import Elements
from core.projection.gremlin import STEP_BUDGET, GremlinGraph
from core.projection.projection import Projection
from core.service import create_graph_service

SERVER = Path(__file__).parents[1] / "build" / "services" / "gremlin" / "address"
MOST_DOCUMENTS = 1_000
"""A server in memory takes some thousand edges a second, so this is a minute's work already."""


def server() -> tuple[str, int] | None:
    """Host and port of the Gremlin server of `make services`; None where none answers."""
    try:
        host, port = SERVER.read_text(encoding="utf-8").strip().rsplit(":", 1)
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return None
    return host, int(port)


async def rates(documents: str, store: str, host: str, port: int) -> dict[str, float]:
    """Edges a second of a rebuild by the projection (`hub`), and of the bare loop (`limit`)."""
    async with (
        await create_graph_service(f"sqlite:{store}") as service,
        NeptuneClient(host, port, use_ssl=False, pool_size=1, timeout=120) as client,
    ):
        first = list(islice(read_documents(Path(documents)), MOST_DOCUMENTS))
        taken = [result async for result in service.process_documents(first)]
        graph = GremlinGraph(client)
        projection = Projection(service, graph)
        stored = await service.store.scan(limit=len(taken))
        elements = await projection.elements(stored, await service.head())
        await projection.rebuild()  # both then meet a server that has compiled its paths
        await graph.clear()
        bare = await asyncio.to_thread(_bare, f"ws://{host}:{port}/gremlin", elements)
        await graph.clear()
        begun = time.perf_counter()
        await projection.rebuild()
        hub = time.perf_counter() - begun
        await graph.clear()
    return {"hub": len(elements.edges) / hub, "limit": len(elements.edges) / bare}


def _bare(url: str, elements: Elements) -> float:
    """Seconds to upsert the elements from memory."""
    vertices: list[Any] = [
        {"merge": {T.id: one.id, T.label: one.label}, "set": dict(one.properties)}
        for one in (*elements.entities.values(), *elements.vertices.values())
    ]
    edges: list[Any] = [
        {
            "merge": {T.id: one.id, T.label: one.label, Direction.OUT: one.start, Direction.IN: one.end},
            "set": dict(one.properties),
        }
        for one in elements.edges.values()
    ]
    properties = __.select("m").select("set")
    client = Client(url, "g", pool_size=1)
    size = STEP_BUDGET // 3
    begun = time.perf_counter()
    for rows, merge in ((vertices, "merge_v"), (edges, "merge_e")):
        for at in range(0, len(rows), size):
            step = getattr(g.inject(rows[at : at + size]).unfold().as_("m"), merge)(__.select("merge"))
            step = step.option(Merge.on_create, properties).option(Merge.on_match, properties).count()
            client.submit(step.bytecode).all().result()
    seconds = time.perf_counter() - begun
    client.close()
    return seconds
