"""`BedrockClient`: a language model of Amazon Bedrock, for a program that runs on an event loop."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeVar

from core.aws.bodies import Asked, Piece, count, estimate
from core.aws.budget import Clock, Prices, Spending, SystemClock, TokenBudget
from core.aws.wire import Wire
from core.completion import Completion, Usage
from core.errors import (
    InvalidInput,
    ModelAnswerInvalid,
    ModelError,
    ModelThrottled,
    ModelUnavailable,
)

Api = Literal["auto", "converse", "invoke"]
R = TypeVar("R")

DEFAULT_MAX_TOKENS = 1024
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 20.0
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 60.0
MOST_CHARS = 128
"""In a token. Whoever reads an answer takes its time by what was asked for."""
END = "end_turn"
NOTHING = Usage(0, 0)

# What Converse says of models that it does not serve, or that know no system prompt.
_NO_CONVERSE = re.compile(r"action doesn't support the model|doesn't support the converse", re.IGNORECASE)
_NO_SYSTEM = re.compile(r"doesn't support system", re.IGNORECASE)


class BedrockClient:
    """One model, asked over the Converse API, or over InvokeModel where it has no Converse (`api` chooses; `auto` finds
    out). Requests are signed with the given keys, or with the credentials of AWS's usual chain. Nothing is opened
    before the first call.

    A request that is throttled, or that fails in a way that may pass, is sent again after a wait with full jitter, at
    most `max_attempts` times and for `retry_seconds` in all; one try may take `timeout` seconds without a sign of life.
    After a call that was given up so, the client rests: calls are refused for a while without being sent. At most
    `tokens_per_minute` are asked for; a call waits for room as long as it may. At most `max_concurrent` calls are sent
    at a time. `spending` counts, with `prices` also money.

    Every call may raise ModelThrottled, ModelOverBudget and ModelUnavailable, which may pass, and ModelAccessDenied,
    ModelAnswerInvalid and ModelError, which will not.
    """

    def __init__(
        self,
        region_name: str,
        model_id: str,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        *,
        aws_session_token: str | None = None,
        endpoint_url: str | None = None,
        api: Api = "auto",
        tokens_per_minute: int | None = None,
        prices: Prices | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 60.0,
        max_attempts: int = 6,
        max_concurrent: int = 8,
        clock: Clock | None = None,
    ) -> None:
        if not region_name:
            raise InvalidInput("must be an AWS region, such as eu-central-1", field="region_name")
        if not model_id:
            raise InvalidInput("must name a model or an inference profile", field="model_id")
        if (aws_access_key_id is None) != (aws_secret_access_key is None):
            raise InvalidInput("needs its other half: give both keys or neither", field="aws_secret_access_key")
        if timeout <= 0 or retry_seconds <= 0 or max_attempts < 1 or max_concurrent < 1:
            raise InvalidInput("timeout, retry_seconds, max_attempts and max_concurrent must be positive")
        if tokens_per_minute is not None and tokens_per_minute < 1:
            raise InvalidInput("must be positive", field="tokens_per_minute")
        self.model_id = model_id
        self.region_name = region_name
        self.spending = Spending()
        self._keys = (aws_access_key_id, aws_secret_access_key, aws_session_token)
        self._endpoint_url = endpoint_url
        self._converses = api != "invoke"
        self._may_do_without = api == "auto"
        self._takes_system = True
        self._clock = clock or SystemClock()
        self._budget = TokenBudget(tokens_per_minute, self._clock) if tokens_per_minute is not None else None
        self._prices = prices or Prices()
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._max_attempts = max_attempts
        self._slots = asyncio.Semaphore(max_concurrent)
        self._connections = max_concurrent
        self._rests_until = 0.0
        self._rests = 0
        """In a row."""
        self._trouble: ModelUnavailable | None = None
        """Why it rests."""
        self._opening = asyncio.Lock()
        self._wire: Wire | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"BedrockClient({self.region_name!r}, {self.model_id!r})"

    async def close(self) -> None:
        """Close the connections. May be called twice; calls that come afterwards raise ModelUnavailable."""
        self._closed = True
        async with self._opening:
            if self._wire is not None:
                await self._wire.close()

    # -- asking

    async def invoke_model(
        self,
        prompt: str,
        system_prompt: str = "",
        max_tokens: int = DEFAULT_MAX_TOKENS,
        temperature: float = 0.0,
    ) -> str:
        """The text of the model's answer."""
        return (await self.complete(prompt, system_prompt, max_tokens, temperature)).text

    async def complete(
        self,
        prompt: str,
        system_prompt: str = "",
        max_tokens: int = DEFAULT_MAX_TOKENS,
        temperature: float = 0.0,
        *,
        within: float | None = None,
    ) -> Completion:
        """The answer with its usage, after at most `within` seconds, retries and waiting for room included."""
        asked = _checked(prompt, system_prompt, max_tokens, temperature)
        async with self._admitted(asked, within) as call:
            said = await self._retried(lambda: self._answer(asked), call)
            usage = self._spend(call, said, said.text)
            if not said.text.strip():
                raise ModelAnswerInvalid(f"the answer holds no text ({said.stop_reason or 'no reason is given'})")
            if len(said.text) > max_tokens * MOST_CHARS:
                raise ModelAnswerInvalid(f"the answer has {len(said.text):,} characters, more than was asked for")
            return Completion(said.text, said.stop_reason or END, usage)

    async def stream_model(
        self,
        prompt: str,
        system_prompt: str = "",
        max_tokens: int = DEFAULT_MAX_TOKENS,
        temperature: float = 0.0,
        *,
        within: float | None = None,
    ) -> AsyncGenerator[str, None]:
        """The text, piece by piece as it comes. It is begun again only while nothing of it was handed out: a stream
        that breaks off later raises ModelUnavailable."""
        asked = _checked(prompt, system_prompt, max_tokens, temperature)
        async with self._admitted(asked, within) as call:
            pieces, total = await self._retried(lambda: self._begin(asked), call)
            try:
                piece: Piece | None = total
                while piece is not None:
                    if piece.text:
                        yield piece.text
                    if (piece := await self._timely(anext(pieces, None), call)) is not None:
                        total = total.followed_by(piece)
            finally:
                await pieces.aclose()
                self._spend(call, total, total.text)

    # -- one call

    @asynccontextmanager
    async def _admitted(self, asked: Asked, within: float | None) -> AsyncIterator[_Call]:
        """A call that has room among those at the same time, and in the budget."""
        now = self._clock.now()
        call = _Call(asked, now + (self._retry_seconds if within is None else within))
        reserved = estimate(asked.system + asked.prompt) + asked.max_tokens
        try:
            if self._closed:
                raise ModelUnavailable("the client is closed")
            if self._trouble is not None and now < self._rests_until:
                raise self._resting(self._trouble)
            await self._timely(self._slots.acquire(), call)
            try:
                if self._budget is not None:
                    await self._budget.reserve(reserved, self._left(call))
                try:
                    yield call
                finally:
                    if self._budget is not None:
                        self._budget.settle(reserved, sum(call.used))
            finally:
                self._slots.release()
        except ModelError:
            self.spending.failures += 1
            raise

    async def _retried(self, attempt: Callable[[], Awaitable[R]], call: _Call) -> R:
        """What `attempt` gives, tried again while that may help. Raises what the last one raised."""
        for number in range(self._max_attempts):
            try:
                result = await self._timely(attempt(), call)
            except ModelUnavailable as error:
                self.spending.throttles += isinstance(error, ModelThrottled)
                # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: full jitter
                jitter = random.uniform(0, min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**number))
                wait = error.retry_after + jitter
                if number == self._max_attempts - 1 or wait >= self._left(call):
                    self._rest(error)
                    raise self._resting(error) from error
                await self._clock.sleep(wait)
            else:
                self._rests = 0
                return result
        raise AssertionError("unreachable")

    def _rest(self, error: ModelUnavailable) -> None:
        self._trouble = error
        seconds = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2**self._rests)
        self._rests += 1
        self._rests_until = self._clock.now() + seconds

    def _resting(self, error: ModelUnavailable) -> ModelUnavailable:
        left = max(0.0, self._rests_until - self._clock.now())
        reason = f"{self.model_id}: {error.message}; it is asked again in {math.ceil(left)} s"
        return type(error)(reason, retry_after=left)

    async def _timely(self, step: Awaitable[R], call: _Call) -> R:
        """The step's result while the call has time left. Raises ModelUnavailable."""
        try:
            async with asyncio.timeout(self._left(call)):
                return await step
        except TimeoutError:
            raise ModelUnavailable("it does not answer in time", retry_after=0.0) from None

    def _left(self, call: _Call) -> float:
        return max(0.0, call.deadline - self._clock.now())

    def _spend(self, call: _Call, said: Piece, text: str) -> Usage:
        call.used = usage = count(said, call.asked, text)
        self.spending.requests += 1
        self.spending.input_tokens += usage.input_tokens
        self.spending.output_tokens += usage.output_tokens
        self.spending.cost += self._prices.of(usage)
        return usage

    # -- on the wire

    async def _answer(self, asked: Asked) -> Piece:
        wire = await self._open()
        if not self._converses:
            return await wire.invoke(asked)
        try:
            return await wire.converse(self._fitted(asked))
        except ModelError as error:
            if not self._learned(error):
                raise
            return await self._answer(asked)

    async def _begin(self, asked: Asked) -> tuple[AsyncGenerator[Piece, None], Piece]:
        """A stream with its first piece: what a service refuses, it refuses before that."""
        wire = await self._open()
        pieces = wire.converse_stream(self._fitted(asked)) if self._converses else wire.invoke_stream(asked)
        try:
            first = await anext(pieces)
        except ModelError as error:
            if not self._learned(error):
                raise
            return await self._begin(asked)
        return pieces, first

    def _fitted(self, asked: Asked) -> Asked:
        return asked if self._takes_system else asked.without_system()

    def _learned(self, error: ModelError) -> bool:
        """Whether the error told what this model cannot do, so that it is asked in another way from now on."""
        if self._takes_system and _NO_SYSTEM.search(error.message):
            self._takes_system = False
            return True
        if self._converses and self._may_do_without and _NO_CONVERSE.search(error.message):
            self._converses = False
            return True
        return False

    async def _open(self) -> Wire:
        async with self._opening:
            if self._closed:
                raise ModelUnavailable("the client is closed")
            if self._wire is None:
                self._wire = await Wire.open(
                    self.region_name,
                    self.model_id,
                    keys=self._keys,
                    endpoint_url=self._endpoint_url,
                    timeout=self._timeout,
                    connections=self._connections,
                )
            return self._wire


@dataclass(slots=True)
class _Call:
    """A call under way."""

    asked: Asked
    deadline: float
    """By the client's clock."""
    used: Usage = NOTHING


def _checked(prompt: str, system_prompt: str, max_tokens: int, temperature: float) -> Asked:
    if not prompt.strip():
        raise InvalidInput("must not be empty", field="prompt")
    if max_tokens < 1:
        raise InvalidInput(f"must be positive, not {max_tokens}", field="max_tokens")
    if not 0 <= temperature <= 1:
        raise InvalidInput(f"must be 0 to 1, not {temperature}", field="temperature")
    return Asked(prompt, system_prompt, max_tokens, temperature)
