"""Inbound webhooks: what outside systems call. They show no API key; the connector verifies the request itself."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel

from core.errors import Busy, NotFound
from core.model import ProcessResult
from hub.sdk import InboundRequest
from hub.web.routes import Call, Reply, Route, reply

TAG = "Webhooks"

BODY_BYTES = 1024 * 1024
"""The largest webhook, decompressed: strangers send them too, and one must not use up what all calls share."""
BODY_SECONDS = 30.0
"""How long a webhook may take to come in, from its head to its last byte."""


class Received(BaseModel):
    """What became of each change that the webhook carried, durably."""

    results: list[ProcessResult]


async def receive_webhook(call: Call) -> web.StreamResponse:
    request = call.request
    name = _taker(call)
    inbound = InboundRequest(
        method=request.method,
        path=request.raw_path,
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(request.query),
        body=await call.body(BODY_BYTES, within=BODY_SECONDS),
        received_at=datetime.now(UTC),
    )
    return reply(Received(results=await call.site.hub.receive(name, inbound, f"hook:{name}")))


def _taker(call: Call) -> str:
    """The connector that the webhook is for, looked up before a byte of the body is read. Raises NotFound, Busy."""
    name = call.path("connector")
    instance = call.site.hub.instances.get(name)
    if instance is not None and (instance.halted or instance.stopping):
        raise Busy(f"connector {name[:64]!r} takes nothing at the moment", retry_after=60.0)
    if instance is None or "receives" not in instance.modes:
        raise NotFound(f"there is no connector {name[:64]!r} that takes webhooks")
    return name


ROUTES = (
    Route(
        "POST",
        "/hooks/{connector}",
        receive_webhook,
        "Receive a webhook",
        TAG,
        None,
        {200: Reply("Committed, durably.", Received)},
        description="The body is what the outside system sends, at most 1 MiB. The connector verifies its signature; no"
        " API key is needed.",
        problems=(400, 401, 404, 408, 413, 415, 422, 429, 502, 507),
        path_notes={"connector": "The instance's name in the configuration."},
    ),
)
