"""The content of a CMS, kept in step from a program that has a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from core.model import Change, ContentType, Delete, Failure, Instant, ProcessResult, Status, Texts
from core.ownership import owned, unchanged
from core.store.base import Store
from core.wording import first_mistake

PUBLISHED = frozenset({"publish", "published"})
PRUNE_LIMIT = 0.2


class ContentItem(BaseModel):
    """One page or post as a client hands it over. What is not `published` is not for readers, so it is no document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value), Field(min_length=1)]
    title: str = ""
    body: str
    content_type: ContentType = "text/html"
    url: str | None = None
    author: Texts = ()
    tags: Texts = ()
    language: str | None = None
    published_at: Instant | None = None
    updated_at: Instant | None = None
    status: str = "published"
    access: Texts | None = None
    """The principals who may read it; None is public."""


class ContentClient(Protocol):
    """A CMS, as far as it is needed here."""

    def list_content(self) -> AsyncIterable[ContentItem | Mapping[str, Any]]:
        """Every item that the CMS holds now. A listing that cannot be completed must raise: what it ends without
        naming is taken for gone."""
        ...


class Graph(Protocol):
    """The part of the graph service that a synchronisation uses."""

    @property
    def store(self) -> Store: ...

    def process_documents(
        self, documents: AsyncIterable[Mapping[str, Any]], *, origin: str, actor: str
    ) -> AsyncIterator[ProcessResult]: ...

    async def submit(self, changes: Sequence[Change], *, origin: str, actor: str) -> Sequence[ProcessResult]: ...


@dataclass(slots=True)
class SyncReport:
    """What one synchronisation did; all of it is durable."""

    processed: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: list[ProcessResult] = field(default_factory=list)
    """Items that could not be taken, each with its `error`."""
    prune_waits: str | None = None
    """Why nothing was deleted, though some documents are not listed any more."""

    def count(self, result: ProcessResult) -> None:
        match result.status:
            case Status.PROCESSED:
                self.processed += 1
            case Status.UNCHANGED:
                self.unchanged += 1
            case Status.DELETED:
                self.deleted += 1
            case Status.REJECTED:
                self.rejected.append(result)


class CMSIntegration:
    """`await CMSIntegration(service).sync_cms_content(client)`.

    Documents carry `source`, and are named by it: `cms-42`. They belong to this integration: it never deletes what
    another one brought.
    """

    def __init__(self, graph: Graph, *, source: str = "cms", prune_limit: float = PRUNE_LIMIT) -> None:
        """Raises InvalidInput for a `prune_limit` that is no share."""
        if not 0 <= prune_limit <= 1:
            raise InvalidInput("must be a number from 0 to 1", field="prune_limit")
        self._graph = graph
        self._source = source
        self._prune_limit = prune_limit
        # No connector instance may be called so: a colon is in none of their names.
        self._origin = f"integration:{source}"

    async def sync_cms_content(self, client: ContentClient, *, force: bool = False) -> SyncReport:
        """Bring the graph to what the CMS holds. Doing it again changes nothing.

        What is listed no more, or not published any more, is deleted; more than `prune_limit` of the known documents
        only with `force`. Raises what the client raises; what was read before that is taken, and nothing is deleted.
        """
        report = SyncReport()
        # Before listing: a document that arrives meanwhile is not known here, and so is never taken for gone.
        known = await owned(self._graph.store, self._origin)
        listing = _Listing(client, self._source)
        async for result in self._graph.process_documents(listing.documents(), origin=self._origin, actor=self._origin):
            report.count(result)
        await self._submit(listing.failures, report)
        gone = {id_: version for id_, version in known.items() if id_ not in listing.held}
        report.prune_waits = self._why_not_delete(len(gone), len(known), listing.nameless, force=force)
        if report.prune_waits is None:
            async for same in unchanged(self._graph.store, gone):
                await self._submit([Delete(id_) for id_ in same], report)
        return report

    def _why_not_delete(self, gone: int, known: int, nameless: int, *, force: bool) -> str | None:
        if gone and nameless:
            return (
                f"{nameless} of what is listed has no readable id, and could be any of the {gone} that are not listed"
            )
        if gone > self._prune_limit * known and not force:
            return (
                f"{gone} of {known} documents are gone at the source, more than prune_limit "
                f"({self._prune_limit:.0%}): use force to delete them"
            )
        return None

    async def _submit(self, changes: Sequence[Change], report: SyncReport) -> None:
        if changes:
            for result in await self._graph.submit(changes, origin=self._origin, actor=self._origin):
                report.count(result)


class _Listing:
    """One reading of a client's content, as documents."""

    def __init__(self, client: ContentClient, source: str) -> None:
        self._client = client
        self._source = source
        self.held: set[str] = set()
        """The ids of what is published, whether it could be taken or not."""
        self.failures: list[Failure] = []
        """What is no item."""
        self.nameless = 0
        """How many of those have no id to know them by."""

    async def documents(self) -> AsyncIterator[Mapping[str, Any]]:
        async for raw in self._client.list_content():
            try:
                item = raw if isinstance(raw, ContentItem) else ContentItem.model_validate(raw)
            except ValidationError as error:
                self._refuse(raw, error)
                continue
            if item.status.lower() in PUBLISHED:
                document_id = self._id(item.id)
                self.held.add(document_id)
                metadata = item.model_dump(exclude={"id", "body", "status"}, exclude_defaults=True)
                metadata |= {"source": self._source, "content_type": item.content_type}
                yield {"document_id": document_id, "content": item.body, "metadata": metadata}

    def _id(self, item_id: str) -> str:
        return f"{self._source}-{item_id}"

    def _refuse(self, raw: object, error: ValidationError) -> None:
        mistake = first_mistake(error)
        reason = f"{mistake.field}: {mistake.reason}"
        item_id = raw.get("id") if isinstance(raw, Mapping) else None
        if isinstance(item_id, int | str) and str(item_id).strip():
            self.held.add(self._id(str(item_id)))
            self.failures.append(Failure(reason, self._id(str(item_id))))
        else:
            self.nameless += 1
            self.failures.append(Failure(reason))
