"""An endpoint: what it wants, what is remembered of it, and whether something may be sent to it now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from core.store.base import RecordScope
from hub.net.breaker import Breaker, BreakerState
from hub.notify.schedule import Clock
from hub.sdk.contract import Batches, Notifies, Outcome

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LONGEST_PAUSE = timedelta(days=30)
"""A pause that a restart finds further ahead than this was written by a clock that was wrong."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One destination of notifications, as configured."""

    name: str
    events: tuple[str, ...]
    connector: Notifies
    may_be_disabled: bool = True
    """By its own answers. Callbacks go to many hosts, so one that is gone ends its own deliveries and no more."""

    @property
    def batch(self) -> int:
        """The most notifications that one attempt may take."""
        return self.connector.batch if isinstance(self.connector, Batches) else 1


class EndpointState(BaseModel):
    """What outlives a restart: the record (`endpoint`, name)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    disabled: str | None = None
    """Why nothing is sent."""
    failures: int = 0
    """In a row."""
    failing_since: datetime | None = None
    not_before: datetime | None = None
    """The receiver asked for a pause until then."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """For the admin and for metrics. Counts are since the hub started."""

    name: str
    state: str
    """`ok`, `failing`, `paused` (by the receiver), `resting` (breaker) or `disabled`."""
    reason: str | None
    """Why it is disabled, or the last error."""
    breaker: BreakerState
    in_flight: int
    delivered: int
    failed: int
    """Attempts."""
    dead: int
    failing_since: datetime | None
    paused_for: float
    """Seconds."""


class Lane:
    """The queue of one endpoint: of a configured one, or of one callback host."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        stored: str | None,
        breaker: Breaker,
        clock: Clock,
        concurrency: int,
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self.state = EndpointState()
        self.in_flight = 0
        self.delivered = 0
        self.failed = 0
        self.dead = 0
        self.last_error: str | None = None
        self._breaker = breaker
        self._clock = clock
        self._concurrency = concurrency
        self._held_until = 0.0
        self._stored: str | None = None
        """What the store holds, as far as we know."""
        self.restore(stored)

    # -- whether

    def wait(self) -> float | None:
        """Seconds until it may be sent something: 0 is now, None until something happens (it is disabled, or has its
        fill of attempts under way)."""
        if self.state.disabled is not None or self.in_flight >= self._concurrency:
            return None
        return max(self._held_until - self._clock.elapsed(), self._breaker.wait())

    @property
    def forgettable(self) -> bool:
        """Nothing is under way, and nothing is to be remembered."""
        return not self.in_flight and self._stored is None and self.state == EndpointState() and self.wait() == 0

    # -- what happens

    def enter(self) -> None:
        """An attempt begins; `left` ends it."""
        self.in_flight += 1
        self._breaker.enter()

    def left(self) -> None:
        self.in_flight -= 1
        self._breaker.left()

    def hold(self, seconds: float) -> None:
        """Send nothing for so long. By a clock that does not jump: the stored time alone would not keep a pause when
        the wall clock is set ahead."""
        self._held_until = max(self._held_until, self._clock.elapsed() + seconds)

    def heard(self, outcomes: Sequence[Outcome]) -> None:
        """What an attempt says about the line, whatever it says about each notification. A 4xx is an answer: it says
        nothing against the line. Where nothing was sent, nothing is said."""
        sent = [outcome for outcome in outcomes if not outcome.unsent]
        if any(outcome.error is None or (outcome.status or 500) < 500 for outcome in sent):
            self._breaker.succeeded()
        elif sent:
            self._breaker.failed(sent[0].error or "")

    def unsent(self, outcome: Outcome, rest: float) -> None:
        """Nothing went out; nothing goes out for a while."""
        self.last_error = outcome.error
        self.hold(rest)

    def succeeded(self) -> None:
        self.delivered += 1
        self.state = EndpointState(disabled=self.state.disabled)

    def failed_with(self, outcome: Outcome, now: datetime) -> None:
        """What a notification that was not delivered says about the endpoint."""
        self.failed += 1
        self.last_error = outcome.error or ""
        update: dict[str, object] = {
            "failures": self.state.failures + 1,
            "failing_since": min(now, self.state.failing_since or now),
        }
        if outcome.retry_after:
            self.hold(outcome.retry_after)
            until = now + timedelta(seconds=outcome.retry_after)
            update["not_before"] = max(until, self.state.not_before or until)
        self.state = self.state.model_copy(update=update)

    def disable(self, reason: str) -> None:
        self.state = self.state.model_copy(update={"disabled": reason})

    def enable(self) -> None:
        """A clean start: the pause and the breaker are forgotten too, since an admin knows better."""
        self.state = EndpointState()
        self._held_until = 0.0
        self._breaker.succeeded()

    # -- what is remembered

    def restore(self, stored: str | None) -> None:
        """Be as the store says."""
        if stored == self._stored:
            return
        self._stored = stored
        self.state = _parse(self.name, stored)
        self._held_until = 0.0
        if self.state.not_before is not None:
            left = self.state.not_before - self._clock.now()
            if timedelta(0) < left <= LONGEST_PAUSE:
                self.hold(left.total_seconds())

    def record(self) -> str | None:
        """The state as JSON; None when there is nothing to remember."""
        return None if self.state == EndpointState() else self.state.model_dump_json(exclude_defaults=True)

    def change(self) -> dict[tuple[RecordScope, str], str | None]:
        """What a transaction that is about to be written has to write for this endpoint. It counts as written from here
        on, since transactions keep the order in which they are handed in; `unsaved` takes that back."""
        record = self.record()
        if record == self._stored:
            return {}
        self._stored = record
        return {("endpoint", self.name): record}

    def unsaved(self) -> None:
        """That transaction was refused."""
        self._stored = ""

    def health(self) -> EndpointHealth:
        held = max(0.0, self._held_until - self._clock.elapsed())
        if self.state.disabled is not None:
            state = "disabled"
        elif held:
            state = "paused"
        elif self._breaker.state is not BreakerState.CLOSED:
            state = "resting"
        else:
            state = "failing" if self.state.failures else "ok"
        return EndpointHealth(
            name=self.name,
            state=state,
            reason=self.state.disabled or (self.last_error if self.state.failures or held else None),
            breaker=self._breaker.state,
            in_flight=self.in_flight,
            delivered=self.delivered,
            failed=self.failed,
            dead=self.dead,
            failing_since=self.state.failing_since,
            paused_for=held,
        )


def _parse(name: str, stored: str | None) -> EndpointState:
    if stored is None:
        return EndpointState()
    try:
        return EndpointState.model_validate_json(stored)
    except ValidationError:
        # Written by another release. What it was shows again at the next attempt.
        _log.warning("endpoint.state_forgotten", endpoint=name, reason="its record cannot be read")
        return EndpointState()


BreakerFactory = Callable[[str], Breaker]
"""Makes the breaker of the endpoint of this name."""
