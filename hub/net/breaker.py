"""A circuit breaker: after several failures in a row it lets nothing through for a while, then one probe."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

import structlog

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Closed until `threshold` failures in a row; then open for `cooldown` seconds, twice as long after each probe that
    fails, at most `cooldown_max`. An outage is logged once when it begins and once when it ends."""

    def __init__(
        self,
        name: str,
        *,
        threshold: int = 5,
        cooldown: float = 30.0,
        cooldown_max: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.failures = 0
        """In a row."""
        self._threshold = threshold
        self._cooldown = cooldown
        self._cooldown_max = cooldown_max
        self._clock = clock
        self._openings = 0
        """Since the last success: the first opening and every probe that failed."""
        self._open_until = 0.0
        self._probing = False

    @property
    def state(self) -> BreakerState:
        if not self._openings:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._open_until else BreakerState.HALF_OPEN

    def wait(self) -> float:
        """Seconds until something may be tried; 0 when it may be now. While a probe is out, its cooldown."""
        if self.state is BreakerState.HALF_OPEN and self._probing:
            return self._cooldown
        return max(0.0, self._open_until - self._clock()) if self._openings else 0.0

    def enter(self) -> None:
        """Something is about to be tried (`wait()` was 0). One of `succeeded`, `failed` and `left` must follow."""
        if self._openings:
            self._probing = True

    def succeeded(self) -> None:
        if self._openings:
            _log.info("breaker.closed", account=self.name)
        self.failures = 0
        self._openings = 0
        self._probing = False

    def failed(self, reason: str) -> None:
        """`reason` is logged, so it names no secret."""
        self.failures += 1
        was_probing, self._probing = self._probing, False
        if self._openings and not was_probing:
            return  # began before the breaker opened: no news
        if not self._openings and self.failures < self._threshold:
            return
        if not self._openings:
            _log.warning("breaker.opened", account=self.name, failures=self.failures, reason=reason)
        rest = min(self._cooldown_max, self._cooldown * 2.0 ** min(self._openings, 30))
        self._openings += 1
        self._open_until = self._clock() + rest

    def left(self) -> None:
        """What was tried ended without saying anything about the other side (it was cancelled)."""
        self._probing = False
