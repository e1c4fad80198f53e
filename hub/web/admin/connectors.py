"""Connector instances: how they fare, and what an admin tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from core.errors import Busy, NotFound
from hub.instance import Instance, InstanceState
from hub.quarantine import Quarantined, QuarantinedMessage
from hub.telemetry import redact_text
from hub.web.routes import Call, Handler, Reply, Route, reply

TAG = "Admin"
WAIT_SLICE = 1.0
"""Seconds between two looks at whether a caller who waits for a run is still there."""


class Counts(BaseModel):
    """What became of the documents since the hub started."""

    processed: int
    unchanged: int
    deleted: int
    rejected: int


class ConnectorItem(BaseModel):
    """One connector instance and its state."""

    name: str
    kind: str
    modes: list[str] = Field(description="What its connector can do, such as `pulls`, `receives`, `notifies`.")
    state: InstanceState
    node: str | None = Field(description="Which node drives it, where one of several does: one that pulls.")
    since: datetime
    last_run: datetime | None
    next_run: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    failures: int = Field(description="In a row.")
    prune_waits: str | None = Field(description="What a prune would delete, if an admin has to confirm it.")
    documents: Counts

    @classmethod
    def of(cls, instance: Instance) -> ConnectorItem:
        status = instance.status
        documents = status.documents
        return cls(
            name=instance.name,
            kind=instance.kind,
            modes=list(instance.modes),
            state=status.state,
            node=None if instance.lease is None else instance.lease.node,
            since=status.since,
            last_run=status.last_run,
            next_run=status.next_run,
            last_error=None if status.last_error is None else redact_text(status.last_error),
            last_error_at=status.last_error_at,
            failures=status.failures,
            prune_waits=status.prune_waits,
            documents=Counts(
                processed=documents.processed,
                unchanged=documents.unchanged,
                deleted=documents.deleted,
                rejected=documents.rejected,
            ),
        )


class ConnectorList(BaseModel):
    connectors: list[ConnectorItem]
    config_error: str | None = Field(description="Why the configuration file as it is now is not what runs.")


class RunOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(False, description="Answer when the run has ended, with what it did.")
    force: bool = Field(False, description="Also delete what is gone at the source, however much it is.")


class RunResult(Counts):
    """What one run did; `error` says why it ended early."""

    error: str | None


class CheckResult(BaseModel):
    """Whether the outside system answers, with the instance's address and credentials."""

    ok: bool
    detail: str


class QuarantineList(BaseModel):
    """Documents and questions that were set aside, oldest first."""

    documents: list[Quarantined]


