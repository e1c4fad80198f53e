"""Documents over HTTP: post one, read, list, remove."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from core.errors import InvalidDocument, InvalidInput, NotFound, QueueFull
from core.model import Document, ProcessResult, Status, StoredDocument
from core.store.base import AuditRecord, JournalItem
from core.wording import json_type
from hub.callbacks import JournalStatus
from hub.web.body import parse_json, unknown_field
from hub.web.problems import printable
from hub.web.routes import Call, Parameter, Reply, Route, reply

TAG = "Documents"


class PostOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(True, description="false: answer 202 once the document is in the durable journal.")


class ReadOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    as_of_version: int | None = Field(None, ge=0, description="Read the document as it was at this graph version.")


class ListOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: Parameter | None = None
    author: Parameter | None = None
    tags: Parameter | None = None
    filters: str | None = Field(None, max_length=2048, description="Any filters of POST /query, as a JSON object.")
    cursor: Parameter = Field("", description="The `next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


class Accepted(BaseModel):
    """A document that is in the durable journal; `GET /documents/{document_id}` tells what became of it."""

    document_id: str
    status: Literal[Status.ACCEPTED] = Status.ACCEPTED
    journal_id: str


class DocumentSummary(BaseModel):
    """A document version as the graph holds it; `metadata` holds only what is set."""

    document_id: str
    graph_version: Annotated[int, Field(description="The version that this state of the document came with.")]
    origin: str
    metadata: dict[str, Any]
    chunks: int

    @classmethod
    def of(cls, document: StoredDocument) -> dict[str, Any]:
        return {
            "document_id": document.document_id,
            "graph_version": document.v_from,
            "origin": document.origin,
            "metadata": document.metadata.as_json(),
            "chunks": len(document.chunk_ids),
        }


class DocumentPage(BaseModel):
    """Documents in the order of their ids; `next` is the cursor of the next page, null on the last."""

    documents: list[DocumentSummary]
    next: str | None


class DocumentState(BaseModel):
    """A document with its text, or what is known of one that is not (or not yet) in the graph.

    `journal` is there while a version posted with `wait=false` has not been committed, or could not be; only who posted
    it is shown it, and who sees everything.
    """

    document_id: str
    status: Literal[Status.PROCESSED, Status.ACCEPTED, Status.REJECTED]
    graph_version: int = 0
    origin: str | None = None
    metadata: dict[str, Any] | None = None
    chunks: int = 0
    content: str | None = None
    journal: JournalStatus | None = None


async def post_document(call: Call) -> web.StreamResponse:
    raw = await _document(call)
    if call.request.query_string and not call.params(PostOptions).wait:
        return await _journal(call, raw)
    service = call.service
    if service.queued >= service.options.queue_documents:
        raise QueueFull("the writer's queue is full", retry_after=1.0)
    result = await service.process_document(
        document_id=raw["document_id"],
        content=raw["content"],
        metadata=raw["metadata"],
        origin="api",
        actor=call.caller.actor,
    )
    if result.error is not None:
        # What only the analysis finds out; it is in the trail already.
        raise InvalidDocument(result.error.message, field=result.error.field, document_id=result.document_id)
    return reply(result)


async def _document(call: Call) -> dict[str, Any]:
    """The posted object, of the right shape; its values are for the core to judge. A refusal is audited."""
    try:
        return document_fields(parse_json(await call.json_bytes(), lone_surrogates=True))
    except InvalidInput as error:
        call.service.audit_soon(rejection(error, call.caller.actor))
        raise


def document_fields(raw: object) -> dict[str, Any]:
    """A parsed JSON value as the fields of a document. Raises InvalidDocument where one is missing or unknown."""
    if not isinstance(raw, dict):
        raise InvalidDocument(f"must be a JSON object, not {json_type(raw)}", field="body")
    name = raw.get("document_id")
    document_id = name[:512] if isinstance(name, str) else None
    if not raw.keys() <= _FIELDS:
        unknown = unknown_field(next(key for key in raw if key not in _FIELDS), sorted(_FIELDS))
        raise InvalidDocument(unknown.reason, field=unknown.field, document_id=document_id)
    for required in ("document_id", "content"):
        if required not in raw:
            raise InvalidDocument("is missing", field=required, document_id=document_id)
    metadata = raw.setdefault("metadata", {})
    if metadata is None:
        raw["metadata"] = {}
    elif not isinstance(metadata, dict):
        raise InvalidDocument(
            f"must be a JSON object, not {json_type(metadata)}", field="metadata", document_id=document_id
        )
    return raw


_FIELDS = frozenset(Document.model_fields)


def rejection(error: InvalidInput, actor: str) -> AuditRecord:
    """The audit record of input that did not even become a document."""
    return AuditRecord(
        actor,
        "document.rejected",
        subject=printable(error.document_id or "", 512) if isinstance(error, InvalidDocument) else "",
        detail={"status": "rejected", "origin": "api", "code": error.code, "message": ascii(error.reason[:500])[1:-1]},
    )


async def _journal(call: Call, raw: dict[str, Any]) -> web.Response:
    try:
        document = call.service.parse(raw)
    except InvalidDocument as error:
        call.service.audit_soon(rejection(error, call.caller.actor))
        raise
    item = JournalItem(uuid.uuid4().hex, "document", document.model_dump_json(), call.caller.actor)
    status = JournalStatus(status=Status.ACCEPTED, journal_id=item.id, actor=call.caller.actor, at=datetime.now(UTC))
    await call.site.journal.put(item, {("journal_status", document.document_id): status.model_dump_json()})
    return reply(Accepted(document_id=document.document_id, journal_id=item.id), status=202)


async def get_document(call: Call) -> web.StreamResponse:
    document_id = call.path("document_id")
    as_of = call.params(ReadOptions).as_of_version
    pending = None if as_of is not None else await _pending(call, document_id)
    try:
        view = await call.service.document(document_id, as_of_version=as_of, viewer=call.caller.viewer)
    except NotFound:
        if pending is None or not _is_theirs(call, pending):
            raise
        return reply(DocumentState(document_id=document_id, status=pending.status, journal=pending))
    state = DocumentState(
        **DocumentSummary.of(view.document),
        status=Status.PROCESSED,
        content=view.text,
        journal=pending if pending is not None and _is_theirs(call, pending) else None,
    )
    return reply(state)


async def _pending(call: Call, document_id: str) -> JournalStatus | None:
    text = await call.service.store.record("journal_status", document_id)
    return None if text is None else JournalStatus.model_validate_json(text)


def _is_theirs(call: Call, pending: JournalStatus) -> bool:
    return call.caller.viewer.principals is None or pending.actor == call.caller.actor


async def delete_document(call: Call) -> web.StreamResponse:
    document_id = call.path("document_id")
    result = await call.service.delete_document(document_id, origin="api", actor=call.caller.actor)
    if result.status is Status.NOT_FOUND:
        raise NotFound(f"there is no document {document_id[:512]!r}")
    return reply(result)


async def list_documents(call: Call) -> web.StreamResponse:
    options = call.params(ListOptions)
    page = await call.service.documents(
        filters=_filters(options), cursor=options.cursor, limit=options.limit, viewer=call.caller.viewer
    )
    more = len(page) == options.limit
    return reply(
        DocumentPage(
            documents=[DocumentSummary(**DocumentSummary.of(document)) for document in page],
            next=page[-1].document_id if more else None,
        )
    )


def _filters(options: ListOptions) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if options.filters is not None:
        try:
            given = parse_json(options.filters.encode(errors="surrogatepass"))
        except InvalidInput as error:
            raise InvalidInput(error.reason.replace("the body", "it"), field="filters") from None
        if not isinstance(given, dict):
            raise InvalidInput(f"must be a JSON object, not {json_type(given)}", field="filters")
        filters |= given
    named = {"source": options.source, "author": options.author, "tags": options.tags}
    return filters | {name: value for name, value in named.items() if value is not None}


ROUTES = (
    Route(
        "POST",
        "/documents",
        post_document,
        "Add or replace a document",
        TAG,
        "write",
        {
            200: Reply("Committed, durably; or unchanged, where nothing differs.", ProcessResult),
            202: Reply("In the durable journal (`wait=false`).", Accepted),
        },
        body=Document,
        query=PostOptions,
        problems=(400, 408, 413, 415, 422, 429, 507),
    ),
    Route(
        "GET",
        "/documents",
        list_documents,
        "List documents",
        TAG,
        "read",
        {200: Reply("A page.", DocumentPage)},
        query=ListOptions,
        problems=(422,),
    ),
    Route(
        "GET",
        "/documents/{document_id:[\\s\\S]+}",
        get_document,
        "Read a document, or learn what became of one",
        TAG,
        "read",
        {200: Reply("The document.", DocumentState)},
        query=ReadOptions,
        problems=(404, 410, 422),
    ),
    Route(
        "DELETE",
        "/documents/{document_id:[\\s\\S]+}",
        delete_document,
        "Remove a document",
        TAG,
        "write",
        {200: Reply("Removed, durably.", ProcessResult)},
        problems=(404, 429, 507),
    ),
)
