"""What a viewer may not see changes nothing of what they do see: every read gives the same as a store that never held
the hidden documents. Versions and chunk numbers are the log's, and left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import AimeError, NotFound
from core.model import AccessChanged, Change, Delete, Document, Upsert, Viewer
from core.service import GraphService, create_graph_service

SENTENCES = [
    "Ada Lovelace wrote notes on the Analytical Engine.",
    "ADA LOVELACE was born in London, and London is large.",
    "Charles Babbage met Ada Lovelace; the engine was an ENGINE.",
    "Mary Somerville taught Ada LOVELACE mathematics in 1834.",
    "Nothing of note happened in the engine room.",
    "The Royal Society (RS) elected Mary Somerville. Later the RS moved to London.",
    "Engine notes, engine notes and engine notes again: how common a word can be.",
    "Augustus De Morgan corresponded with Charles Babbage and with the Royal Society.",
    "London is large. " * 120,
]
TITLES = ["Ada Lovelace", "ada lovelace", "Analytical Engine", "ANALYTICAL ENGINE (machine)", "London", "Notes"]
QUESTIONS = [
    "Who wrote notes on the Analytical Engine?",
    "What is the latest on engine notes in London?",
    "Ada Lovelace",
    "royal society elected mathematics",
]
PRINCIPALS = ["staff", "board", "legal"]

contents = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4).map("\n\n".join)
accesses = st.none() | st.lists(st.sampled_from(PRINCIPALS), unique=True, max_size=2).map(tuple)
metadata = st.fixed_dictionaries(
    {"access": accesses},
    optional={
        "title": st.sampled_from(TITLES),
        "author": st.sampled_from(["Grace Hopper", "grace hopper"]),
        "tags": st.lists(st.sampled_from(["Note", "note", "Engine"]), max_size=2),
        "product": st.sampled_from(["Difference Engine", "difference engine"]),
        "published_at": st.sampled_from(["2024-01-01", "2025-06-01", "2026-03-01"]),
        "source": st.sampled_from(["cms", "desk"]),
    },
)
document_ids = st.sampled_from([f"d{number}" for number in range(7)])
upserts = st.builds(
    lambda id_, content, data: Upsert(
        Document.parse({"document_id": id_, "content": content, "metadata": data}),
    ),
    document_ids,
    contents,
    metadata,
)
changes = (
    upserts | upserts | upserts | st.builds(Delete, document_ids) | st.builds(AccessChanged, document_ids, accesses)
)
viewers = st.sets(st.sampled_from(PRINCIPALS), max_size=2).map(lambda names: Viewer(frozenset(names)))


@dataclass
class Rooms:
    """The same history twice: all of it, and of the documents that the viewer may see in the end alone."""

    whole: GraphService
    visible: GraphService


def final_access(history: Sequence[Change]) -> dict[str, tuple[str, ...] | None]:
    """The access of each document that is there in the end."""
    access: dict[str, tuple[str, ...] | None] = {}
    for change in history:
        match change:
            case Upsert(document):
                access[document.document_id] = document.metadata.access
            case Delete(document_id):
                access.pop(document_id, None)
            case AccessChanged(document_id, principals) if document_id in access:
                access[document_id] = principals
    return access


async def both(history: Sequence[Change], viewer: Viewer) -> Rooms:
    allowed = {id_ for id_, access in final_access(history).items() if viewer.may_see(access)}
    whole, visible = await create_graph_service("sqlite::memory:"), await create_graph_service("sqlite::memory:")
    for change in history:
        await whole.submit([change], origin="test", actor="test")
        if change.document_id in allowed:
            await visible.submit([change], origin="test", actor="test")
    return Rooms(whole, visible)


def without_log(value: Any) -> Any:
    """JSON without what numbers the log: versions and chunks."""
    if isinstance(value, dict):
        return {key: without_log(each) for key, each in value.items() if key not in {"graph_version", "chunk_id"}}
    if isinstance(value, list | tuple):
        return [without_log(each) for each in value]
    return value


async def everything(service: GraphService, viewer: Viewer, ids: Sequence[str]) -> dict[str, Any]:
    """All that the viewer can read."""
    seen: dict[str, Any] = {}
    for text in QUESTIONS:
        for filters in ({}, {"source": "cms"}, {"date_range": {"from": "2025-01-01"}}):
            answer = await service.query(text, filters=filters, viewer=viewer)
            seen[f"query {text} {filters}"] = answer.model_dump(mode="json")
            hits = await service.retrieve(text, filters=filters, viewer=viewer)
            seen[f"retrieve {text} {filters}"] = [(hit.document_id, hit.score) for hit in hits]
    listed = await service.documents(viewer=viewer)
    seen["documents"] = [(one.document_id, one.metadata.as_json(), one.content_hash) for one in listed]
    for id_ in ids:
        try:
            seen[f"document {id_}"] = (await service.document(id_, viewer=viewer)).text
        except AimeError as error:
            seen[f"document {id_}"] = str(error)
    entities = await service.entities(limit=1000, viewer=viewer)
    seen["entities"] = [entity.model_dump(mode="json") for entity in entities]
    for entity in entities:
        view = await service.entity(int(entity.id, 16), viewer=viewer)
        seen[f"entity {entity.id}"] = view.model_dump(mode="json")
    for one, other in list(pairwise(entities))[:: max(len(entities) // 6, 1)]:
        found = await service.paths(int(one.id, 16), int(other.id, 16), viewer=viewer)
        seen[f"paths {one.id} {other.id}"] = found.model_dump(mode="json")
    log = await service.changes(0, limit=1000, viewer=viewer)
    kept = {document.document_id for document in listed}
    hidden = {document.document_id for document in await service.documents()} - kept
    # A step that the viewer could see when it was taken stays in the log once the document is gone.
    assert all(viewer.may_see(entry.access) and entry.document_id not in hidden for entry in log)
    seen["changes"] = [(one.op, one.document_id, one.source, one.access) for one in log if one.document_id in kept]
    return seen


async def hidden_entities(rooms: Rooms, viewer: Viewer) -> None:
    """What only hidden documents name is answered as what nobody ever named."""
    shown = {entity.id for entity in await rooms.whole.entities(limit=1000, viewer=viewer)}
    for entity in await rooms.whole.entities(limit=1000):
        if entity.id not in shown:
            errors = []
            for service in (rooms.whole, rooms.visible):
                with pytest.raises(NotFound) as caught:
                    await service.entity(int(entity.id, 16), viewer=viewer)
                errors.append(str(caught.value))
                with pytest.raises(NotFound) as caught:
                    await service.paths(1, int(entity.id, 16), viewer=viewer)
                errors.append(str(caught.value))
            assert errors[:2] == errors[2:]


async def compare(history: Sequence[Change], viewer: Viewer) -> None:
    rooms = await both(history, viewer)
    async with rooms.whole, rooms.visible:
        ids = sorted({change.document_id for change in history if change.document_id})
        of_whole = await everything(rooms.whole, viewer, ids)
        of_visible = await everything(rooms.visible, viewer, ids)
        assert without_log(of_whole) == without_log(of_visible)
        await hidden_entities(rooms, viewer)


@given(history=st.lists(changes, min_size=1, max_size=12), viewer=viewers)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hidden_documents_change_nothing_that_a_viewer_reads(history: list[Change], viewer: Viewer) -> None:
    asyncio.run(compare(history, viewer))


async def look_back(history: Sequence[Change], viewer: Viewer) -> None:
    """Read every version of the graph, as `viewer` and by everything that takes a version."""
    seen = {id_ for id_, access in final_access(history).items() if viewer.may_see(access)}
    ids = {change.document_id for change in history if change.document_id}
    async with await create_graph_service("sqlite::memory:") as service:
        for change in history:
            await service.submit([change], origin="test", actor="test")
        for version in range(await service.head() + 1):
            for text in QUESTIONS:
                answer = await service.query(text, as_of_version=version, viewer=viewer)
                hits = await service.retrieve(text, as_of_version=version, viewer=viewer)
                assert {each.document_id for each in (*answer.sources, *hits)} <= seen
            assert (await service.metadata(ids, as_of_version=version, viewer=viewer)).keys() <= seen
            for id_ in ids - seen:
                with pytest.raises(NotFound):
                    await service.document(id_, as_of_version=version, viewer=viewer)


@given(history=st.lists(changes, min_size=1, max_size=8), viewer=viewers)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_past_shows_no_document_that_is_hidden_from_the_viewer_now(history: list[Change], viewer: Viewer) -> None:
    asyncio.run(look_back(history, viewer))
