"""The language model of `[model]` in a running hub: answers go through it, and it is closed with the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from core.answering.answerer import ModelAnswerer
from core.errors import ConfigError
from core.service import GraphService
from hub.model_settings import ModelSettings

if TYPE_CHECKING:
    from core.aws.bedrock import BedrockClient


def require_extra() -> None:
    """Raises ConfigError where the extra `bedrock` is not installed."""
    try:
        import aiobotocore  # noqa: F401
    except ImportError:
        raise ConfigError('[model] needs the extra `bedrock`: pip install "aime-hub[bedrock]"') from None


def model_client(settings: ModelSettings) -> BedrockClient:
    """A client of the configured model. Raises ConfigError where the extra is not installed."""
    require_extra()
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


class ModelFigures(NamedTuple):
    """What the model did since the hub started, for the metrics."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost: float
    throttles: int
    failures: int
    answers: dict[str, int]
    """By outcome: `answered`, or why it was not."""


class ModelUse:
    """What the configuration uses the model for. Making one raises ConfigError where the extra is missing."""

    def __init__(self, service: GraphService, settings: ModelSettings) -> None:
        self._service = service
        self._client = model_client(settings)
        self._answerer: ModelAnswerer | None = None
        if "answers" in settings.use:
            self._answerer = ModelAnswerer(self._client, seconds=settings.answer_seconds)

    def start(self) -> None:
        self._service.answer_with(self._answerer)

    async def close(self) -> None:
        self._service.answer_with(None)
        await self._client.close()

    @property
    def figures(self) -> ModelFigures:
        spent = self._client.spending
        return ModelFigures(
            spent.requests,
            spent.input_tokens,
            spent.output_tokens,
            spent.cost,
            spent.throttles,
            spent.failures,
            dict(self._answerer.outcomes) if self._answerer is not None else {},
        )
