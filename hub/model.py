"""The language model of `[model]` in a running hub: answers go through it, and texts are read by it beside everything
else. Nobody waits for the reading: while the model is down, throttles or answers garbage it falls behind, no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog

from core.answering.answerer import ModelAnswerer
from core.errors import AimeError, ModelUnavailable
from core.extraction.follower import ExtractionFollower
from core.service import GraphService
from core.store.base import Fences
from hub.duties import Duties
from hub.extras import require
from hub.model_settings import ModelSettings
from hub.runners.schedule import backoff

if TYPE_CHECKING:
    from core.aws.bedrock import BedrockClient

IDLE_SECONDS = 15.0
LONGEST_REST = 300.0
FORGET_SECONDS = 24 * 3600.0
"""How often the extractions of texts that are gone are dropped."""

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")


def model_client(settings: ModelSettings) -> BedrockClient:
    """A client of the configured model. Raises ConfigError where the extra is not installed."""
    require("model")
    from core.aws.bedrock import BedrockClient
    from core.aws.budget import Prices

    key_id, secret, token = (
        None if value is None else value.get_secret_value()
        for value in (settings.access_key_id, settings.secret_access_key, settings.session_token)
    )
    return BedrockClient(
        settings.region,
        settings.model_id,
        key_id,
        secret,
        aws_session_token=token,
        endpoint_url=settings.endpoint_url,
        api=settings.api,
        tokens_per_minute=settings.tokens_per_minute,
        prices=Prices(settings.input_price, settings.output_price),
        timeout=settings.timeout_seconds,
    )


def _share(settings: ModelSettings) -> ModelSettings:
    """For one of several uses: an equal part of the budget, so that reading a backlog takes nothing from answers."""
    part = settings.tokens_per_minute // len(set(settings.use))
    return settings.model_copy(update={"tokens_per_minute": part})


class ModelFigures(NamedTuple):
    """What the model did since the hub started, for the metrics."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost: float
    throttles: int
    failures: int
    answers: Counter[str]
    """Questions by outcome: `answered`, or why they were not."""
    texts: Counter[str]
    """Texts by outcome: `extracted` or `rejected`."""


class ModelUse:
    """What the configuration uses the model for; reading texts is one of the `duties`. Making one raises ConfigError
    where the extra is missing."""

    def __init__(self, service: GraphService, settings: ModelSettings, duties: Duties) -> None:
        self._service = service
        self._clients = {use: model_client(_share(settings)) for use in settings.use}
        self._answerer: ModelAnswerer | None = None
        self.extraction: ExtractionRunner | None = None
        if "answers" in self._clients:
            self._answerer = ModelAnswerer(self._clients["answers"], seconds=settings.answer_seconds)
        if "extraction" in self._clients:
            client = self._clients["extraction"]
            self.extraction = duties.take("extraction", lambda fences: ExtractionRunner(service, client, fences))

    def start(self) -> None:
        if self._answerer is not None:
            self._service.answer_with(self._answerer)
        if self.extraction is not None:
            self._service.enrich_from_store()

    async def close(self) -> None:
        self._service.answer_with(None)
        for client in self._clients.values():
            await client.close()

    @property
    def figures(self) -> ModelFigures:
        spent = [client.spending for client in self._clients.values()]
        return ModelFigures(
            requests=sum(each.requests for each in spent),
            input_tokens=sum(each.input_tokens for each in spent),
            output_tokens=sum(each.output_tokens for each in spent),
            cost=sum(each.cost for each in spent),
            throttles=sum(each.throttles for each in spent),
            failures=sum(each.failures for each in spent),
            answers=self._answerer.outcomes if self._answerer is not None else Counter(),
            texts=self.extraction.follower.outcomes if self.extraction is not None else Counter(),
        )


@asynccontextmanager
async def answering(service: GraphService, settings: ModelSettings | None) -> AsyncIterator[None]:
    """Have the service's answers worded by the model, where it is configured for that. Raises ConfigError where the
    extra is missing."""
    if settings is None or "answers" not in settings.use:
        yield
        return
    async with model_client(settings) as client:
        service.answer_with(ModelAnswerer(client, seconds=settings.answer_seconds))
        yield


class ExtractionRunner:
    """Has the model read what is new, until `stop`."""

    def __init__(self, service: GraphService, client: BedrockClient, fences: Fences) -> None:
        self.follower = ExtractionFollower(service, client, fences=fences)
        self.error: str | None = None
        """Why the last step failed; None while it works."""
        self.running = False
        """Whether it is this node that reads."""
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`; what is under way is cut off then, and what is not stored is asked again."""
        self.follower.begin()
        self.running = True
        following = asyncio.create_task(self._follow(), name="extraction: following")
        stopping = asyncio.create_task(self._stopping.wait(), name="extraction: stopping")
        try:
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            stopping.cancel()
            await asyncio.wait({following, stopping})
            self.running = False
        if not following.cancelled():
            following.result()  # only a defect ends it

    async def _follow(self) -> None:
        failures = 0
        forgotten = asyncio.get_running_loop().time()
        while True:
            try:
                while await self.follower.step():
                    self._well()
                    failures = 0
                self._well()
                if asyncio.get_running_loop().time() - forgotten > FORGET_SECONDS:
                    forgotten = asyncio.get_running_loop().time()
                    log.info("extractions forgotten", texts=await self.follower.forget())
                await self.follower.wait(IDLE_SECONDS)
                failures = 0
            except AimeError as error:
                failures += 1
                if self.error is None:
                    log.warning("extraction waits for the model", code=error.code, error=error.message)
                self.error = error.message
                asked = error.retry_after if isinstance(error, ModelUnavailable) else 0.0
                await asyncio.sleep(max(asked, min(LONGEST_REST, backoff(failures))))

    def _well(self) -> None:
        if self.error is not None:
            log.info("the model works again")
        self.error = None
