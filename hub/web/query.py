"""Questions over HTTP: answered at once, or later at a `callback_url`; and in a connector's own form."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from core.answering.filters import parse_filters
from core.errors import Forbidden, InvalidInput, InvalidQuery
from core.index import Question
from core.model import Status
from core.store.base import JournalItem
from core.views import Answer
from hub.callbacks import CallbackAsk, CallbackQuery
from hub.net import check_url
from hub.sdk import Ask
from hub.web.routes import Call, Reply, Route, reply

TAG = "Questions"
MAX_VERSION = 2**63 - 1
MAX_URL = 2048

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
    payload = CallbackQuery(
        query=question.query,
        filters=filters,
        top_k=question.top_k,
        min_version=question.min_version,
        as_of_version=question.as_of_version,
        newest=question.newest,
        callback_url=callback_url,
        principals=_principals(call),
    )
    return await _accept(call, "query", payload)


def check_callback(call: Call, url: str) -> None:
    """Refuse a URL that an answer could never be sent to. Raises InvalidInput that names `callback_url`."""
    settings = call.site.hub.config.hub.callbacks
    if settings.secret is None:
        raise InvalidInput("this hub sends no callbacks: hub.callbacks.secret is not set", field="callback_url")
    try:
        check_url(url, settings.allow_networks, field="callback_url")
    except Forbidden as error:
        raise InvalidInput(error.message.removeprefix("callback_url: "), field="callback_url") from None


async def ask_connector(call: Call) -> web.StreamResponse:
    name = call.path("connector")
    asking = call.site.hub.asking
    ask = await call.model(asking.form(name))
    if ask.callback_url is not None:
        return await _journal_ask(call, name, ask, ask.callback_url)
    return reply(await asking.ask(name, ask, viewer=call.caller.viewer, actor=call.caller.actor))


async def _journal_ask(call: Call, name: str, ask: Ask, callback_url: str) -> web.Response:
    check_callback(call, callback_url)
    Question(text=ask.query)
    payload = CallbackAsk(
        connector=name,
        ask=ask.model_dump(mode="json", exclude={"callback_url"}, exclude_unset=True),
        callback_url=callback_url,
        principals=_principals(call),
    )
    return await _accept(call, "ask", payload)


def _principals(call: Call) -> tuple[str, ...] | None:
    principals = call.caller.viewer.principals
    return None if principals is None else tuple(sorted(principals))


async def _accept(call: Call, kind: Literal["query", "ask"], payload: CallbackQuery | CallbackAsk) -> web.Response:
    item = JournalItem(uuid.uuid4().hex, kind, payload.model_dump_json(), call.caller.actor)
    await call.site.journal.put(item)
    return reply(QueryAccepted(query_id=item.id), status=202)


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
        {
            200: Reply("The answer, in the connector's form."),
            202: Reply("In the durable journal (`callback_url`).", QueryAccepted),
        },
        body=Ask,
        problems=(400, 404, 408, 413, 415, 422, 429, 502, 507),
        path_notes={"connector": "The instance's name in the configuration."},
    ),
)