class QuarantineEntry(BaseModel):
    """Names one entry of the quarantine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connector: str = Field(max_length=200)
    document_id: str = Field(max_length=512)


async def list_connectors(call: Call) -> web.StreamResponse:
    hub = call.site.hub
    items = [ConnectorItem.of(instance) for instance in hub.instances.values()]
    error = None if hub.config_error is None else redact_text(hub.config_error)
    return reply(ConnectorList(connectors=items, config_error=error))


async def run_connector(call: Call) -> web.StreamResponse:
    instance = _instance(call)
    options = call.params(RunOptions)
    asked = await call.site.hub.run_now(instance.name, force=options.force, actor=call.caller.actor)
    if not options.wait:
        return reply(ConnectorItem.of(instance), status=202)
    while not asked.done():
        if call.ending:
            raise Busy("the hub is shutting down, and the run ends with it", retry_after=10)
        await asyncio.wait([asked], timeout=WAIT_SLICE)
    report = await asked
    return reply(
        RunResult(
            processed=report.processed,
            unchanged=report.unchanged,
            deleted=report.deleted,
            rejected=report.rejected,
            error=None if report.error is None else redact_text(report.error),
        )
    )


async def pause_connector(call: Call) -> web.StreamResponse:
    instance = _instance(call)
    await call.site.hub.pause(instance.name, actor=call.caller.actor)
    return reply(ConnectorItem.of(instance))


async def resume_connector(call: Call) -> web.StreamResponse:
    instance = _instance(call)
    await call.site.hub.resume(instance.name, actor=call.caller.actor)
    return reply(ConnectorItem.of(instance))


async def check_connector(call: Call) -> web.StreamResponse:
    health = await call.site.hub.check(_instance(call).name)
    return reply(CheckResult(ok=health.ok, detail=redact_text(health.detail)))


def _instance(call: Call) -> Instance:
    name = call.path("connector")
    instance = call.site.hub.instances.get(name)
    if instance is None:
        raise NotFound(f"there is no connector {name[:64]!r}")
    return instance


async def list_quarantine(call: Call) -> web.StreamResponse:
    return reply(QuarantineList(documents=await call.site.hub.quarantine.list()))


async def get_message(call: Call) -> web.StreamResponse:
    entry = call.params(QuarantineEntry)
    return reply(await call.site.hub.quarantine.message(entry.connector, entry.document_id))


async def retry_quarantined(call: Call) -> web.StreamResponse:
    entry = await call.model(QuarantineEntry)
    await call.site.hub.retry_quarantined(entry.connector, entry.document_id, actor=call.caller.actor)
    return reply(entry, status=202)


async def drop_quarantined(call: Call) -> web.StreamResponse:
    entry = await call.model(QuarantineEntry)
    await call.site.hub.drop_quarantined(entry.connector, entry.document_id, actor=call.caller.actor)
    return reply(entry)


def _connector_route(
    action: str,
    handler: Handler,
    summary: str,
    replies: Mapping[int, Reply],
    *problems: int,
    query: type[BaseModel] | None = None,
) -> Route:
    return Route(
        "POST",
        f"/admin/connectors/{{connector}}/{action}",
        handler,
        summary,
        TAG,
        "admin",
        replies,
        query=query,
        problems=(404, *problems),
        path_notes={"connector": "The instance's name in the configuration."},
    )


def _quarantine_route(action: str, handler: Handler, summary: str, status: int, done: str) -> Route:
    return Route(
        "POST",
        f"/admin/quarantine/{action}",
        handler,
        summary,
        TAG,
        "admin",
        {status: Reply(done, QuarantineEntry)},
        body=QuarantineEntry,
        problems=(400, 404, 408, 409, 413, 415, 422, 507),
    )


ROUTES = (
    Route(
        "GET",
        "/admin/connectors",
        list_connectors,
        "List connectors",
        TAG,
        "admin",
        {200: Reply("All that are configured.", ConnectorList)},
    ),
    _connector_route(
        "run",
        run_connector,
        "Run a connector now",
        {200: Reply("It ran (`wait=true`).", RunResult), 202: Reply("It runs.", ConnectorItem)},
        422,
        query=RunOptions,
    ),
    _connector_route("pause", pause_connector, "Pause a connector", {200: Reply("Paused.", ConnectorItem)}, 507),
    _connector_route("resume", resume_connector, "Resume a connector", {200: Reply("Resumed.", ConnectorItem)}, 507),
    _connector_route("check", check_connector, "Check a connector", {200: Reply("What was found.", CheckResult)}),
    Route(
        "GET",
        "/admin/quarantine",
        list_quarantine,
        "List what was set aside",
        TAG,
        "admin",
        {200: Reply("All of it.", QuarantineList)},
    ),
    Route(
        "GET",
        "/admin/quarantine/message",
        get_message,
        "Read a message that was set aside",
        TAG,
        "admin",
        {200: Reply("The message, in base64.", QuarantinedMessage)},
        query=QuarantineEntry,
        problems=(404, 422),
    ),
    _quarantine_route("retry", retry_quarantined, "Try a document again", 202, "It is tried again."),
    _quarantine_route("drop", drop_quarantined, "Forget a document that was set aside", 200, "Forgotten."),
)
