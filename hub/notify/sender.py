"""Sends what is due, a few at a time for each endpoint, and records what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from core.errors import LeaseLost, NotFound, StoreError
from core.pulse import Pulse
from core.service import GraphService
from core.store.base import Attempt, AuditRecord, ChangeSet, Delivery, DeliveryState, Fences, Holding
from hub.net.breaker import Breaker
from hub.notify.endpoint import BreakerFactory, Endpoint, EndpointHealth, Lane
from hub.notify.events import notification_of
from hub.notify.schedule import Clock, RetrySchedule
from hub.sdk.contract import Notification, Outcome

GIVE_UP_AFTER = timedelta(days=5)
"""An endpoint that only fails for so long is disabled, and an admin asked."""
GIVE_UP_FAILURES = 20
"""… but not before so many attempts, or a clock that jumps ahead would disable it."""
UNSENT_REST = 1.0
"""Seconds to wait when a connector sent nothing and does not say for how long."""
STORE_REST = 1.0
"""Seconds between tries to record an outcome that the store does not take."""
PAGE = 500

AttemptObserver = Callable[[str, Attempt], None]
"""Called with the endpoint's name after each attempt is recorded; metrics read it."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Sender:
    """Takes due deliveries from the store (of each endpoint and subject only the first), and sends them.

    The store's answer is the truth; `wake` only makes it ask sooner. A delivery whose outcome is not recorded yet is
    not sent again, however long the store refuses to record it.
    """

    def __init__(
        self,
        service: GraphService,
        *,
        schedule: RetrySchedule,
        clock: Clock,
        concurrency: int,
        per_endpoint: int,
        attempt_timeout: float,
        poll: float,
        breaker: BreakerFactory,
        on_attempt: AttemptObserver | None,
        fences: Fences,
    ) -> None:
        self._service = service
        self._schedule = schedule
        self._clock = clock
        self._concurrency = concurrency
        self._per_endpoint = per_endpoint
        self._attempt_timeout = attempt_timeout
        self._poll = poll
        self._breaker = breaker
        self._on_attempt = on_attempt
        self._fences = fences
        self._endpoints: dict[str, Endpoint] = {}
        self._lanes: dict[str, Lane] = {}
        self._stored: dict[str, str] = {}
        self._absent: set[str] = set()
        self._released: set[str] = set()
        """Lanes whose connectors are about to be closed: nothing is begun on them until they are served anew."""
        self._idle = Pulse()
        self._left: set[str] = set()
        """Callback hosts to be forgotten once nothing is pending for them."""
        self._in_flight: set[str] = set()
        self._woken = asyncio.Event()

    # -- what it knows

    async def serve(self, endpoints: Iterable[Endpoint]) -> None:
        """Send to these from now on. What is pending for an endpoint that is no longer there waits until it is back."""
        self._stored = await self._service.store.records("endpoint")
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._absent.clear()
        self._released.clear()
        for name, lane in list(self._lanes.items()):
            endpoint = self._endpoint(name)
            if endpoint is None:
                del self._lanes[name]
            else:
                lane.endpoint = endpoint
        for name in self._endpoints:
            self.lane(name)
        for name in list(self._stored):
            if self._endpoint(name) is not None:
                self.lane(name)
                self._left.add(name)
        self.wake()

    async def restore(self) -> None:
        """Read what is remembered of each endpoint: another node may have sent since, or an admin spoken to one. Raises
        StoreError."""
        stored = await self._service.store.records("endpoint")
        for name, lane in self._lanes.items():
            lane.restore(stored.get(name))

    async def release(self, names: Collection[str], *, within: float) -> None:
        """Begin nothing more for these until `serve`, and wait until what is under way for them has ended, or so many
        seconds have passed. Their deliveries stay pending."""
        self._released.update(names)
        try:
            async with asyncio.timeout(within):
                while any(lane.in_flight for name in names if (lane := self._lanes.get(name))):
                    await self._idle.wait(None)
        except TimeoutError:
            _log.warning("notify.not_released", endpoints=sorted(names))

    def lane(self, name: str) -> Lane:
        """Raises NotFound for a name that no endpoint has."""
        lane = self._lanes.get(name)
        if lane is None:
            endpoint = self._endpoint(name)
            if endpoint is None:
                raise NotFound(f"there is no endpoint {name!r}")
            lane = Lane(
                name,
                endpoint,
                stored=self._stored.pop(name, None),
                breaker=self._breaker(name),
                clock=self._clock,
                concurrency=self._per_endpoint,
            )
            self._lanes[name] = lane
        return lane

    def health(self) -> list[EndpointHealth]:
        return [self._lanes[name].health() for name in sorted(self._lanes)]

    def wake(self) -> None:
        self._woken.set()

    def _endpoint(self, name: str) -> Endpoint | None:
        """`callback:HOST` is the endpoint `callback`."""
        return self._endpoints.get(name) or self._endpoints.get(name.partition(":")[0])

    # -- the loop

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until `stopping` is set (and `wake` called); then let the attempts under way end and be recorded."""
        async with asyncio.TaskGroup() as attempts:
            while not stopping.is_set():
                self._woken.clear()
                try:
                    if await self._start_due(attempts):
                        continue
                    await self._forget_hosts()
                    rest = await self._until_due()
                except StoreError as error:
                    _log.warning("notify.store", reason=error.message)
                    rest = self._poll
                await self._wait(rest)

    async def _start_due(self, attempts: asyncio.TaskGroup) -> bool:
        """Start what may be started; whether it is worth asking the store again at once."""
        room = self._concurrency - len(self._in_flight)
        if room <= 0:
            return False
        resting = {name for name, lane in self._lanes.items() if lane.wait() != 0}
        # What is under way is still pending in the store, so it comes along; and what ends while the store answers may
        # still look pending in that answer.
        under_way = frozenset(self._in_flight)
        limit = room + len(under_way)
        found = await self._service.store.due(self._clock.now(), limit, skip=resting | self._absent | self._released)
        fresh = [delivery for delivery in found if delivery.id not in under_way][:room]
        progress = False
        for name, deliveries in _by_endpoint(fresh).items():
            try:
                lane = self.lane(name)
            except NotFound:
                self._absent.add(name)
                progress = True
                continue
            for start in range(0, len(deliveries), lane.endpoint.batch):
                if lane.wait() != 0 or lane.name in self._released:
                    break
                batch = deliveries[start : start + lane.endpoint.batch]
                lane.enter()
                self._in_flight.update(delivery.id for delivery in batch)
                attempts.create_task(self._deliver(lane, batch), name=f"notify: {lane.name}")
                progress = True
        return progress

    async def _until_due(self) -> float:
        """Seconds to wait; at most the poll interval, since others write to the store too."""
        rests = [rest for lane in self._lanes.values() if (rest := lane.wait())]
        next_due = await self._service.store.next_due()
        if next_due is not None and (until := (next_due - self._clock.now()).total_seconds()) > 0:
            rests.append(until)
        return min([self._poll, *rests])

    async def _forget_hosts(self) -> None:
        """Let go of callback hosts that nothing is pending for, and of what is remembered of them. A pause that one of
        them asked for is kept until it has passed. Raises StoreError."""
        for name in list(self._left):
            lane = self._lanes.get(name)
            if lane is None or lane.in_flight:
                self._left.discard(name)  # the attempt under way brings it back
            elif lane.wait() == 0:
                pending = await self._service.store.has_pending(name)
                self._left.discard(name)
                if not pending and not lane.in_flight and name not in self._endpoints:
                    lane.enable()
                    await self.write(lane)
                    if not lane.in_flight:
                        self._lanes.pop(name, None)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    # -- one attempt

    async def _deliver(self, lane: Lane, deliveries: Sequence[Delivery]) -> None:
        try:
            at, started = self._clock.now(), self._clock.elapsed()
            outcomes = await self._attempt(lane, deliveries)
            duration = self._clock.elapsed() - started
            lane.heard(outcomes)
            async with asyncio.TaskGroup() as settling:
                for delivery, outcome in zip(deliveries, outcomes, strict=True):
                    if outcome.unsent:
                        lane.unsent(outcome, outcome.retry_after or UNSENT_REST)
                    else:
                        settling.create_task(self._settle(lane, delivery, outcome, at, duration))
        finally:
            lane.left()
            self._idle.beat()
            self._in_flight.difference_update(delivery.id for delivery in deliveries)
            if lane.name not in self._endpoints:
                if lane.forgettable:
                    self._lanes.pop(lane.name, None)
                else:
                    self._left.add(lane.name)
            self.wake()

    async def _attempt(self, lane: Lane, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome for each, in order."""
        outcomes: dict[str, Outcome] = {}
        notifications: list[Notification] = []
        for delivery in deliveries:
            try:
                notifications.append(notification_of(delivery))
            except (ValueError, KeyError, TypeError) as error:
                reason = f"its payload cannot be read: {type(error).__name__}"
                outcomes[delivery.id] = Outcome(error=reason, permanent=True)
        if notifications:
            sent = await self.send(lane, notifications)
            outcomes.update((each.id, outcome) for each, outcome in zip(notifications, sent, strict=True))
        return [outcomes[delivery.id] for delivery in deliveries]

    async def send(self, lane: Lane, batch: Sequence[Notification]) -> Sequence[Outcome]:
        """One try, within the time for an attempt; an outcome for each. A connector that raises, or gives another
        number of outcomes, has failed all of them."""
        try:
            async with asyncio.timeout(self._attempt_timeout):
                outcomes = list(await lane.endpoint.connector.notify(batch))
        except TimeoutError:
            return [Outcome(error=f"no outcome within {self._attempt_timeout:g} s")] * len(batch)
        except Exception as error:  # noqa: BLE001  (anybody's plugin; its neighbours go on, and the log tells)
            _log.exception("notify.connector_failed", endpoint=lane.name)
            return [Outcome(error=f"the connector failed: {type(error).__name__}")] * len(batch)
        if len(outcomes) != len(batch):
            reason = f"the connector failed: {len(outcomes)} outcomes for {len(batch)} notifications"
            return [Outcome(error=reason)] * len(batch)
        return outcomes

    async def _settle(self, lane: Lane, delivery: Delivery, outcome: Outcome, at: datetime, duration: float) -> None:
        now = self._clock.now()
        audit: tuple[AuditRecord, ...] = ()
        if outcome.error is None:
            lane.succeeded()
            state, next_at = DeliveryState.DELIVERED, now
        else:
            lane.failed_with(outcome, now)
            state, next_at = self._next(lane, delivery, outcome, now)
            if state is DeliveryState.DEAD:
                lane.dead += 1
                audit += (_about("delivery.dead", delivery.id, lane.name, outcome.error),)
            if (reason := self._hopeless(lane, outcome, now)) is not None:
                lane.disable(reason)
                _log.warning("endpoint.disabled", endpoint=lane.name, reason=reason)
                audit += (_about("endpoint.disabled", lane.name, lane.name, reason),)
        attempt = Attempt(
            delivery_id=delivery.id,
            at=at,
            duration=duration,
            state=state,
            next_attempt_at=next_at,
            status=outcome.status,
            error=outcome.error,
            response=outcome.response,
        )
        await self._record(lane, attempt, audit)
        if self._on_attempt is not None:
            self._on_attempt(lane.name, attempt)

    def _next(self, lane: Lane, delivery: Delivery, outcome: Outcome, now: datetime) -> tuple[DeliveryState, datetime]:
        """What a delivery is after an attempt that failed, and when it is due."""
        if outcome.gone and lane.endpoint.may_be_disabled:
            return DeliveryState.PENDING, now  # it waits for the admin, as all that is pending there
        wait = self._schedule.wait(delivery.attempts + 1, status=outcome.status)
        if outcome.permanent or outcome.gone or wait is None:
            return DeliveryState.DEAD, now
        return DeliveryState.PENDING, now + timedelta(seconds=max(wait, outcome.retry_after or 0.0))

    def _hopeless(self, lane: Lane, outcome: Outcome, now: datetime) -> str | None:
        """Why the endpoint is to be disabled, if it is."""
        if not lane.endpoint.may_be_disabled or lane.state.disabled is not None:
            return None
        if outcome.gone:
            return "it answered 410 Gone"
        since = lane.state.failing_since or now
        if lane.state.failures >= GIVE_UP_FAILURES and now - since >= GIVE_UP_AFTER:
            return f"nothing but failures since {since:%Y-%m-%d %H:%M} UTC: {outcome.error}"
        return None

    async def _record(self, lane: Lane, attempt: Attempt, audit: tuple[AuditRecord, ...]) -> None:
        """Write the outcome, again and again until the store takes it: what was sent must not be sent once more because
        a disk is full. Once another node sends, it is for that one to send it again."""
        refused = False
        while True:
            try:
                await self.write(lane, attempts=(attempt,), audit=audit, fences=self._fences())
            except LeaseLost:
                return
            except StoreError as error:
                if not refused:
                    _log.warning("notify.not_recorded", delivery=attempt.delivery_id, reason=error.message)
                refused = True
                await asyncio.sleep(STORE_REST)
            else:
                return

    async def write(
        self,
        lane: Lane,
        *,
        attempts: tuple[Attempt, ...] = (),
        audit: tuple[AuditRecord, ...] = (),
        fences: tuple[Holding, ...] = (),
    ) -> None:
        """Write these, and the endpoint's state where it has changed. Raises StoreError."""
        try:
            await self._service.write(ChangeSet(records=lane.change(), attempts=attempts, audit=audit, fences=fences))
        except BaseException:
            lane.unsaved()
            raise

    # -- after a clock that was wrong

    async def repair_times(self) -> None:
        """Bring forward what was put off by a clock that ran ahead in an earlier run: pending deliveries that are due
        later than the schedule ever says, though no receiver asked for it before now."""
        before: int | None = None
        while page := await self._service.store.deliveries(state=DeliveryState.PENDING, before=before, limit=PAGE):
            before = page[-1].sequence
            now = self._clock.now()
            for delivery in page:
                if delivery.next_attempt_at > now + self._schedule.longest and await self._from_the_future(
                    delivery, now
                ):
                    await self._service.write(ChangeSet(attempts=(_brought_forward(delivery, now),)))

    async def _from_the_future(self, delivery: Delivery, now: datetime) -> bool:
        attempts = await self._service.store.attempts(delivery.id)
        return delivery.created_at > now or any(attempt.at > now for attempt in attempts)


def _by_endpoint(deliveries: Iterable[Delivery]) -> dict[str, list[Delivery]]:
    """In the order in which they are due, each endpoint's together."""
    found: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        found.setdefault(delivery.endpoint, []).append(delivery)
    return found


def default_breaker(name: str) -> Breaker:
    return Breaker(f"endpoint {name}")


def _about(action: str, subject: str, endpoint: str, reason: str) -> AuditRecord:
    return AuditRecord(actor="hub", action=action, subject=subject, detail={"endpoint": endpoint, "reason": reason})


def _brought_forward(delivery: Delivery, now: datetime) -> Attempt:
    return Attempt(
        delivery_id=delivery.id,
        at=now,
        duration=0.0,
        state=DeliveryState.PENDING,
        next_attempt_at=now,
        error="not sent: a clock that ran ahead had put it off",
    )
