"""The whole graph as one streamed answer."""

from __future__ import annotations

import asyncio

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from core.store.base import AuditRecord
from hub.export import ExportFormat, export_graph
from hub.web.routes import JSON, Call, Reply, Route

TAG = "Admin"
GRAPHML = "application/graphml+xml"
STALL_SECONDS = 60.0
"""How long a caller may leave the stream unread before it is cut."""


class ExportOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: ExportFormat = Field("json", description="`json`, or `graphml` for graph tools.")


async def get_export(call: Call) -> web.StreamResponse:
    form = call.params(ExportOptions).format
    call.service.audit_soon(AuditRecord(call.caller.actor, "graph.exported", detail={"format": form}))
    response = await call.stream(GRAPHML if form == "graphml" else JSON)
    try:
        async for piece in export_graph(call.service.store, form):
            async with asyncio.timeout(STALL_SECONDS):
                await response.write(piece.encode())
            if call.ending:
                call.abort()
                break
    except (ConnectionError, TimeoutError):
        call.abort()
    return response


ROUTES = (
    Route(
        "GET",
        "/admin/export",
        get_export,
        "Export the whole graph",
        TAG,
        "admin",
        {200: Reply("Documents, chunks, entities, mentions and relations.", None, (JSON, GRAPHML))},
        description="Streamed. The same documents give the same bytes, whatever the order in which they came. An answer"
        " that breaks off is cut, and not ended.",
        query=ExportOptions,
        problems=(422,),
    ),
)
