"""What a model may use: tokens a minute, and what they cost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from core.completion import Usage
from core.errors import ModelError, ModelOverBudget

MINUTE = 60.0
MILLION = 1_000_000


class Clock(Protocol):
    """Seconds that only go forward, and waiting for them."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TokenBudget:
    """A bucket of `per_minute` tokens that fills at that rate. What a request may take is reserved before it is sent,
    and what it did not take is given back, so requests at the same time cannot overdraw it together."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._held = float(per_minute)
        self._filled_at = clock.now()

    async def reserve(self, tokens: int, within: float) -> None:
        """Take `tokens`, waiting up to `within` seconds for them. Raises ModelOverBudget, and then takes none;
        ModelError for more than there will ever be."""
        if tokens > self.per_minute:
            raise ModelError(
                f"a request of up to {tokens:,} tokens is more than the budget of {self.per_minute:,} a minute"
            )
        deadline = self._clock.now() + within
        while (wait := self._wait_for(tokens)) > 0:
            if self._clock.now() + wait > deadline:
                raise ModelOverBudget(
                    f"the budget of {self.per_minute:,} tokens a minute is used up; there is room in {wait:.0f} s",
                    retry_after=wait,
                )
            await self._clock.sleep(wait)
        self._held -= tokens

    def settle(self, reserved: int, used: int) -> None:
        """Give back what a request did not use; one that used more than was reserved is charged for it."""
        self._held = min(float(self.per_minute), self._held + reserved - used)

    def _wait_for(self, tokens: int) -> float:
        now = self._clock.now()
        rate = self.per_minute / MINUTE
        self._held = min(float(self.per_minute), self._held + (now - self._filled_at) * rate)
        self._filled_at = now
        # What is missing may be less than the clock can tell apart.
        missing = tokens - self._held
        return missing / rate if missing > 1e-6 else 0.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens, in whatever currency the reader counts."""

    input: float = 0.0
    output: float = 0.0

    def of(self, usage: Usage) -> float:
        return (usage.input_tokens * self.input + usage.output_tokens * self.output) / MILLION


@dataclass(slots=True)
class Spending:
    """What was asked of a model since the start, and what became of it."""

    requests: int = 0
    """That were answered."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    throttles: int = 0
    """Answers that asked for fewer requests; one request may get several."""
    failures: int = 0
    """Requests that were given up."""
