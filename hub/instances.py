"""The enabled connectors with what drives them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from core.errors import Busy, NotFound
from core.service import GraphService
from hub.assembly import Assembly, Configured, edited, notify_options
from hub.instance import Instance, InstanceState
from hub.leases import Lease, Leases
from hub.notify import Endpoint
from hub.quarantine import Quarantine
from hub.runners.consume import ConsumeRunner
from hub.runners.intake import Intake
from hub.runners.pull import PullRunner, drives
from hub.runners.receive import ReceiveRunner
from hub.sdk import Consumes, Notifies, Receives
from hub.supervisor import Supervisor


@dataclass(slots=True)
class Running:
    """An instance with what drives it."""

    instance: Instance
    pull: PullRunner | None = None
    lease: Lease | None = None
    """Under which it pulls."""
    receive: ReceiveRunner | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Instances:
    """By name. `drive` names those that get runners; None is all."""

    def __init__(
        self,
        service: GraphService,
        assembly: Assembly,
        supervisor: Supervisor,
        leases: Leases,
        quarantine: Quarantine,
        *,
        drive: Collection[str] | None,
    ) -> None:
        self._service = service
        self._assembly = assembly
        self._supervisor = supervisor
        self._leases = leases
        self._quarantine = quarantine
        self._drive = drive
        self._running: dict[str, Running] = {}
        self._paused: set[str] = set()
        """Those that an admin has paused, on any node; configured here, or not."""

    async def open(self, configured: Mapping[str, Configured]) -> None:
        """Make them, paused as an admin has left them. Raises StoreError."""
        self._paused.update(await self._service.store.records("connector"))
        self.create(configured)

    def create(self, configured: Mapping[str, Configured]) -> None:
        """Make instances, paused where an admin has paused them; `start` has them work."""
        for name, parts in configured.items():
            instance = self._assembly.create(parts)
            if name in self._paused and instance.status.state is not InstanceState.FAILED:
                instance.pause()
            self._running[name] = Running(instance)

    def start(self, names: Iterable[str]) -> None:
        """Give them their runners."""
        for name in names:
            self._start(self._running[name])

    def _start(self, running: Running) -> None:
        instance = running.instance
        connector: object = instance.connector
        if connector is None or (self._drive is not None and instance.name not in self._drive):
            return
        intake = Intake(instance, self._service, self._quarantine)
        if isinstance(connector, Receives):
            running.receive = ReceiveRunner(instance, connector, intake)
        if drives(instance):
            running.lease = instance.lease = self._leases.want(f"connector {instance.name}")
            alone = Intake(instance, self._service, self._quarantine, fences=running.lease.fences)
            running.pull = PullRunner(instance, self._service, alone)
            running.tasks.append(self._supervisor.start(instance.name, partial(running.lease.guard, running.pull.run)))
        if isinstance(connector, Consumes):
            running.tasks.append(self._supervisor.start(instance.name, ConsumeRunner(instance, connector, intake).run))
        if not running.tasks and not instance.halted:
            instance.running()  # ready for what arrives

    # -- looking

    def __iter__(self) -> Iterator[Running]:
        return iter(self._running.values())

    def __contains__(self, name: object) -> bool:
        return name in self._running

    @property
    def named(self) -> Mapping[str, Instance]:
        return MappingProxyType({name: running.instance for name, running in self._running.items()})

    def get(self, name: str) -> Running | None:
        return self._running.get(name)

    def find(self, name: str) -> Running:
        """Raises NotFound."""
        running = self._running.get(name)
        if running is None:
            raise NotFound(f"there is no connector {name[:64]!r}")
        return running

    def driven_here(self, name: str) -> PullRunner:
        """What pulls it. Raises Busy where another node does."""
        running = self._running.get(name)
        if running is None or running.pull is None or running.lease is None or not running.lease.held:
            raise Busy(f"{self._leases.node} does not drive connector {name!r} at the moment")
        return running.pull

    def endpoints(self) -> dict[str, Endpoint]:
        """Those that are told of what happens."""
        found = {}
        for name, running in self._running.items():
            options = notify_options(running.instance.config)
            connector: object = running.instance.connector
            if options is not None and isinstance(connector, Notifies):
                found[name] = Endpoint(name, options.events, connector)
        return found

    def broken(self) -> list[str]:
        """Those whose connector could not be made; what they asked to be told is kept for them."""
        return [name for name, running in self._running.items() if running.instance.connector is None]

    def edited(self, configured: Mapping[str, Configured]) -> list[str]:
        """Those that are not as this configuration wants them."""
        return [name for name, running in self._running.items() if edited(running.instance, configured.get(name))]

    # -- what an admin says

    def pause(self, name: str) -> None:
        """It is paused, or will be once it is there."""
        self._paused.add(name)
        if running := self._running.get(name):
            running.instance.pause()

    def resume(self, name: str) -> None:
        self._paused.discard(name)
        if running := self._running.get(name):
            running.instance.resume()

    # -- ending

    def stop(self) -> None:
        """Take nothing more in; what is under way settles."""
        for running in self._running.values():
            running.instance.stop()

    async def close(self, running: Running) -> None:
        """Close its connector, once its runners have ended and nobody sends to it."""
        await running.instance.aclose()
        if running.lease is not None:
            await self._leases.drop(running.lease)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            del self._running[name]
