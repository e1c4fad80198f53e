"""When an instance runs, and how long it rests after a failure."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from cronsim import CronSim

JITTER = 0.1
"""The share of an interval by which runs are spread, so that instances started together do not stay together."""
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0


class Schedule:
    """Every so often, or by the calendar (UTC)."""

    def __init__(self, *, every: timedelta | None, cron: str | None, now: Callable[[], datetime]) -> None:
        self._every = every
        self._cron = cron
        self._now = now

    @property
    def at_once(self) -> bool:
        """Whether the first run follows the start: an interval has no other beginning."""
        return self._cron is None

    def delay(self) -> float:
        """Seconds until the next run, seen from now."""
        if self._cron is not None:
            now = self._now()
            return max(0.0, (next(CronSim(self._cron, now)) - now).total_seconds())
        seconds = self._every.total_seconds() if self._every is not None else 0.0
        return seconds * random.uniform(1 - JITTER, 1)


def backoff(failures: int, retry_after: float | None = None) -> float:
    """Seconds to rest after so many failures in a row: doubling up to five minutes, half of it jitter, and never
    shorter than the other side asked for."""
    longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(max(0, failures - 1), 20))
    return max(longest * random.uniform(0.5, 1.0), retry_after or 0.0)
