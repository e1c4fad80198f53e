"""What the hub keeps for each upstream account: its breaker, its rate limit, and the pause that it asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from core.errors import NotSent
from hub.net.breaker import Breaker, BreakerState


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """For the admin and for metrics."""

    account: str
    breaker: BreakerState
    failures: int
    """In a row."""
    paused_for: float
    """Seconds that the account still asked us to wait."""
    requests: int
    failed: int
    last_error: str | None


class Account:
    """Shared by every client of the same account, so that none of them goes round a limit that another ran into."""

    def __init__(
        self,
        name: str,
        *,
        rate: float | None = None,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.breaker = breaker or Breaker(name, clock=clock)
        self._clock = clock
        self._paused_until = 0.0
        self._requests = 0
        self._failed = 0
        self._last_error: str | None = None
        self._rate: float | None = None
        self._limiter: AsyncLimiter | None = None
        self.limit(rate)

    def limit(self, rate: float | None) -> None:
        """At most `rate` requests a second from now on; None is no limit. Below one a second there is no burst."""
        if rate != self._rate:
            self._rate = rate
            burst = max(1.0, rate or 1.0)
            self._limiter = AsyncLimiter(burst, burst / rate) if rate else None

    def pause(self, seconds: float) -> None:
        """The other side asked for it (`Retry-After`)."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    async def enter(self, patience: float) -> None:
        """Wait for room under the rate limit, at most `patience` seconds. `succeeded`, `failed` or `left` must follow.

        Raises:
            NotSent: the account asked for a pause, its breaker is open, or there was no room.
        """
        self._refuse_if_resting()
        if self._limiter is not None:
            try:
                async with asyncio.timeout(patience):
                    await self._limiter.acquire()
            except TimeoutError:
                raise NotSent(f"{self.name}: its rate limit is used up", retry_after=patience) from None
            self._refuse_if_resting()  # what happened while we waited
        self.breaker.enter()
        self._requests += 1

    def _refuse_if_resting(self) -> None:
        if (rest := self._paused_until - self._clock()) > 0:
            raise NotSent(f"{self.name}: it asked for a pause of another {rest:.0f} s", retry_after=rest)
        if (rest := self.breaker.wait()) > 0:
            reason = f": {self._last_error}" if self._last_error else ""
            raise NotSent(f"{self.name}: resting for {rest:.0f} s after failures{reason}", retry_after=rest)

    def succeeded(self) -> None:
        self.breaker.succeeded()

    def failed(self, reason: str) -> None:
        self._failed += 1
        self._last_error = reason
        self.breaker.failed(reason)

    def left(self) -> None:
        self.breaker.left()

    def health(self) -> AccountHealth:
        return AccountHealth(
            account=self.name,
            breaker=self.breaker.state,
            failures=self.breaker.failures,
            paused_for=max(0.0, self._paused_until - self._clock()),
            requests=self._requests,
            failed=self._failed,
            last_error=self._last_error,
        )
