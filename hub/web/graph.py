"""The graph over HTTP: its version, its entities, and its log for followers outside."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from core.errors import InvalidInput, NotFound
from core.index.paths import MAX_LENGTH, MAX_PATHS
from core.model import LogEntry, Op
from core.views import EntitySummary, EntityView, Paths
from hub.web.routes import JSON, Call, Reply, Route, reply

TAG = "Graph"
EVENT_STREAM = "text/event-stream"
MAX_WAIT_SECONDS = 60.0
SLICE_SECONDS = 1.0
"""A wait is made of slices, so that it ends soon after the server begins to shut down."""
HEARTBEAT_SECONDS = 15.0
SLOW_SECONDS = 30.0
"""How long a reader of the stream may leave events unread before it is cut off; it resumes from `Last-Event-ID`."""
STREAM_PAGE = 500
_ENTITY_ID = re.compile(r"[0-9a-fA-F]{16}")


class GraphVersion(BaseModel):
    graph_version: int
    floor: int = Field(description="The oldest version that `as_of_version` can still read.")


class EntityOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=500, description="What the name begins with or contains.")
    limit: int = Field(50, ge=1, le=1000)


class EntityList(BaseModel):
    """The most mentioned first."""

    entities: list[EntitySummary]


class PathOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_: str = Field(alias="from", max_length=64, description="The entity that the paths start from: its id.")
    to: str = Field(max_length=64, description="The entity that they lead to.")
    max_length: int = Field(3, ge=1, le=MAX_LENGTH, description="Steps of the longest path.")
    limit: int = Field(10, ge=1, le=MAX_PATHS)


class ChangeOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=2**63 - 1, description="The last version that is already known.")
    began: int | None = Field(
        None, ge=0, le=2**63 - 1, description="What the page before said: needed by who reads the log from 0 on."
    )
    limit: int = Field(100, ge=1, le=1000)
    wait: float = Field(0, ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the first entry (long poll).")


class ChangeItem(BaseModel):
    """One step of the graph version."""

    version: int
    op: Op
    document_id: str
    at: datetime
    source: str | None

    @classmethod
    def of(cls, entry: LogEntry) -> ChangeItem:
        return cls(version=entry.version, op=entry.op, document_id=entry.document_id, at=entry.at, source=entry.source)


class ChangePage(BaseModel):
    """Entries in order. `next` is the `after` of the next call; it moves past what the caller may not see. `began` goes
    along with it: history that was collected before the reading began is not missed."""

    changes: list[ChangeItem]
    next: int
    began: int
    graph_version: int


async def get_version(call: Call) -> web.StreamResponse:
    return reply(GraphVersion(graph_version=await call.service.head(), floor=await call.service.store.floor()))


async def list_changes(call: Call) -> web.StreamResponse:
    options = call.params(ChangeOptions)
    if EVENT_STREAM in call.request.headers.get(hdrs.ACCEPT, ""):
        return await _stream_changes(call, _resume_from(call, options.after), options.began)
    after = options.after
    began = await _began(call, after, options.began)
    deadline = asyncio.get_running_loop().time() + options.wait
    while True:
        left = deadline - asyncio.get_running_loop().time()
        wait = max(0.0, min(SLICE_SECONDS, left))
        entries, after = await _read_on(call, after, began, options.limit, wait)
        if entries or left <= 0 or call.ending:
            head = await call.service.head()
            items = [ChangeItem.of(entry) for entry in entries]
            return reply(ChangePage(changes=items, next=after, began=began, graph_version=head))


async def _began(call: Call, after: int, began: int | None) -> int:
    """The floor that stood when the caller began to read, as far as it says so."""
    if after == 0:
        return await call.service.store.floor()
    return after if began is None else began


async def _read_on(call: Call, after: int, began: int, limit: int, wait: float) -> tuple[list[LogEntry], int]:
    """The next entries that the caller may see, and the version up to which the log is then read."""
    head = await call.service.head()
    entries = await call.service.changes(after, limit=limit, wait=wait, viewer=call.caller.viewer, began=began)
    return entries, entries[-1].version if entries else max(after, head)


def _resume_from(call: Call, after: int) -> int:
    """A browser that lost the stream says in `Last-Event-ID` what it saw last."""
    last = call.request.headers.get("Last-Event-ID")
    if last is None:
        return after
    if not (last.isascii() and last.isdigit() and len(last) < 19):
        raise InvalidInput("must be a version, as the stream's ids are", field="Last-Event-ID")
    return max(after, int(last))


async def _stream_changes(call: Call, after: int, said: int | None) -> web.StreamResponse:
    began = await _began(call, after, said)
    # The first read comes before the head of the answer, so that a version out of reach is still told by a status.
    entries, after = await _read_on(call, after, began, STREAM_PAGE, 0)
    response = await call.stream(EVENT_STREAM)
    clock = asyncio.get_running_loop().time
    written = clock()
    try:
        await _send(response, b"retry: 2000\n\n")
        while not call.ending:
            if entries:
                await _send(response, b"".join(map(_event, entries)))
                written = clock()
            elif clock() - written >= HEARTBEAT_SECONDS:
                await _send(response, b": still here\n\n")
                written = clock()
            entries, after = await _read_on(call, after, began, STREAM_PAGE, SLICE_SECONDS)
    except (ConnectionError, TimeoutError):
        call.abort()
    return response


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SLOW_SECONDS):
        await response.write(data)


def _event(entry: LogEntry) -> bytes:
    return b"id: %d\nevent: change\ndata: %b\n\n" % (entry.version, to_json(ChangeItem.of(entry)))


async def list_entities(call: Call) -> web.StreamResponse:
    options = call.params(EntityOptions)
    found = await call.service.entities(text=options.text, limit=options.limit, viewer=call.caller.viewer)
    return reply(EntityList(entities=list(found)))


async def get_entity(call: Call) -> web.StreamResponse:
    return reply(await call.service.entity(_entity_id(call.path("entity_id")), viewer=call.caller.viewer))


async def get_paths(call: Call) -> web.StreamResponse:
    options = call.params(PathOptions)
    found = await call.service.paths(
        _entity_id(options.from_),
        _entity_id(options.to),
        max_length=options.max_length,
        limit=options.limit,
        viewer=call.caller.viewer,
    )
    return reply(found)


def _entity_id(text: str) -> int:
    """An entity's id: sixteen hexadecimal digits. Raises NotFound."""
    if not _ENTITY_ID.fullmatch(text):
        raise NotFound(
            f"there is no entity {text[:64]!r}: its id is 16 hexadecimal digits; GET /graph/entities?text=NAME finds it"
        )
    return int(text, 16)


