"""Inbound webhooks: what outside systems call. They show no API key; the connector verifies the request itself."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel

from core.model import ProcessResult
from hub.sdk import InboundRequest
from hub.web.routes import Call, Reply, Route, reply

TAG = "Webhooks"


class Received(BaseModel):
    """What became of each change that the webhook carried, durably."""

    results: list[ProcessResult]


async def receive_webhook(call: Call) -> web.StreamResponse:
    request = call.request
    inbound = InboundRequest(
        method=request.method,
        path=request.raw_path,
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(request.query),
        body=await call.body(),
        received_at=datetime.now(UTC),
    )
    name = call.path("connector")
    return reply(Received(results=await call.site.hub.receive(name, inbound, f"hook:{name}")))


ROUTES = (
    Route(
        "POST",
        "/hooks/{connector}",
        receive_webhook,
        "Receive a webhook",
        TAG,
        None,
        {200: Reply("Committed, durably.", Received)},
        description="The body is what the outside system sends. The connector verifies its signature; no API key is"
        " needed.",
        problems=(400, 401, 404, 408, 413, 415, 422, 429, 502, 507),
        path_notes={"connector": "The instance's name in the configuration."},
    ),
)
