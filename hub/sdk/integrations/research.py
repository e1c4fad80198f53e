"""Questions as research asks them: of papers, of a time, and rather unanswered than badly grounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

from core.errors import InvalidQuery
from core.model import Metadata
from core.views import Answer, Validation
from hub.sdk.contract import Ask, Core
from hub.sdk.integrations.asks import FormAsk, checked_share

MIN_GROUNDEDNESS = 0.8


class ResearchAsk(FormAsk):
    """A question, and when the papers that may answer it were published: `{"from", "to"}`, either or both."""

    date_range: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        """Raises InvalidQuery that names the end which does not fit."""
        from core.answering.filters import parse_filters

        if self.date_range is None:
            return self
        if "date_range" in (self.filters or {}):
            raise InvalidQuery("is given twice, here and in filters", field="date_range")
        try:
            parse_filters({"date_range": self.date_range})
        except InvalidQuery as error:
            raise InvalidQuery(error.reason, field=error.field.removeprefix("filters.")) from None
        return self

    def narrowed(self, sources: Sequence[str], min_groundedness: float | None) -> dict[str, Any]:
        filters = super().narrowed(sources, min_groundedness)
        return filters if self.date_range is None else {**filters, "date_range": self.date_range}


class Paper(BaseModel):
    """A document that the answer cites: once, with all that is quoted of it."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    title: str | None
    authors: tuple[str, ...]
    published_at: datetime | None
    url: str | None
    doi: str | None
    quotes: tuple[str, ...]
    """Word for word, in the order of the answer."""
    score: float
    """Of its best quotation."""


class ResearchAnswer(BaseModel):
    """`answer` None: no paper carries one; `reason` says why, and `papers` are the nearest."""

    model_config = ConfigDict(frozen=True)

    answer: str | None
    papers: tuple[Paper, ...]
    validation: Validation
    reason: str | None = None

    @classmethod
    def of(cls, found: Answer, metadata: Mapping[str, Metadata]) -> ResearchAnswer:
        return cls(
            answer=found.answer, papers=_papers(found, metadata), validation=found.validation, reason=found.reason
        )


def _papers(found: Answer, metadata: Mapping[str, Metadata]) -> tuple[Paper, ...]:
    """In the order in which the answer cites them."""
    papers: dict[str, Paper] = {}
    for source in found.sources:
        known = metadata.get(source.document_id, Metadata())
        paper = papers.get(source.document_id)
        papers[source.document_id] = Paper(
            document_id=source.document_id,
            title=source.title,
            authors=known.author,
            published_at=known.published_at,
            url=source.url,
            doi=_doi(known),
            quotes=(*paper.quotes, source.quote) if paper else (source.quote,),
            score=max(paper.score, source.score) if paper else source.score,
        )
    return tuple(papers.values())


def _doi(metadata: Metadata) -> str | None:
    """The key is not checked on the way in: it may be a text, a list of them, or something else."""
    value = (metadata.__pydantic_extra__ or {}).get("doi")
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


class ResearchForm:
    """Answers from documents of `sources` (none: all), and only from a groundedness of `min_groundedness` on, unless
    the question says from which."""

    asks = ResearchAsk

    def __init__(self, sources: Sequence[str] = (), *, min_groundedness: float | None = None) -> None:
        """Raises InvalidInput for a `min_groundedness` that is no share."""
        self._sources = tuple(sources)
        self._least = MIN_GROUNDEDNESS if min_groundedness is None else checked_share(min_groundedness)

    async def answer(self, ask: Ask, core: Core) -> ResearchAnswer:
        """`Answers`. Raises InvalidInput that names the field."""
        asked = ResearchAsk.of(ask)
        found = await core.query(asked.query, filters=asked.narrowed(self._sources, self._least))
        cited = {source.document_id for source in found.sources}
        return ResearchAnswer.of(found, await core.metadata(cited, as_of_version=found.graph_version))


class ResearchIntegration:
    """`await ResearchIntegration(service).query_research("Does X slow Y?", {"from": "2024-01-01"})`."""

    def __init__(self, core: Core, *, sources: Sequence[str] = (), min_groundedness: float = MIN_GROUNDEDNESS) -> None:
        self._core = core
        self._form = ResearchForm(sources, min_groundedness=min_groundedness)

    async def query_research(
        self,
        query: str,
        date_range: Mapping[str, Any] | None = None,
        *,
        filters: Mapping[str, Any] | None = None,
        min_groundedness: float | None = None,
    ) -> ResearchAnswer:
        """`date_range` takes `{"from", "to"}`, either or both, as dates or ISO 8601; undated papers fall outside of it.
        Raises InvalidInput that names the field."""
        ask = ResearchAsk.parse(query=query, date_range=date_range, filters=filters, min_groundedness=min_groundedness)
        return await self._form.answer(ask, self._core)
