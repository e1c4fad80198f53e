"""When a delivery that failed is tried again, and by which clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

PAYLOAD_REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that speak of this one payload, which will not change."""


class RetrySchedule:
    """How long to wait after each failed attempt; a delivery is dead when the waits are used up.

    The default makes 13 attempts over about three days. Each wait is drawn evenly from nought to twice the figure
    ("full jitter"), so that deliveries that failed together do not come back together. Attempts are counted, not days:
    a clock that jumps ahead kills nothing. A payload that the receiver refuses as such (400, 413, 415, 422) gets six
    attempts, about an hour and a quarter: a receiver may be mended, but the later events of that document wait behind.
    """

    WAITS = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 6 * 3600.0, *(12 * 3600.0,) * 5)
    """Seconds."""
    REFUSED_ATTEMPTS = 6

    def __init__(
        self, waits: Sequence[float] = WAITS, *, jitter: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._waits = tuple(waits)
        self._jitter = jitter

    def wait(self, attempts: int, *, status: int | None = None) -> float | None:
        """Seconds until the next attempt, after `attempts` of them have failed, the last one with this HTTP status.
        None: there is none."""
        if attempts > len(self._waits) or (status in PAYLOAD_REFUSED and attempts >= self.REFUSED_ATTEMPTS):
            return None
        return self._jitter(0.0, 2 * self._waits[attempts - 1])

    @property
    def longest(self) -> timedelta:
        """No wait that this schedule draws is longer."""
        return timedelta(seconds=2 * max(self._waits, default=0.0))


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Wall time that never goes back while the process lives.

    What is due is kept in wall time, since it must survive a restart. When the wall clock is set back, this one goes on
    as if it had not been, so nothing waits longer than it should. When it is set ahead, or the machine slept, this one
    follows: retries then come due early at worst, and pauses that a receiver asked for are kept in `elapsed` besides.
    """

    def __init__(self, wall: Callable[[], datetime] = _utc_now, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self.elapsed = elapsed
        """Seconds from an arbitrary start; no jump touches them."""
        self._high = wall()
        self._high_at = elapsed()

    def set_by(self, moment: datetime) -> None:
        """Go by another clock from here on, which shows this moment now."""
        started = self.elapsed()
        self._wall = lambda: moment + timedelta(seconds=self.elapsed() - started)
        self._high, self._high_at = moment, started

    def now(self) -> datetime:
        elapsed = self.elapsed()
        steady = self._high + timedelta(seconds=elapsed - self._high_at)
        self._high, self._high_at = max(self._wall(), steady), elapsed
        return self._high
