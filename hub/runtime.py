"""The running hub: starts its instances, supervises their runners, follows the configuration, drains and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from core.errors import Busy, InvalidInput, NotFound, StoreError
from core.model import ProcessResult
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet
from hub.acts import Acts
from hub.asking import Asking
from hub.assembly import Assembly
from hub.config import Config
from hub.duties import Duties
from hub.history import keep_house
from hub.instance import Instance, InstanceState, InstanceStatus, RunReport
from hub.instances import Instances, Running
from hub.leases import Leases
from hub.model import ModelUse
from hub.net import Network
from hub.notify import CALLBACK, Callbacks, Dispatcher, Endpoint
from hub.plugins import Plugins
from hub.projection import ProjectionRunner
from hub.quarantine import Quarantine
from hub.reload import ConfigFollower
from hub.runners.journal import JournalWorker
from hub.sdk import (
    Answers,
    Health,
    InboundRequest,
)
from hub.supervisor import Supervisor

__all__ = ["Hub", "Instance", "InstanceState", "InstanceStatus", "RunReport"]

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")

NOTIFICATIONS = "notifications"
PROJECTION = "projection"
RESERVE_SECONDS = 6.0
"""Of the time for a stop, at most a quarter: for cutting off, closing connectors, and closing the store afterwards."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Hub:
    """`async with Hub(config, service=service) as hub:` starts everything that the configuration enables; leaving
    stops the intake, drains, settles and closes within `hub.drain_seconds`. The service stays open: it is the caller's.

    `drive` names the instances that get runners, for a command that wants one run of one of them; None is all.

    Entering raises ConfigErrors when an enabled instance is configured wrongly. A plugin that is broken does not stop
    the others: its instances are there, failed, and say why.
    """

    def __init__(
        self,
        config: Config,
        *,
        service: GraphService,
        plugins: Plugins | None = None,
        network: Network | None = None,
        now: Callable[[], datetime] = _utc_now,
        drive: Collection[str] | None = None,
    ) -> None:
        self.config = config
        self.service = service
        self.plugins = plugins or Plugins()
        self.network = network or Network()
        self.leases = Leases(service.store)
        self._acts = Acts(service, self.leases.node)
        self._duties = Duties(self.leases)
        self.dispatcher = self._duties.take(
            NOTIFICATIONS, lambda fences: Dispatcher(service, fences=fences, by=self._acts.by)
        )
        self.projection: ProjectionRunner | None = None
        if (projection := config.projection) is not None and drive is None:
            self.projection = self._duties.take(
                PROJECTION, lambda fences: ProjectionRunner(service, projection, fences=fences)
            )
        self.model: ModelUse | None = None
        if config.model is not None and drive is None:
            self.model = ModelUse(service, config.model, self._duties)
        self.quarantine = Quarantine(service)
        self.asking = Asking(service, self.answering)
        self.journal = self._duties.take(
            "journal",
            lambda fences: JournalWorker(
                service, self.quarantine, self.asking, now=now, written=self.dispatcher.wake, fences=fences
            ),
        )
        self._now = now
        self._assembly = Assembly(service, self.plugins, self.network, now=now)
        self._stack = AsyncExitStack()
        self._supervisor = Supervisor()
        self._instances = Instances(
            service, self._assembly, self._supervisor, self.leases, self.quarantine, drive=drive
        )
        self._follower: ConfigFollower | None = None
        self._reloading = asyncio.Lock()
        self._deadline: float | None = None

    @property
    def instances(self) -> Mapping[str, Instance]:
        """The enabled instances, by name."""
        return self._instances.named

    @property
    def draining(self) -> bool:
        return self._supervisor.stopping

    @property
    def projects(self) -> bool:
        """Whether it is this node that writes the projection."""
        return self._duties.held(PROJECTION)

    @property
    def config_error(self) -> str | None:
        """Why the configuration file as it is now is not what runs."""
        return self._follower.error if self._follower else None

    # -- start and stop

    async def __aenter__(self) -> Self:
        configured = self._assembly.configure(self.config)
        async with AsyncExitStack() as stack:
            stack.callback(self._assembly.close)
            await stack.enter_async_context(self.network)
            if self.model is not None:
                stack.push_async_callback(self.model.close)
                self.model.start()
            await self.quarantine.open()
            await self._acts.open()
            await stack.enter_async_context(self.leases)
            await self._instances.open(configured)
            await self._set_endpoints()
            if self._duties.held(NOTIFICATIONS):
                await self.dispatcher.start()
            await stack.enter_async_context(self._supervisor)
            self._stack = stack.pop_all()
        self._instances.start(self.instances)
        self._duties.start(self._supervisor)
        keeping = partial(keep_house, self.service, self._supervisor, self.config.hub, now=self._now)
        self._supervisor.start("history", keeping)
        if self.service.store.shared:
            self._supervisor.start("other nodes", partial(self._acts.follow, self._supervisor, self._heed, self._look))
        if self.config.path is not None:
            self._follower = ConfigFollower(self.config.path, self.reload)
            self._supervisor.start("configuration", self._follower.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._stack:
            await self._drain()

    def begin_stop(self) -> float:
        """Take nothing more in from here on; whoever stops the hub calls it first, before the web server is closed, so
        that one deadline holds for all. When the hub will have stopped, by the loop's clock."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self.config.hub.drain_seconds
            self._supervisor.begin_stop()
            self.leases.give_up()
            if self._follower is not None:
                self._follower.stop()
            self._instances.stop()
            self._duties.stop()
        return self._deadline

    async def _drain(self) -> None:
        """Let what is under way settle, then close; what has not settled in time is cut off and, being neither
        acknowledged nor checkpointed, comes again. Connectors are closed once nobody uses them: neither a runner, nor
        the dispatcher, nor a reload."""
        deadline = self.begin_stop()
        reserve = min(RESERVE_SECONDS, self.config.hub.drain_seconds / 4)
        await self._supervisor.finish(within=_left(deadline - reserve), grace=reserve / 3)
        await asyncio.gather(
            *(running.instance.aclose(within=_left(deadline - reserve / 3)) for running in self._instances)
        )

    async def _halt(self, running: Running, deadline: float) -> None:
        """Stop one instance and close its connector."""
        running.instance.stop()
        if running.lease is not None:
            running.lease.give_up()
        await asyncio.gather(
            self._supervisor.finish(running.tasks, within=_left(deadline)),
            self.dispatcher.release([running.instance.name], within=_left(deadline)),
        )
        await self._instances.close(running)

    # -- what comes in from the web and the command line

    async def receive(self, name: str, request: InboundRequest, actor: str) -> list[ProcessResult]:
        """Hand an inbound webhook to its instance; what became of its changes, after the commit. Raises what
        `ReceiveRunner.receive` does, and NotFound for an instance that takes none."""
        running = self._instances.get(name)
        if running is None or running.receive is None:
            raise NotFound(f"there is no connector {name[:64]!r} that takes webhooks")
        return await running.receive.receive(request, actor)

    async def run_now(self, name: str, *, force: bool = False, actor: str = "hub") -> asyncio.Future[RunReport]:
        """Ask for a run of a pulling instance, on whichever node drives it; the future has what it did. It begins when
        the run under way has ended. `force` also prunes, whatever the share. Raises NotFound, InvalidInput for a paused
        instance, Busy, StoreError."""
        running = self._instances.get(name)
        if running is None or running.pull is None or running.lease is None:
            raise NotFound(f"there is no connector {name[:64]!r} that can be run")
        if not running.lease.held:
            await self.leases.ask()  # it may be new, or free
        if not running.lease.held:
            return await self._acts.ask_for_run(running.lease, name=name, force=force, actor=actor)
        asked = running.pull.run_now(force=force)
        self.service.audit_soon(AuditRecord(actor, "connector.run", name, {"force": force, **self._acts.by}))
        return asked

    async def pause(self, name: str, *, actor: str = "hub") -> None:
        """Let an instance take nothing more, across restarts, until it is resumed. Raises NotFound, StoreError."""
        self._instances.find(name)
        await self._remember(name, '{"paused": true}', AuditRecord(actor, "connector.paused", name, self._acts.by))
        self._instances.pause(name)

    async def resume(self, name: str, *, actor: str = "hub") -> None:
        """Let a paused or failed instance work again. Raises NotFound, StoreError."""
        self._instances.find(name)
        await self._remember(name, None, AuditRecord(actor, "connector.resumed", name, self._acts.by))
        self._instances.resume(name)

    async def check(self, name: str) -> Health:
        """Whether the outside system answers. Raises NotFound."""
        return await self._instances.find(name).instance.check()

    def answering(self, name: str) -> Answers:
        """What answers `POST /ask/{name}`. Raises NotFound if nothing does, Busy for an instance that is halted."""
        running = self._instances.get(name)
        if running is None or running.instance.answering is None:
            raise NotFound(f"there is no connector {name[:64]!r} that answers questions")
        if running.instance.halted:
            raise Busy(f"connector {name!r} is {running.instance.status.state}", retry_after=60.0)
        return running.instance.answering

    async def retry_quarantined(self, connector: str, document_id: str, *, actor: str) -> None:
        """Try an accepted document again. Raises NotFound, InvalidInput, StoreError."""
        await self.quarantine.retry(connector, document_id, actor=actor)
        self.journal.arrived()

    async def drop_quarantined(self, connector: str, document_id: str, *, actor: str) -> None:
        """Forget a document that was set aside. Raises NotFound, StoreError."""
        await self.quarantine.drop(connector, document_id, actor=actor)

    def journal_arrived(self) -> None:
        """Something was put into the journal."""
        self.journal.arrived()

    # -- following the configuration

    async def reload(self, config: Config) -> None:
        """Go over to another configuration: instances that are edited are drained and started anew, added ones start,
        removed ones stop, the others do not notice. Raises ConfigErrors, and then nothing has changed."""
        async with self._reloading:
            if self._supervisor.stopping:
                return
            configured = await asyncio.to_thread(self._assembly.configure, config)
            if config.hub != self.config.hub_in_file:
                log.warning("the [hub] table was edited; it takes effect at the next start")
            if config.projection != self.config.projection:
                log.warning("the [projection] table was edited; it takes effect at the next start")
            if config.model != self.config.model:
                log.warning("the [model] table was edited; it takes effect at the next start")
            deadline = asyncio.get_running_loop().time() + self.config.hub.drain_seconds
            gone = self._instances.edited(configured)
            await asyncio.gather(*(self._halt(self._instances.find(name), deadline) for name in gone))
            self._instances.forget(gone)
            added = [name for name in configured if name not in self._instances]
            self._instances.create({name: configured[name] for name in added})
            running = self.config
            self.config = replace(
                config, hub=running.hub, projection=running.projection, model=running.model, overridden=config.hub
            )
            if not self._supervisor.stopping:
                self._instances.start(added)
            await self._follow_endpoints()
            if gone or added:
                log.info("configuration followed", stopped=sorted(set(gone) - set(added)), started=sorted(added))

    async def _follow_endpoints(self) -> None:
        """Tell the dispatcher of the instances that there are now. When the store refuses, it is tried until it does
        not: nothing is sent meanwhile to those that are gone, and what is pending waits."""
        try:
            await self._set_endpoints()
        except StoreError as error:
            log.warning("endpoints not followed yet", error=error.message)
            self._supervisor.start("endpoints", self._set_endpoints_later)

    async def _set_endpoints_later(self) -> None:
        async with self._reloading:
            await self._set_endpoints()

    async def _set_endpoints(self) -> None:
        callbacks = self.config.hub.callbacks
        sender = Callbacks(self.network, callbacks.secret, allow_networks=callbacks.allow_networks, now=self._now)
        endpoints = {CALLBACK: Endpoint(CALLBACK, (), sender, may_be_disabled=False), **self._instances.endpoints()}
        await self.dispatcher.set_endpoints(endpoints, broken=self._instances.broken())

    # -- other nodes

    async def _look(self) -> None:
        """For what other nodes did, or left to do, that no act tells of."""
        self.journal.arrived()
        await self.dispatcher.refresh()

    async def _heed(self, act: AuditRecord) -> None:
        """Do what an admin told another node, and note what that has set aside."""
        match act.action:
            case "endpoint.disabled" | "endpoint.enabled":
                await self.dispatcher.heed(act)
            case "connector.paused":
                self._instances.pause(act.subject)
            case "connector.resumed":
                self._instances.resume(act.subject)
            case "connector.run" if self._acts.is_asked(act):
                self._run_for(act)
            case "document.rejected" if (origin := act.detail.get("origin")) in self._instances:
                self.quarantine.heard(str(origin), act.subject)

    def _run_for(self, act: AuditRecord) -> None:
        """A run that another node asks this one for. Raises StoreError."""
        try:
            asked = self._instances.driven_here(act.subject).run_now(force=bool(act.detail.get("force")))
        except (Busy, InvalidInput) as error:
            self._acts.tell_of_run(act, RunReport(error=error.message))
        else:
            asked.add_done_callback(lambda done: self._acts.tell_of_run(act, done.result()))

    # -- within

    async def _remember(self, name: str, state: str | None, audit: AuditRecord) -> None:
        await self.service.write(ChangeSet(records={("connector", name): state}, audit=(audit,)))


def _left(deadline: float) -> float:
    """Seconds until then; a little, when it has passed."""
    return max(0.1, deadline - asyncio.get_running_loop().time())