ROUTES = (
    Route(
        "GET",
        "/graph/version",
        get_version,
        "The graph version",
        TAG,
        "read",
        {200: Reply("The log's last position.", GraphVersion)},
    ),
    Route(
        "GET",
        "/graph/entities",
        list_entities,
        "Find entities",
        TAG,
        "read",
        {200: Reply("The most mentioned first.", EntityList)},
        query=EntityOptions,
        problems=(422,),
    ),
    Route(
        "GET",
        "/graph/entities/{entity_id}",
        get_entity,
        "Read an entity",
        TAG,
        "read",
        {200: Reply("The entity, its documents, neighbours, mentions and relations.", EntityView)},
        problems=(404,),
    ),
    Route(
        "GET",
        "/graph/paths",
        get_paths,
        "Find paths between two entities",
        TAG,
        "read",
        {200: Reply("The shortest chains of chunks from one to the other; none where there is none.", Paths)},
        description="Each step is a chunk that names two entities, with a quotation. Entities that are nearly"
        " everywhere are not passed through.",
        query=PathOptions,
        problems=(404, 422),
    ),
    Route(
        "GET",
        "/changes",
        list_changes,
        "Follow the log",
        TAG,
        "read",
        {200: Reply("Entries past `after`, or a stream of them.", ChangePage, (JSON, EVENT_STREAM))},
        description="With `Accept: text/event-stream` the answer is a stream of server-sent events: `id` is the"
        " version, `data` an entry; `Last-Event-ID` resumes it.",
        query=ChangeOptions,
        problems=(410, 422),
    ),
)
