"""Questions as a help desk asks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.views import Answer
from hub.sdk.contract import Ask, Core
from hub.sdk.integrations.asks import FormAsk, checked_share


class SupportAsk(FormAsk):
    """A customer's question."""


class SupportSource(BaseModel):
    """What an agent shows to the customer: `quote` stands word for word in the document."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    title: str | None
    url: str | None
    quote: str


class SupportAnswer(BaseModel):
    """`answer` None: nothing that is known answers it; `reason` says why, and `sources` are the nearest."""

    model_config = ConfigDict(frozen=True)

    answer: str | None
    sources: tuple[SupportSource, ...]
    confidence: float
    """The groundedness of the answer, 0 to 1."""
    reason: str | None = None

    @classmethod
    def of(cls, found: Answer) -> SupportAnswer:
        return cls(
            answer=found.answer,
            sources=tuple(
                SupportSource(document_id=source.document_id, title=source.title, url=source.url, quote=source.quote)
                for source in found.sources
            ),
            confidence=found.validation.groundedness_score,
            reason=found.reason,
        )


class SupportForm:
    """Answers from documents of `sources` (none: all), and only from a groundedness of `min_groundedness` on (None:
    from where the graph itself answers)."""

    asks = SupportAsk

    def __init__(self, sources: Sequence[str] = (), *, min_groundedness: float | None = None) -> None:
        """Raises InvalidInput for a `min_groundedness` that is no share."""
        self._sources = tuple(sources)
        self._least = checked_share(min_groundedness)

    async def answer(self, ask: Ask, core: Core) -> SupportAnswer:
        """`Answers`. Raises InvalidInput that names the field."""
        asked = SupportAsk.of(ask)
        return SupportAnswer.of(await core.query(asked.query, filters=asked.narrowed(self._sources, self._least)))


class SupportIntegration:
    """`await SupportIntegration(service).answer_support_query("How do I reset my password?")`."""

    def __init__(self, core: Core, *, sources: Sequence[str] = (), min_groundedness: float | None = None) -> None:
        self._core = core
        self._form = SupportForm(sources, min_groundedness=min_groundedness)

    async def answer_support_query(
        self, query: str, *, filters: Mapping[str, Any] | None = None, min_groundedness: float | None = None
    ) -> SupportAnswer:
        """Raises InvalidInput that names the field."""
        ask = SupportAsk.parse(query=query, filters=filters, min_groundedness=min_groundedness)
        return await self._form.answer(ask, self._core)
