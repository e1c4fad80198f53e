"""A route says everything about a call once: what it takes, gives, needs and refuses. The server, the OpenAPI document
and its page are made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, Field
from pydantic_core import to_json

from core.errors import InvalidInput
from core.service import GraphService
from hub.keys import Scope
from hub.runtime import Hub
from hub.telemetry import Metrics
from hub.web.body import BodyBudget, parse_object, read_bytes, require_media_type, validate
from hub.web.gate import Caller, Gate
from hub.web.journal import JournalDoor

M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
NDJSON = "application/x-ndjson"

Parameter = Annotated[str, Field(max_length=512)]
"""A text in the query string. All of them, percent-encoded, fit into the request line that the server takes."""
MAX_REQUEST_LINE = 65536


@dataclass(frozen=True, slots=True)
class Pages:
    """What the hub says of its own HTTP interface, rendered once."""

    spec: bytes
    """OpenAPI, as JSON."""
    page: bytes
    """The same, as HTML."""
    policy: str
    """The page's Content-Security-Policy."""


@dataclass(slots=True)
class Site:
    """What the calls of one server share."""

    hub: Hub
    gate: Gate
    metrics: Metrics
    budget: BodyBudget
    journal: JournalDoor
    body_cap: int
    """The largest body, in decompressed bytes."""
    pages: Callable[[], Pages]
    """Renders them when they are first asked for: off the loop, please."""
    in_flight: int = 0
    ready: bool = False
    """Whether it was once; under a heavy load the index may trail the log for a moment, and questions wait for it."""
    closing: bool = False
    """Streams and long polls end when the server shuts down."""


@dataclass(slots=True)
class Call:
    """One HTTP call on its way through its handler."""

    site: Site
    request: web.Request
    caller: Caller
    request_id: str
    held: int = 0
    """Bytes of the body budget that are given back when the call ends."""
    streaming: bool = False
    """The head of the answer is out: an error can no longer be told by a status."""

    @property
    def service(self) -> GraphService:
        return self.site.hub.service

    @property
    def ending(self) -> bool:
        """Whether there is no point in going on: the server shuts down, or the caller is gone."""
        transport = self.request.transport
        return self.site.closing or transport is None or transport.is_closing()

    def path(self, name: str) -> str:
        """A parameter of the path, decoded."""
        return self.request.match_info[name]

    def params(self, model: type[M]) -> M:
        """The query string. Raises InvalidInput that names the parameter."""
        query = self.request.query
        if len(query) != len(set(query)):
            twice = next(name for name in query if len(query.getall(name)) > 1)
            raise InvalidInput("is given more than once", field=twice[:200])
        return validate(model, dict(query))

    async def body(self, cap: int | None = None, *, within: float | None = None) -> bytes:
        """The whole body, whatever it is: of at most `cap` bytes (None: the server's), come in `within` seconds."""
        cap = self.site.body_cap if cap is None else min(cap, self.site.body_cap)
        whole = await read_bytes(self.request, cap, self.site.budget, within=within)
        self.held += len(whole)
        return whole

    async def json_bytes(self) -> bytes:
        """The body, which says that it is JSON."""
        require_media_type(self.request, JSON)
        return await self.body()

    async def model(self, model: type[M]) -> M:
        """The body as a model."""
        return validate(model, parse_object(await self.json_bytes()))

    async def stream(self, media: str, *, unread_bytes: int | None = None) -> web.StreamResponse:
        """Begin an answer that is written bit by bit; `unread_bytes` may wait for a caller who does not read."""
        response = web.StreamResponse(headers={"Content-Type": media, "Cache-Control": "no-store"})
        sign(response, self.request_id)
        if self.request.transport is not None:
            self.request.transport.set_write_buffer_limits(high=unread_bytes)
        await response.prepare(self.request)
        self.streaming = True
        return response

    def abort(self) -> None:
        """Cut the connection: the one way to tell that a streamed answer is not whole."""
        if self.request.transport is not None:
            self.request.transport.abort()


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Reply:
    """One way in which a call succeeds."""

    description: str
    model: type[BaseModel] | None = None
    media: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True)
class Route:
    """One call. `scope` None is open to everyone; `problems` are the statuses beside those that every call may have."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    scope: Scope | None
    replies: Mapping[int, Reply]
    description: str = ""
    body: type[BaseModel] | None = None
    body_media: str = JSON
    query: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()
    path_notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it, without the patterns: `/documents/{document_id}`."""
        return re.sub(r"\{(\w+):[^}]+\}", r"{\1}", self.path)

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(re.findall(r"\{(\w+)\}", self.template))


def sign(response: web.StreamResponse, request_id: str) -> None:
    """Put on what every answer carries."""
    response.headers["X-Request-Id"] = request_id
    response.headers["X-Content-Type-Options"] = "nosniff"


def reply(value: BaseModel, status: int = 200) -> web.Response:
    """The JSON answer."""
    return web.Response(status=status, body=to_json(value), headers=_JSON_HEADERS)


_JSON_HEADERS = {"Content-Type": JSON}
