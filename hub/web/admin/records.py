"""How the hub is, who did what, and how much of the past it keeps."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from core.errors import VersionUnavailable
from core.store.base import AuditRecord, ChangeSet, DeliveryState, StoredAuditRecord
from hub.instance import InstanceState
from hub.web.routes import Call, Parameter, Reply, Route, reply

TAG = "Admin"


class HubStatus(BaseModel):
    """The hub at a glance."""

    version: str
    graph_version: int
    floor: int = Field(description="The oldest version that can still be read.")
    index_version: int = Field(description="How far the search index follows the log.")
    queued: int = Field(description="Documents taken and not yet committed.")
    connectors: dict[InstanceState, int]
    pending_deliveries: int
    dead_deliveries: int
    keys_required: bool


class AuditOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: Parameter | None = None
    actor: Parameter | None = None
    before: int | None = Field(None, ge=0, le=2**63 - 1, description="The `sequence` that the page ends before.")
    limit: int = Field(100, ge=1, le=1000)


class AuditItem(BaseModel):
    """Who did what, to what, with what outcome."""

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, stored: StoredAuditRecord) -> AuditItem:
        record = stored.record
        return cls(
            sequence=stored.sequence,
            at=stored.at,
            actor=record.actor,
            action=record.action,
            subject=record.subject,
            detail=dict(record.detail),
        )


class AuditPage(BaseModel):
    """Newest first; `next` is the `before` of the next page, null on the last."""

    audit: list[AuditItem]
    next: int | None


class CollectRequest(BaseModel):
    """Drop what only versions below `before` see."""

    model_config = ConfigDict(extra="forbid", strict=True)

    before: int = Field(ge=0, le=2**63 - 1)


class Collected(BaseModel):
    documents: int = Field(description="Document versions that were dropped.")
    floor: int


async def get_status(call: Call) -> web.StreamResponse:
    service = call.service
    undelivered = await service.store.undelivered()
    states = [instance.status.state for instance in call.site.hub.instances.values()]
    return reply(
        HubStatus(
            version=version("aime-hub"),
            graph_version=await service.head(),
            floor=await service.store.floor(),
            index_version=service.index_version,
            queued=service.queued,
            connectors={state: states.count(state) for state in InstanceState if state in states},
            pending_deliveries=sum(n for (_, state), n in undelivered.items() if state is DeliveryState.PENDING),
            dead_deliveries=sum(n for (_, state), n in undelivered.items() if state is DeliveryState.DEAD),
            keys_required=call.site.gate.keys.guarded,
        )
    )


async def list_audit(call: Call) -> web.StreamResponse:
    options = call.params(AuditOptions)
    found = await call.service.store.audit(
        action=options.action, actor=options.actor, before=options.before, limit=options.limit
    )
    return reply(
        AuditPage(
            audit=[AuditItem.of(stored) for stored in found],
            next=found[-1].sequence if len(found) == options.limit else None,
        )
    )


async def collect_history(call: Call) -> web.StreamResponse:
    request = await call.model(CollectRequest)
    head = await call.service.head()
    if request.before > head:
        raise VersionUnavailable(f"version {request.before} is not written yet; the head is {head}")
    dropped = await call.service.gc(request.before)
    record = AuditRecord(
        call.caller.actor, "history.collected", detail={"before": request.before, "documents": dropped}
    )
    await call.service.write(ChangeSet(audit=(record,)))
    return reply(Collected(documents=dropped, floor=await call.service.store.floor()))


ROUTES = (
    Route(
        "GET", "/admin/status", get_status, "The hub at a glance", TAG, "admin", {200: Reply("Its state.", HubStatus)}
    ),
    Route(
        "GET",
        "/admin/audit",
        list_audit,
        "Read the audit trail",
        TAG,
        "admin",
        {200: Reply("A page.", AuditPage)},
        query=AuditOptions,
        problems=(422,),
    ),
    Route(
        "POST",
        "/admin/gc",
        collect_history,
        "Drop old history",
        TAG,
        "admin",
        {200: Reply("Dropped.", Collected)},
        body=CollectRequest,
        problems=(400, 408, 413, 415, 422, 507),
    ),
)
