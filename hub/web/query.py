"""Questions over HTTP: answered at once, or later at a `callback_url`; and in a connector's own form."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from core.answering.filters import parse_filters
from core.errors import AimeError, Busy, ConnectorError, Forbidden, InvalidInput, InvalidQuery, NotFound
from core.index import Question
from core.model import Answer, Status, Viewer
from core.service import GraphService
from core.store.base import JournalItem
from hub.callbacks import CallbackQuery
from hub.net import check_url
from hub.sdk import Answers, Ask
from hub.web.routes import Call, Reply, Route, reply

TAG = "Questions"
MAX_VERSION = 2**63 - 1
MAX_URL = 2048
ASK_SECONDS = 60.0
"""How long a connector may take over a question."""

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

Version = Annotated[int, Field(ge=0, le=MAX_VERSION)]


class QueryRequest(BaseModel):
    """A question. `filters` and `min_groundedness` narrow what may answer it; `min_version` waits for a version that
    the asker knows of, `as_of_version` reads an earlier one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str
    filters: dict[str, JsonValue] | None = None
    top_k: int = Field(5, ge=1, le=100)
    min_groundedness: float | None = Field(None, ge=0, le=1)
    min_version: Version | None = None
    as_of_version: Version | None = None
    newest: bool | None = Field(
        None,
        description="Whether the newest of equally relevant documents come first. Not given: if the question asks for"
        " the latest or the current state.",
    )
    callback_url: str | None = Field(
        None,
        max_length=MAX_URL,
        description="Where the answer is POSTed, signed and retried, instead of being waited for.",
    )

    def all_filters(self) -> dict[str, JsonValue] | None:
        """`filters`, with `min_groundedness` among them. Raises InvalidQuery when it is given twice."""
        if self.min_groundedness is None:
            return self.filters
        filters = self.filters or {}
        if "min_groundedness" in filters:
            raise InvalidQuery("is given twice, here and in filters", field="min_groundedness")
        return {**filters, "min_groundedness": self.min_groundedness}


class QueryAccepted(BaseModel):
    """A question that is in the durable journal; its answer goes to the `callback_url`."""

    query_id: str
    status: Literal[Status.ACCEPTED] = Status.ACCEPTED


async def post_query(call: Call) -> web.StreamResponse:
    question = await call.model(QueryRequest)
    if question.callback_url is not None:
        return await _journal(call, question, question.callback_url)
    answer = await call.service.query(
        question.query,
        filters=question.all_filters(),
        top_k=question.top_k,
        min_version=question.min_version,
        as_of_version=question.as_of_version,
        newest=question.newest,
        viewer=call.caller.viewer,
        actor=call.caller.actor,
    )
    return reply(answer)


async def _journal(call: Call, question: QueryRequest, callback_url: str) -> web.Response:
    check_callback(call, callback_url)
    filters = question.all_filters()
    # What can be seen to be wrong now is not left for the worker to find.
    Question(text=question.query, filters=parse_filters(filters))
    principals = call.caller.viewer.principals
    payload = CallbackQuery(
        query=question.query,
        filters=filters,
        top_k=question.top_k,
        min_version=question.min_version,
        as_of_version=question.as_of_version,
        newest=question.newest,
        callback_url=callback_url,
        principals=None if principals is None else tuple(sorted(principals)),
    )
    item = JournalItem(uuid.uuid4().hex, "query", payload.model_dump_json(), call.caller.actor)
    await call.site.journal.put(item)
    return reply(QueryAccepted(query_id=item.id), status=202)


def check_callback(call: Call, url: str) -> None:
    """Refuse a URL that an answer could never be sent to. Raises InvalidInput that names `callback_url`."""
    settings = call.site.hub.config.hub.callbacks
    if settings.secret is None:
        raise InvalidInput("this hub sends no callbacks: hub.callbacks.secret is not set", field="callback_url")
    try:
        check_url(url, settings.allow_networks, field="callback_url")
    except Forbidden as error:
        raise InvalidInput(error.message.removeprefix("callback_url: "), field="callback_url") from None


class ViewerCore:
    """The graph as a connector may ask it on a caller's behalf: it sees what the caller may see."""

    def __init__(self, service: GraphService, viewer: Viewer, actor: str) -> None:
        self._service = service
        self._viewer = viewer
        self._actor = actor

    async def query(self, text: str, *, filters: Mapping[str, Any] | None = None, top_k: int = 5) -> Answer:
        return await self._service.query(text, filters=filters, top_k=top_k, viewer=self._viewer, actor=self._actor)


async def ask_connector(call: Call) -> web.StreamResponse:
    name = call.path("connector")
    connector = call.site.hub.connector_for_ask(name)
    if connector is None:
        raise NotFound(f"there is no connector {name[:64]!r} that answers questions")
    ask = await call.model(Ask)
    core = ViewerCore(call.service, call.caller.viewer, call.caller.actor)
    return reply(await _answer(connector, ask, core, name))


async def _answer(connector: Answers, ask: Ask, core: ViewerCore, name: str) -> BaseModel:
    """What the connector answers, in time. A defect of its own is told as one: the caller did nothing wrong."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await connector.answer(ask, core)
    except AimeError:
        raise
    except TimeoutError:
        raise Busy(f"connector {name!r} took longer than {ASK_SECONDS:.0f} s") from None
    except Exception as error:
        log.exception("question not answered", connector=name)
        raise ConnectorError(f"connector {name!r} failed on this question") from error


ROUTES = (
    Route(
        "POST",
        "/query",
        post_query,
        "Ask a question",
        TAG,
        "read",
        {
            200: Reply("The answer with its sources, or an abstention with its reason.", Answer),
            202: Reply("In the durable journal (`callback_url`).", QueryAccepted),
        },
        body=QueryRequest,
        problems=(400, 408, 410, 413, 415, 422, 429, 507),
    ),
    Route(
        "POST",
        "/ask/{connector}",
        ask_connector,
        "Ask in a connector's own form",
        TAG,
        "read",
        {200: Reply("The answer, in the connector's form.")},
        body=Ask,
        problems=(400, 404, 408, 413, 415, 422, 502),
        path_notes={"connector": "The instance's name in the configuration."},
    ),
)
