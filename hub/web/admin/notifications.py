"""Where events go: endpoints, and the deliveries to them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from core.errors import NotFound
from core.store.base import Attempt, AuditRecord, Delivery, DeliveryState
from hub.telemetry import redact_text
from hub.web.routes import Call, Handler, Parameter, Reply, Route, reply

TAG = "Admin"


class DeliveryOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    endpoint: Parameter | None = None
    state: DeliveryState | None = None
    document_id: Parameter | None = None
    before: int | None = Field(None, ge=0, le=2**63 - 1, description="The `sequence` that the page ends before.")
    limit: int = Field(100, ge=1, le=1000)


class DeliveryItem(BaseModel):
    """One event for one endpoint. `id` is the `webhook-id` that the receiver sees in every attempt."""

    sequence: int
    id: str
    endpoint: str
    event: str
    subject: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    error: str | None
    target: str | None = Field(description="The host that an answer goes to, where it was asked with a `callback_url`.")

    @classmethod
    def fields(cls, delivery: Delivery) -> dict[str, Any]:
        return {
            "sequence": delivery.sequence,
            "id": delivery.id,
            "endpoint": delivery.endpoint,
            "event": delivery.event,
            "subject": delivery.subject,
            "state": delivery.state,
            "attempts": delivery.attempts,
            "created_at": delivery.created_at,
            "next_attempt_at": delivery.next_attempt_at,
            "error": None if delivery.error is None else redact_text(delivery.error),
            "target": None if delivery.target is None else _origin(delivery.target),
        }


class AttemptItem(BaseModel):
    """One try. `error` null means that it was delivered; `response` is the beginning of what the receiver answered."""

    at: datetime
    duration: float = Field(description="Seconds.")
    state: DeliveryState
    next_attempt_at: datetime
    status: int | None
    error: str | None
    response: str

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptItem:
        return cls(
            at=attempt.at,
            duration=attempt.duration,
            state=attempt.state,
            next_attempt_at=attempt.next_attempt_at,
            status=attempt.status,
            error=None if attempt.error is None else redact_text(attempt.error),
            response=redact_text(attempt.response),
        )


class DeliveryPage(BaseModel):
    """Newest first; `next` is the `before` of the next page, null on the last."""

    deliveries: list[DeliveryItem]
    next: int | None


class DeliveryDetail(DeliveryItem):
    """A delivery with what is sent and every try so far."""

    payload: Any
    tries: list[AttemptItem]


class EndpointItem(BaseModel):
    """A destination of notifications. Counts of attempts are since the hub started."""

    name: str
    events: list[str]
    state: str = Field(description="`ok`, `failing`, `paused` (by the receiver), `resting` or `disabled`.")
    reason: str | None = Field(description="Why it is disabled, or the last error.")
    pending: int
    dead: int
    in_flight: int
    delivered: int
    failed: int
    failing_since: datetime | None
    paused_for: float = Field(description="Seconds.")


class EndpointList(BaseModel):
    endpoints: list[EndpointItem]


class TestOutcome(BaseModel):
    """What came of a test notification. It is sent once and kept nowhere."""

    delivered: bool
    status: int | None
    error: str | None


def _origin(url: str) -> str:
    """Scheme and host: the rest of a callback's URL may well be its secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"


async def list_endpoints(call: Call) -> web.StreamResponse:
    counts = await call.service.store.undelivered()
    endpoints = call.site.hub.dispatcher.endpoints
    return reply(
        EndpointList(
            endpoints=[
                EndpointItem(
                    name=health.name,
                    events=sorted(endpoints[health.name].events) if health.name in endpoints else [],
                    state=health.state,
                    reason=None if health.reason is None else redact_text(health.reason),
                    pending=counts.get((health.name, DeliveryState.PENDING), 0),
                    dead=counts.get((health.name, DeliveryState.DEAD), 0),
                    in_flight=health.in_flight,
                    delivered=health.delivered,
                    failed=health.failed,
                    failing_since=health.failing_since,
                    paused_for=health.paused_for,
                )
                for health in call.site.hub.dispatcher.health()
            ]
        )
    )


