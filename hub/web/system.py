"""What every HTTP service is expected to tell: health, readiness, metrics, and what it can do."""

from __future__ import annotations

import asyncio
from typing import Literal

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from core.errors import Busy
from hub.web.routes import JSON, Call, Reply, Route, reply

TAG = "System"
HTML = "text/html"
STORE_SECONDS = 3.0
"""How long a probe waits for the store."""
METRICS_MEDIA = CONTENT_TYPE_LATEST.partition(";")[0]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The hub takes work."""

    status: Literal["ready"] = "ready"
    graph_version: int


async def healthz(_call: Call) -> web.StreamResponse:
    return reply(Health())


async def readyz(call: Call) -> web.StreamResponse:
    if call.ending:
        raise Busy("the hub is shutting down", retry_after=5)
    try:
        async with asyncio.timeout(STORE_SECONDS):
            head = await call.service.refresh()
            if not call.site.ready and not await call.service.ready():
                raise Busy("the index is catching up with the log", retry_after=1)
    except TimeoutError:
        raise Busy("the store does not answer", retry_after=1) from None
    call.site.ready = True
    return reply(Readiness(graph_version=head))


async def metrics(call: Call) -> web.StreamResponse:
    site, service = call.site, call.service
    head = await service.head()
    site.metrics.graph_version.set(head)
    site.metrics.index_lag.set(max(0, head - service.index_version))
    if (projection := site.hub.projection) is not None:
        site.metrics.projection_lag.set(max(0, head - projection.version) if site.hub.projects else 0)
        site.metrics.projection_failing.set(projection.error is not None)
    if (model := site.hub.model) is not None and (extraction := model.extraction) is not None:
        site.metrics.extraction_lag.set(max(0, head - extraction.follower.version) if extraction.running else 0)
        site.metrics.extraction_failing.set(extraction.running and extraction.error is not None)
    site.metrics.queue.set(service.queued)
    site.metrics.in_flight.set(site.in_flight)
    site.metrics.body_bytes.set(site.budget.held)
    site.metrics.deliveries.clear()
    for (endpoint, state), count in (await service.store.undelivered()).items():
        site.metrics.deliveries.labels(endpoint, state.value).set(count)
    site.metrics.connectors.clear()
    for instance in site.hub.instances.values():
        site.metrics.connectors.labels(instance.name, str(instance.status.state)).set(1)
    return web.Response(body=generate_latest(site.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def openapi_json(call: Call) -> web.StreamResponse:
    pages = await asyncio.to_thread(call.site.pages)
    return web.Response(body=pages.spec, content_type=JSON)


async def docs(call: Call) -> web.StreamResponse:
    pages = await asyncio.to_thread(call.site.pages)
    return web.Response(
        body=pages.page,
        headers={
            "Content-Type": f"{HTML}; charset=utf-8",
            "Content-Security-Policy": pages.policy,
            "Referrer-Policy": "no-referrer",
        },
    )


ROUTES = (
    Route("GET", "/healthz", healthz, "Is the process alive?", TAG, None, {200: Reply("It answers.", Health)}),
    Route("GET", "/readyz", readyz, "Does it take work?", TAG, None, {200: Reply("It does.", Readiness)}),
    Route(
        "GET",
        "/metrics",
        metrics,
        "Metrics for Prometheus",
        TAG,
        "read",
        {200: Reply("The text format.", None, (METRICS_MEDIA,))},
    ),
    Route("GET", "/openapi.json", openapi_json, "This description", TAG, None, {200: Reply("OpenAPI 3.1.", None)}),
    Route("GET", "/docs", docs, "This description, to read", TAG, None, {200: Reply("A page.", None, (HTML,))}),
)
