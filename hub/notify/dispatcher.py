"""The dispatcher: the hub's one object for notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from types import MappingProxyType
from uuid import uuid4

import structlog
from pydantic import JsonValue

from core.errors import NotFound, StoreError
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, Fences
from hub.notify.endpoint import BreakerFactory, Endpoint, EndpointHealth, Lane
from hub.notify.follower import Follower
from hub.notify.schedule import Clock, RetrySchedule
from hub.notify.sender import AttemptObserver, Sender, default_breaker
from hub.sdk.contract import Notification, Outcome
from hub.sdk.webhooks import rfc3339

TOLD_SECONDS = 30.0
"""Within so long another node has taken over."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Dispatcher:
    """Follows the audit trail, makes a delivery for each event and endpoint, and sends it until it arrives or is dead.

    What holds, whenever the process ends:

    - A (event, endpoint) pair is written as a delivery exactly once, and sent at least once, always with the same id.
    - For one endpoint and subject (a document), attempts follow the order of the trail; the next waits until the one
      before is delivered or dead. Other subjects go on.
    - Nothing is sent within a `Retry-After`, nor to a disabled endpoint: its deliveries are still made, stay pending,
      and go out when it is enabled. An endpoint is disabled by an admin, by a 410, or by five days of only failures.
    - At most `per_endpoint` attempts are under way for one endpoint, and `concurrency` in all.

    `poll` is the seconds between looks at the store when nothing wakes it; a stop may wait as long for the follower.
    """

    def __init__(
        self,
        service: GraphService,
        endpoints: Mapping[str, Endpoint] | None = None,
        *,
        schedule: RetrySchedule | None = None,
        clock: Clock | None = None,
        concurrency: int = 64,
        per_endpoint: int = 8,
        attempt_timeout: float = 90.0,
        poll: float = 1.0,
        breaker: BreakerFactory = default_breaker,
        on_attempt: AttemptObserver | None = None,
        fences: Fences = tuple,
        by: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """`by` goes into the detail of what admins do here."""
        self._service = service
        self._by = by or {}
        self._endpoints = dict(endpoints or {})
        self._broken: Collection[str] = ()
        self._clock = clock or Clock()
        self._follower = Follower(service, fences=fences)
        self._sender = Sender(
            service,
            schedule=schedule or RetrySchedule(),
            clock=self._clock,
            concurrency=concurrency,
            per_endpoint=per_endpoint,
            attempt_timeout=attempt_timeout,
            poll=poll,
            breaker=breaker,
            on_attempt=on_attempt,
            fences=fences,
        )
        self._poll = poll
        self._stopping = asyncio.Event()
        self._started = False
        self._told: dict[str, tuple[float, AuditRecord]] = {}
        """What admins told of each endpoint while another node sends, and when that was heard."""

    async def start(self) -> None:
        """Read what is remembered, and fix where new endpoints begin: what is committed after this is told to them.
        Raises StoreError."""
        if self._service.store.shared:
            # What other nodes commit is due by the store's clock: one that is behind it would send everything late.
            self._clock.set_by(await self._service.store.now())
        await self._sender.restore()
        await self._sender.repair_times()
        self._follower.forget()
        self._started = True
        await self._serve(self._endpoints, self._broken)
        told, self._told = self._told, {}
        for heard, act in told.values():
            if self._clock.elapsed() - heard < TOLD_SECONDS:
                await self.heed(act)

    async def run(self) -> None:
        """Starts, if `start` was not called. Returns after `stop`, once the attempts under way have ended and are
        recorded; when cancelled, they are cut off, and made again by whoever starts next."""
        try:
            if not self._started:
                await self.start()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="notify: follow")
                tasks.create_task(self._sender.run(self._stopping), name="notify: send")
        finally:
            self._started = False

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        self._sender.wake()

    def wake(self) -> None:
        """Look for due deliveries now. Only a hint: they are found anyway."""
        self._sender.wake()

    async def set_endpoints(self, endpoints: Mapping[str, Endpoint], *, broken: Collection[str] = ()) -> None:
        """Replace the endpoints. Where it is started, one that is new begins at the head of the trail; what is pending
        for one that is gone waits until it is back. `broken` are configured, but cannot be sent to (a plugin that does
        not import): they go on hearing of what they asked for before, once they are mended. Raises StoreError."""
        await self._serve(endpoints, broken)
        self._endpoints = dict(endpoints)
        self._broken = broken

    async def release(self, names: Collection[str], *, within: float) -> None:
        """Let go of these endpoints' connectors, before they are closed: begin nothing more, and wait up to `within`
        seconds for what is under way. What is pending waits until `set_endpoints`."""
        await self._sender.release(names, within=within)

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """What is configured, by name."""
        return MappingProxyType(self._endpoints)

    def health(self) -> list[EndpointHealth]:
        """Every endpoint, by name."""
        return self._sender.health()

    def disabled(self, name: str) -> str | None:
        """Why nothing is sent to it, if so. Raises NotFound."""
        return self._lane(name).state.disabled

    # -- for the admin

    async def replay(self, delivery_id: str, *, actor: str = "hub") -> None:
        """Send a delivery again, with the same id. One that is pending stays as it is. Raises NotFound, StoreError."""
        if await self._service.store.delivery(delivery_id) is None:
            raise NotFound(f"there is no delivery {delivery_id!r}")
        audit = AuditRecord(actor=actor, action="delivery.replayed", subject=delivery_id)
        await self._service.write(ChangeSet(replays=(delivery_id,), audit=(audit,)))
        self._sender.wake()

    async def disable(self, name: str, *, actor: str, reason: str = "by an admin") -> None:
        """Send nothing more to it until it is enabled. Raises NotFound, StoreError."""
        lane = self._lane(name)
        lane.disable(reason)
        lane.unsaved()
        await self._sender.write(
            lane, audit=(AuditRecord(actor, "endpoint.disabled", name, {"reason": reason, **self._by}),)
        )

    async def enable(self, name: str, *, actor: str) -> None:
        """Send again, what is pending first. Raises NotFound, StoreError."""
        lane = self._lane(name)
        lane.enable()
        lane.unsaved()
        await self._sender.write(lane, audit=(AuditRecord(actor, "endpoint.enabled", name, self._by),))
        self._sender.wake()

    async def heed(self, act: AuditRecord) -> None:
        """Do what an admin told another node, which has written it down; where this one sends, or comes to send soon:
        the one before may have ended before it heard, and written over it. Raises StoreError."""
        if act.subject not in self._endpoints:
            return
        if not self._started:
            self._told[act.subject] = (self._clock.elapsed(), act)
            return
        lane = self._sender.lane(act.subject)
        if act.action == "endpoint.enabled":
            lane.enable()
        else:
            lane.disable(str(act.detail.get("reason")))
        lane.unsaved()
        await self._sender.write(lane)
        self._sender.wake()

    async def refresh(self) -> None:
        """Learn how the endpoints fare, where another node sends. Raises StoreError."""
        if not self._started:
            await self._sender.restore()

    async def test(self, name: str) -> Outcome:
        """Send a notification of type `endpoint.test` now, even to a disabled endpoint, and say what came of it. It is
        not stored, and not tried again. Raises NotFound."""
        now = self._clock.now()
        data = {"type": "endpoint.test", "timestamp": rfc3339(now), "endpoint": name}
        notification = Notification(id=f"test_{uuid4().hex}", type="endpoint.test", timestamp=now, data=data)
        (outcome,) = await self._sender.send(self._lane(name), [notification])
        return outcome

    # -- inside

    def _lane(self, name: str) -> Lane:
        if name not in self._endpoints:
            raise NotFound(f"there is no endpoint {name!r}")
        return self._sender.lane(name)

    async def _serve(self, endpoints: Mapping[str, Endpoint], broken: Collection[str]) -> None:
        await self._sender.serve(endpoints.values())
        if self._started:
            await self._follower.watch(endpoints.values(), broken)

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._wait_for_trail()
                if await self._follower.step():
                    self._sender.wake()
            except StoreError as error:
                _log.warning("notify.store", reason=error.message)
                await asyncio.sleep(self._poll)
        try:
            await self._follower.close()
        except StoreError as error:
            # The same stretch of the trail is read again after the next start; nothing is lost or doubled.
            _log.warning("notify.store", reason=error.message)

    async def _wait_for_trail(self) -> None:
        """Until the trail has grown, the patience has run out, or all is to stop."""
        stopping = asyncio.create_task(self._stopping.wait())
        growing = asyncio.create_task(self._follower.wait(self._poll))
        try:
            done, _ = await asyncio.wait({stopping, growing}, return_when=asyncio.FIRST_COMPLETED)
            if growing in done:
                growing.result()
        finally:
            stopping.cancel()
            growing.cancel()
            await asyncio.gather(stopping, growing, return_exceptions=True)