async def test_endpoint(call: Call) -> web.StreamResponse:
    name = call.path("endpoint")
    outcome = await call.site.hub.dispatcher.test(name)
    detail = {"delivered": outcome.error is None, "status": outcome.status}
    call.service.audit_soon(AuditRecord(call.caller.actor, "endpoint.tested", name, detail))
    error = None if outcome.error is None else redact_text(outcome.error)
    return reply(TestOutcome(delivered=outcome.error is None, status=outcome.status, error=error))


async def disable_endpoint(call: Call) -> web.StreamResponse:
    await call.site.hub.dispatcher.disable(call.path("endpoint"), actor=call.caller.actor)
    return await list_endpoints(call)


async def enable_endpoint(call: Call) -> web.StreamResponse:
    await call.site.hub.dispatcher.enable(call.path("endpoint"), actor=call.caller.actor)
    return await list_endpoints(call)


async def list_deliveries(call: Call) -> web.StreamResponse:
    options = call.params(DeliveryOptions)
    found = await call.service.store.deliveries(
        endpoint=options.endpoint,
        state=options.state,
        subject=options.document_id,
        before=options.before,
        limit=options.limit,
    )
    return reply(
        DeliveryPage(
            deliveries=[DeliveryItem(**DeliveryItem.fields(delivery)) for delivery in found],
            next=found[-1].sequence if len(found) == options.limit else None,
        )
    )


async def get_delivery(call: Call) -> web.StreamResponse:
    delivery = await _delivery(call)
    return reply(
        DeliveryDetail(
            **DeliveryItem.fields(delivery),
            payload=json.loads(delivery.payload),
            tries=[AttemptItem.of(attempt) for attempt in await call.service.store.attempts(delivery.id)],
        )
    )


async def replay_delivery(call: Call) -> web.StreamResponse:
    delivery = await _delivery(call)
    await call.site.hub.dispatcher.replay(delivery.id, actor=call.caller.actor)
    return await get_delivery(call)


async def _delivery(call: Call) -> Delivery:
    delivery_id = call.path("delivery_id")
    delivery = await call.service.store.delivery(delivery_id)
    if delivery is None:
        raise NotFound(f"there is no delivery {delivery_id[:64]!r}")
    return delivery


def _endpoint_route(action: str, handler: Handler, summary: str, done: Reply, *problems: int) -> Route:
    return Route(
        "POST",
        f"/admin/endpoints/{{endpoint}}/{action}",
        handler,
        summary,
        TAG,
        "admin",
        {200: done},
        problems=(404, *problems),
        path_notes={"endpoint": "The name of the connector instance that notifies."},
    )


ROUTES = (
    Route(
        "GET", "/admin/endpoints", list_endpoints, "List endpoints", TAG, "admin", {200: Reply("All.", EndpointList)}
    ),
    _endpoint_route("test", test_endpoint, "Send a test notification", Reply("What came of it.", TestOutcome)),
    _endpoint_route(
        "disable", disable_endpoint, "Stop deliveries to an endpoint", Reply("Disabled.", EndpointList), 507
    ),
    _endpoint_route("enable", enable_endpoint, "Resume deliveries", Reply("Enabled.", EndpointList), 507),
    Route(
        "GET",
        "/admin/deliveries",
        list_deliveries,
        "List deliveries",
        TAG,
        "admin",
        {200: Reply("A page.", DeliveryPage)},
        query=DeliveryOptions,
        problems=(422,),
    ),
    Route(
        "GET",
        "/admin/deliveries/{delivery_id}",
        get_delivery,
        "Read a delivery and its attempts",
        TAG,
        "admin",
        {200: Reply("The delivery.", DeliveryDetail)},
        problems=(404,),
    ),
    Route(
        "POST",
        "/admin/deliveries/{delivery_id}/replay",
        replay_delivery,
        "Send a delivery again",
        TAG,
        "admin",
        {200: Reply("It is pending again, under the same id.", DeliveryDetail)},
        problems=(404, 507),
    ),
)
