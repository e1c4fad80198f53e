"""The question forms of help desks and research, and a CMS that is kept in step, from a program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput, InvalidQuery, NotReady
from core.model import Metadata
from core.service import GraphService, create_graph_service
from core.views import Answer, Source, Validation
from hub.sdk.integrations import (
    CMSIntegration,
    ContentItem,
    ResearchAnswer,
    ResearchIntegration,
    SupportAnswer,
    SupportIntegration,
)

PAPERS = {
    "arxiv-1": (
        "Caffeine slows the uptake of iron",
        "We gave 40 adults iron with and without coffee. Caffeine slows the uptake of iron by 40 percent in adults.",
        {"author": ["Ada Kerrin", "Jo Wend"], "published_at": "2025-03-01", "doi": "10.1/iron", "url": "https://a/1"},
    ),
    "arxiv-2": (
        "Sleep and memory in mice",
        "Mice that slept badly forgot the maze. Memory of the maze returned after two nights of sleep.",
        {"author": "Bo Lind", "published_at": "2019-06-01"},
    ),
    "arxiv-3": ("Tides of the inner sea", "Tides in the inner sea follow the moon by six hours.", {}),
}
HELP = {
    "desk-1": ("Reset your password", "Open the settings and choose Reset password. A mail arrives at once."),
    "desk-2": ("Invoices", "Invoices are sent on the first day of each month. They can be paid by card."),
    "desk-3": ("Opening hours", "The desk opens at nine. It is closed on public holidays."),
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[GraphService]:
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}") as service:
        for id_, (title, content, metadata) in PAPERS.items():
            await service.process_document(
                document_id=id_, content=content, metadata={"title": title, "source": "papers", **metadata}
            )
        for id_, (title, content) in HELP.items():
            await service.process_document(
                document_id=id_,
                content=content,
                metadata={"title": title, "source": "desk", "url": f"https://help/{id_}"},
            )
        yield service


# ---------------------------------------------------------------- support


async def test_a_help_desk_gets_an_answer_its_sources_and_how_sure_it_is(service: GraphService) -> None:
    found = await SupportIntegration(service).answer_support_query("How do I reset my password?")
    assert found.answer is not None
    assert "choose Reset password" in found.answer
    assert found.model_dump()["sources"][0] == {
        "document_id": "desk-1",
        "title": "Reset your password",
        "url": "https://help/desk-1",
        "quote": "Open the settings and choose Reset password.",
    }
    plain = await service.query("How do I reset my password?")
    assert found.confidence == plain.validation.groundedness_score > 0.5
    assert found.reason is None


async def test_what_is_not_known_is_not_answered_and_says_why(service: GraphService) -> None:
    found = await SupportIntegration(service).answer_support_query("Who won the chess olympiad in Tromsø?")
    assert found.answer is None
    assert found.reason
    assert found.confidence < 0.5


async def test_a_desk_answers_from_its_own_sources_only(service: GraphService) -> None:
    desk = SupportIntegration(service, sources=["desk"])
    assert (await desk.answer_support_query("Does caffeine slow the uptake of iron?")).answer is None
    assert (await desk.answer_support_query("When does the desk open?", filters={"source": "desk"})).answer
    with pytest.raises(InvalidQuery, match="not among the sources") as refused:
        await desk.answer_support_query("Does caffeine slow the uptake of iron?", filters={"source": "papers"})
    assert refused.value.field == "filters.source"


async def test_a_question_may_ask_for_more_or_less_groundedness_than_the_desk(service: GraphService) -> None:
    desk = SupportIntegration(service, min_groundedness=1)
    question = "When are invoices sent?"
    assert (await desk.answer_support_query(question)).answer is None
    assert (await desk.answer_support_query(question, min_groundedness=0.3)).answer


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": 7}, "query"),
        ({"query": "x" * 10_001}, "query"),
        ({"query": "When?", "filters": {"tags": 7}}, "filters.tags"),
        ({"query": "When?", "filters": "desk"}, "filters"),
        ({"query": "When?", "min_groundedness": 2}, "min_groundedness"),
        ({"query": "When?", "min_groundedness": 0.5, "filters": {"min_groundedness": 0.5}}, "min_groundedness"),
    ],
)
async def test_a_support_question_that_does_not_fit_is_refused_by_field(
    service: GraphService, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await SupportIntegration(service).answer_support_query(**fields)
    assert refused.value.field == field


async def test_filters_from_a_program_may_hold_what_the_graph_takes_from_one(service: GraphService) -> None:
    desk = SupportIntegration(service)
    filters = {"source": ("desk", "papers"), "date_range": {"from": date(2025, 1, 1)}}
    found = await desk.answer_support_query("What slows the uptake of iron?", filters=filters)
    assert {source.document_id for source in found.sources} == {"arxiv-1"}
    assert found == SupportAnswer.of(await service.query("What slows the uptake of iron?", filters=filters))


@pytest.mark.parametrize("integration", [SupportIntegration, ResearchIntegration])
@pytest.mark.parametrize("share", [1.5, -0.1, float("nan")])
def test_a_least_groundedness_that_is_no_share_is_refused_at_once(
    service: GraphService, integration: Callable[..., object], share: float
) -> None:
    with pytest.raises(InvalidInput) as refused:
        integration(service, min_groundedness=share)
    assert refused.value.field == "min_groundedness"


# ---------------------------------------------------------------- research


async def test_research_gets_an_answer_its_papers_and_the_validation(service: GraphService) -> None:
    research = ResearchIntegration(service, min_groundedness=0.5)
    question = "How much does caffeine slow the uptake of iron in adults?"
    found = await research.query_research(question)
    assert found.answer is not None
    [paper] = found.papers
    assert paper.title == "Caffeine slows the uptake of iron"
    assert paper.authors == ("Ada Kerrin", "Jo Wend")
    assert paper.published_at is not None
    assert paper.published_at.date() == date(2025, 3, 1)
    assert (paper.document_id, paper.doi, paper.url) == ("arxiv-1", "10.1/iron", "https://a/1")
    assert " ".join(paper.quotes) == found.answer
    assert found.validation == (await service.query(question)).validation
    assert paper.score > 0


def test_a_paper_is_named_once_with_all_that_is_quoted_of_it() -> None:
    cited = [("b", "One.", 0.4), ("a", "Two.", 0.9), ("b", "Three.", 0.6)]
    sources = tuple(
        Source(document_id=id_, chunk_id=1, ordinal=0, sentence=0, start=0, end=4, quote=quote, score=score)
        for id_, quote, score in cited
    )
    validation = Validation(groundedness_score=0.9, calibration="test")
    answer = Answer(query="?", answer="…", abstained=False, sources=sources, validation=validation, graph_version=1)
    found = ResearchAnswer.of(answer, {"b": Metadata.model_validate({"doi": ["10.1/b", "10.2/b"]})})
    assert [(paper.document_id, paper.quotes, paper.score, paper.doi) for paper in found.papers] == [
        ("b", ("One.", "Three."), 0.6, "10.1/b"),
        ("a", ("Two.",), 0.9, None),
    ]


async def test_research_wants_a_groundedness_of_four_fifths_unless_it_says_otherwise(service: GraphService) -> None:
    question = "How tall was the glass lighthouse of Ostrava when mice slept?"
    research = ResearchIntegration(service)
    strict = await research.query_research(question)
    assert strict.answer is None
    assert strict.reason is not None
    assert "below the 0.80 asked for" in strict.reason
    assert strict.papers, "the nearest are named"
    looser = await research.query_research(question, min_groundedness=0.0)
    assert "asked for" not in (looser.reason or "")


async def test_a_date_range_leaves_out_other_years_and_what_has_no_date(service: GraphService) -> None:
    research = ResearchIntegration(service, min_groundedness=0)
    for date_range in ({"from": "2024-01-01"}, {"from": date(2024, 1, 1), "to": date(2025, 3, 1)}):
        found = await research.query_research("sleep, tides and caffeine", date_range)
        assert {paper.document_id for paper in found.papers} == {"arxiv-1"}


@pytest.mark.parametrize(
    ("date_range", "field", "reason"),
    [
        ({"from": "2026-01-01", "to": "2025-01-01"}, "date_range", "ends before it begins"),
        ({"from": "soon"}, "date_range.from", "is not an ISO 8601 date"),
        ({"since": "2025-01-01"}, "date_range.since", "takes one `from` and one `to`"),
        ({}, "date_range", "must have `from`, `to` or both"),
        ("2025", "date_range", "must be an object"),
    ],
)
async def test_a_date_range_that_is_none_is_refused_by_field(
    service: GraphService, date_range: Any, field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        await ResearchIntegration(service).query_research("Does caffeine slow iron?", date_range)
    assert refused.value.field == field


# ---------------------------------------------------------------- CMS


class CMS:
    """A CMS as its client lists it; breaks off after `breaks_after` items."""

    def __init__(self, *items: ContentItem | Mapping[str, Any]) -> None:
        self.items = list(items)
        self.breaks_after: int | None = None

    async def list_content(self) -> AsyncIterator[ContentItem | Mapping[str, Any]]:
        for number, item in enumerate(self.items):
            if number == self.breaks_after:
                raise NotReady("the CMS is restarting")
            yield item


def pages(count: int) -> list[ContentItem]:
    return [ContentItem(id=n, title=f"Page {n}", body=f"<p>Text of page {n}.</p>", url=f"/{n}") for n in range(count)]


async def held(service: GraphService) -> set[str]:
    return {document.document_id for document in await service.documents(filters={"source": "cms"}, limit=10_000)}


async def test_a_cms_is_kept_in_step_and_a_second_time_changes_nothing(service: GraphService) -> None:
    cms = CMS(*pages(10))
    sync = CMSIntegration(service)
    first = await sync.sync_cms_content(cms)
    assert (first.processed, first.unchanged, first.deleted, first.rejected) == (10, 0, 0, [])
    stored = await service.document("cms-3")
    assert stored.text == "Text of page 3."
    assert stored.document.metadata.as_json() == {
        "source": "cms",
        "title": "Page 3",
        "url": "/3",
        "content_type": "text/html",
    }
    version = await service.head()
    again = await sync.sync_cms_content(cms)
    assert (again.processed, again.unchanged, again.deleted) == (0, 10, 0)
    assert await service.head() == version


async def test_what_is_gone_or_not_published_any_more_is_deleted_and_edits_are_taken(service: GraphService) -> None:
    cms = CMS(*pages(10))
    sync = CMSIntegration(service)
    await sync.sync_cms_content(cms)
    del cms.items[9]
    cms.items[8] = ContentItem(id="8", body="Draft.", status="draft")
    cms.items[7] = {"id": 7, "body": "# New", "content_type": "text/markdown", "updated_at": "2026-01-01"}
    report = await sync.sync_cms_content(cms)
    assert (report.processed, report.unchanged, report.deleted, report.prune_waits) == (1, 7, 2, None)
    assert await held(service) == {f"cms-{n}" for n in range(8)}


async def test_more_than_a_fifth_gone_waits_until_it_is_confirmed(service: GraphService) -> None:
    cms = CMS(*pages(10))
    sync = CMSIntegration(service)
    await sync.sync_cms_content(cms)
    del cms.items[7:]
    report = await sync.sync_cms_content(cms)
    assert report.deleted == 0
    assert report.prune_waits is not None
    assert "3 of 10 documents are gone" in report.prune_waits
    assert len(await held(service)) == 10
    assert (await sync.sync_cms_content(cms, force=True)).deleted == 3
    assert len(await held(service)) == 7


async def test_a_listing_that_breaks_off_deletes_nothing_and_keeps_what_it_brought(service: GraphService) -> None:
    cms = CMS(*pages(10))
    sync = CMSIntegration(service)
    await sync.sync_cms_content(cms)
    cms.items[0] = ContentItem(id="new", body="New.")
    cms.breaks_after = 5
    with pytest.raises(NotReady, match="restarting"):
        await sync.sync_cms_content(cms, force=True)
    cms.breaks_after = None
    report = await sync.sync_cms_content(cms)
    assert (report.processed, report.unchanged, report.deleted) == (0, 10, 1), "the new one was taken before it broke"


async def test_an_item_that_cannot_be_taken_is_reported_and_its_document_stays(service: GraphService) -> None:
    cms = CMS(*pages(10))
    sync = CMSIntegration(service)
    await sync.sync_cms_content(cms)
    cms.items[4] = {"id": 4, "body": None}
    cms.items[5] = {"id": 5, "body": "Text.", "published_at": "yesterday"}
    cms.items[6] = ContentItem(id="6", body="Text.", title="t" * 1001)
    del cms.items[0]
    report = await sync.sync_cms_content(cms)
    reasons = {result.document_id: result.error.message for result in report.rejected if result.error}
    assert reasons["cms-4"] == "body: must be a string"
    assert "'yesterday' is not an ISO 8601 date" in reasons["cms-5"]
    assert "at most 1000" in reasons["cms-6"]
    assert (report.unchanged, report.deleted) == (6, 1)
    assert await held(service) == {f"cms-{n}" for n in range(1, 10)}


async def test_an_item_without_an_id_could_be_any_so_nothing_is_deleted(service: GraphService) -> None:
    cms = CMS(*pages(10))
    sync = CMSIntegration(service)
    await sync.sync_cms_content(cms)
    cms.items[4] = {"body": "Text."}
    report = await sync.sync_cms_content(cms)
    assert report.deleted == 0
    assert report.prune_waits is not None
    assert "no readable id" in report.prune_waits
    assert len(await held(service)) == 10


async def test_documents_of_others_are_never_deleted(service: GraphService) -> None:
    await service.process_document(document_id="cms-own", content="By hand.", metadata={"source": "cms"})
    await CMSIntegration(service).sync_cms_content(CMS(), force=True)
    await CMSIntegration(service, source="wiki").sync_cms_content(CMS(*pages(2)))
    report = await CMSIntegration(service).sync_cms_content(CMS(*pages(1)), force=True)
    assert report.deleted == 0
    assert await held(service) == {"cms-own", "cms-0"}
    assert (await service.document("wiki-1")).text == "Text of page 1."
