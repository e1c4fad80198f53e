"""The graph service: what everything above the core talks to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar

from core.analysis.languages import ENGLISH, check_language, language_code
from core.analysis.pool import DEFAULT_WORKERS, AnalysisPool
from core.answering.answerer import ModelAnswerer
from core.answering.cache import AnswerCache
from core.answering.compose import extract
from core.answering.evidence import Evidence
from core.answering.filters import parse_filters
from core.enrichment import Enrichment
from core.errors import InvalidDocument, InvalidInput, InvalidQuery, NotFound, VersionUnavailable
from core.explore import Explorer
from core.index import Question, Ranking, Words
from core.masked import MaskedStore
from core.model import (
    DEFAULT_MAX_CONTENT_BYTES,
    OPERATOR,
    AccessChanged,
    Change,
    Delete,
    Document,
    Enrich,
    Failure,
    LogEntry,
    Metadata,
    ProcessResult,
    StoredChunk,
    StoredDocument,
    Upsert,
    Viewer,
    check_id,
)
from core.plan import Refused
from core.reader import Reader
from core.records import answered, model_used, rejected, rejection
from core.store.base import AuditRecord, ChangeSet, Store
from core.store.opening import store_of
from core.views import Answer, EntitySummary, EntityView, Hit, Paths
from core.writer import Writer

NOTHING_ELSE = ChangeSet()
IN_FLIGHT = 256
"""Documents of one `process_documents` call that may be on their way at a time."""
BACKLOG_SECONDS = 30.0
"""How long a question waits for what is committed: the largest document, of five million words, is applied to the index
in about ten on one core."""
COMING_SECONDS = 10.0
"""How long it waits for a `min_version` that is not committed yet."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """`analysis_workers` 0 analyses in a thread; more, in that many processes, started beside the first batch that is
    worth it. `language` is that of documents which name none; another than the last time has the index made anew."""

    max_content_bytes: int = DEFAULT_MAX_CONTENT_BYTES
    analysis_workers: int = DEFAULT_WORKERS
    queue_documents: int = 1024
    language: str = ENGLISH


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document version with its whole text (for HTML: the text that was read out of it)."""

    document: StoredDocument
    text: str


async def create_graph_service(url: str = "sqlite:aime.db", *, options: ServiceOptions | None = None) -> GraphService:
    """Open the store that `url` names and start the service on it.

    Raises:
        InvalidInput: an option does not fit; `field` names it.
        StoreLocked: another process has it open, and it is the embedded one.
        StoreUnavailable: its server cannot be reached.
        StoreError: it cannot be opened, is of a newer release, or not ours.
    """
    options = options or ServiceOptions()
    try:
        check_language(options.language)
    except ValueError as error:
        raise InvalidInput(str(error), field="language") from None
    service = GraphService(store_of(url), options)
    await service.open()
    return service


class GraphService:
    """Documents in, answers out. `origin` says who brings a document (it owns it for pruning), `actor` who is
    responsible, for the audit trail; `viewer` on whose behalf something is read."""

    def __init__(self, store: Store, options: ServiceOptions) -> None:
        self.store = store
        self.options = options
        self._analysis = AnalysisPool(options.analysis_workers)
        self._writer = Writer(store, self._analysis.analyse, queue_documents=options.queue_documents)
        language = language_code(options.language)
        self._reader = Reader(store, self._writer, language, self._has_time)
        self._answers = AnswerCache()
        self._answerer: ModelAnswerer | None = None
        self._explorer = Explorer(store, self._reader)
        self._masked = MaskedStore(store)

    def _has_time(self) -> bool:
        """Whether this process waits for those that analyse."""
        return self._writer.backlogged and self._analysis.saturated

    async def open(self) -> None:
        await self.store.open()
        try:
            await self._writer.start()
            await self._reader.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what was taken, then close."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.close)
            stack.push_async_callback(self._analysis.close)
            stack.push_async_callback(self._reader.close)
            stack.push_async_callback(self._writer.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def answer_with(self, answerer: ModelAnswerer | None) -> None:
        """Have answers worded by a language model, or (None) by none. Whoever made the model closes it."""
        self._answerer = answerer
        self._answers = AnswerCache()

    def enrich_from_store(self) -> None:
        """From now on, put what a language model has found in a text into every new chunk of that text."""
        self._writer.enrichment = Enrichment(self.store)

    def announce(self, url: str, token: str) -> None:
        """Tell commands on this machine where this process answers HTTP."""
        self.store.announce(url, token)

    # -- in

    async def process_document(
        self,
        *,
        document_id: str,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        origin: str = "api",
        actor: str = "api",
    ) -> ProcessResult:
        """Add or replace one document; returns after the durable commit. Raises InvalidDocument."""
        raw = {"document_id": document_id, "content": content, "metadata": metadata or {}}
        try:
            document = self.parse(raw)
        except InvalidDocument as error:
            self._writer.audit_soon(rejection(error, origin, actor))
            raise
        return (await self.submit([Upsert(document)], origin=origin, actor=actor))[0]

    def parse(self, raw: Mapping[str, Any]) -> Document:
        """Validate a document as `process_document` does. Raises InvalidDocument."""
        return Document.parse(raw, max_content_bytes=self.options.max_content_bytes)

    async def process_documents(
        self,
        documents: AsyncIterable[Document | Mapping[str, Any]] | Iterable[Document | Mapping[str, Any]],
        *,
        origin: str = "api",
        actor: str = "api",
    ) -> AsyncIterator[ProcessResult]:
        """Results in the order of the documents, each after its commit; a bad document yields a rejected result. At
        most `IN_FLIGHT` documents are held, so an endless source is fine."""
        pending: deque[asyncio.Future[list[ProcessResult]]] = deque()
        async for item in _each(documents):
            pending.append(await self.take(item, origin, actor))
            while pending and (len(pending) >= IN_FLIGHT or pending[0].done()):
                yield (await pending.popleft())[0]
        while pending:
            yield (await pending.popleft())[0]

    async def take(
        self, item: Document | Mapping[str, Any], origin: str, actor: str
    ) -> asyncio.Future[list[ProcessResult]]:
        """Take one document as soon as there is room; the future has its result once that is durable. Documents are
        committed in the order in which they were taken."""
        try:
            document = item if isinstance(item, Document) else self.parse(item)
        except InvalidDocument as error:
            also = ChangeSet(audit=(rejection(error, origin, actor),))
            await self.write(also)
            done: asyncio.Future[list[ProcessResult]] = asyncio.get_running_loop().create_future()
            done.set_result([rejected(error)])
            return done
        return await self._writer.enqueue([Upsert(document)], origin=origin, actor=actor, also=NOTHING_ELSE)

    async def delete_document(self, document_id: str, *, origin: str = "api", actor: str = "api") -> ProcessResult:
        """Remove a document; status `not_found` if there is none."""
        return (await self.submit([Delete(document_id)], origin=origin, actor=actor))[0]

    async def submit(
        self,
        changes: Sequence[Change],
        *,
        origin: str,
        actor: str,
        also: ChangeSet = NOTHING_ELSE,
        wait: bool = True,
        refused: Refused | None = None,
    ) -> list[ProcessResult]:
        """Commit the changes and `also` in one durable transaction, with what `refused` says of each change that is
        refused; returns after it.

        Raises:
            QueueFull: there is no room and `wait` is false.
            StoreError: nothing was written.
        """
        checked = [_checked(change) for change in changes]
        done = await self._writer.enqueue(checked, origin=origin, actor=actor, also=also, wait=wait, refused=refused)
        return await done

    async def enrich(self, document_ids: Iterable[str]) -> None:
        """Put into these documents' chunks what a language model has found in their texts since. A document that it
        says nothing new of stays at its version. Raises StoreError."""
        for document_id in document_ids:  # a transaction each: one that cannot be written takes no other along
            await (await self._writer.enqueue([Enrich(document_id)], origin="hub", actor="hub", also=NOTHING_ELSE))

    async def write(self, change_set: ChangeSet) -> None:
        """Commit what is no change of the graph: records, journal, deliveries, attempts, audit."""
        await self.submit((), origin="hub", actor="hub", also=change_set)

    def audit_soon(self, record: AuditRecord) -> None:
        """Write a record with the next transaction, in a moment and not awaited. Raises StoreUnavailable when the trail
        cannot be written."""
        self._writer.audit_soon(record)

    # -- out

    async def query(
        self,
        text: str,
        *,
        filters: Mapping[str, Any] | None = None,
        top_k: int = 5,
        min_version: int | None = None,
        as_of_version: int | None = None,
        newest: bool | None = None,
        viewer: Viewer = OPERATOR,
        actor: str = "api",
    ) -> Answer:
        """Answer from what `viewer` may see, with every commit acknowledged before the call. Of equally relevant
        documents the newest come first if `newest` says so, or is None and the question asks for the latest. Asked
        again before the graph changes, a question gets the answer that is kept of it; each answer is in the audit
        trail.

        Raises:
            InvalidQuery: the question, a filter or an option does not fit.
            VersionUnavailable: `as_of_version` was collected, or is not written yet.
            VersionTimeout: the index did not reach `min_version` in time.
        """
        question = _question(text, filters, top_k, as_of_version, viewer, newest)
        await self._reach(question, min_version)
        edition = self._reader.edition
        answer = self._answers.get(edition, question)
        if answer is None:
            answer, lasting = await self._answer(question)
            # Else it may be of a later edition.
            if lasting and edition == self._reader.edition:
                self._answers.put(edition, question, answer)
        self._writer.audit_soon(answered(answer, actor))
        return answer

    async def _answer(self, question: Question) -> tuple[Answer, bool]:
        """The answer, and whether it is the same when it is asked for again."""
        ranking = await self._reader.ask(lambda index: index.search(question))
        chunks, documents = await self.store.passages(
            [ranked.chunk_id for ranked in ranking.chunks], ranking.graph_version
        )

        def with_words(work: Callable[[Words], R]) -> Awaitable[R]:
            return self._reader.ask(lambda index: work(index.words(question.viewer, ranking)))

        evidence, extractive = await with_words(lambda words: _extracted(question, ranking, chunks, documents, words))
        if self._answerer is None or extractive.abstained:
            return extractive, True
        composed = await self._answerer.answer(question, evidence, extractive, with_words)
        self._writer.audit_soon(model_used(self._answerer.model_id, "answer", composed.usage, composed.outcome))
        return composed.answer, composed.lasting

    async def retrieve(
        self,
        text: str,
        *,
        filters: Mapping[str, Any] | None = None,
        top_k: int = 10,
        viewer: Viewer = OPERATOR,
        as_of_version: int | None = None,
        newest: bool | None = None,
    ) -> list[Hit]:
        """The `top_k` best documents for a question, each with its best chunk."""
        question = _question(text, filters, top_k, as_of_version, viewer, newest)
        await self._reach(question, None)
        ranking = await self._reader.ask(lambda index: index.search(question))
        return list(ranking.documents[:top_k])

    async def _reach(self, question: Question, min_version: int | None) -> None:
        """Wait until the index can answer it. Raises VersionUnavailable, VersionTimeout."""
        if max(question.as_of or 0, min_version or 0) > self._writer.head:
            await self._writer.refresh()
        head = self._writer.head
        if question.as_of is not None:
            floor = await self.store.floor()
            if not floor <= question.as_of <= head:
                raise VersionUnavailable(
                    f"as_of_version {question.as_of} cannot be read: the store holds {floor} to {head}",
                    collected=question.as_of < floor,
                )
        await self._reader.reach(head, BACKLOG_SECONDS)
        if min_version is not None and min_version > head:
            await self._reader.reach(min_version, COMING_SECONDS)

    async def document(
        self, document_id: str, *, as_of_version: int | None = None, viewer: Viewer = OPERATOR
    ) -> DocumentView:
        """One document with its text. Raises NotFound, VersionUnavailable."""
        as_of = self._writer.head if as_of_version is None else as_of_version
        found = (await self._masked.documents([document_id], viewer, as_of)).get(document_id)
        if found is None:
            raise NotFound(f"there is no document {document_id!r}")
        chunks = await self.store.chunks(found.chunk_ids, as_of)
        return DocumentView(found, "".join(chunks[id_].text for id_ in found.chunk_ids))

    async def metadata(
        self, document_ids: Collection[str], *, as_of_version: int | None = None, viewer: Viewer = OPERATOR
    ) -> dict[str, Metadata]:
        """What is known about documents, by id; those that `viewer` may not see are left out."""
        as_of = self._writer.head if as_of_version is None else as_of_version
        found = await self._masked.documents(document_ids, viewer, as_of)
        return {id_: document.metadata for id_, document in found.items()}

    async def documents(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        cursor: str = "",
        limit: int = 100,
        viewer: Viewer = OPERATOR,
    ) -> list[StoredDocument]:
        """Documents in the order of their ids, those past `cursor`. Raises InvalidQuery."""
        return await self._masked.matching(parse_filters(filters), viewer, after=cursor, limit=limit)

    async def changes(
        self,
        after: int,
        *,
        limit: int = 100,
        wait: float = 0,
        viewer: Viewer = OPERATOR,
        began: int | None = None,
    ) -> list[LogEntry]:
        """The log past `after`, as far as `viewer` may see it; with `wait`, waits up to that many seconds for an entry.

        Who reads from 0 on names in `began` the floor that stood when it began: what was collected before then it does
        not miss. Raises VersionUnavailable when entries past `after` were collected, or `after` is past the head."""
        if after > self._writer.head:
            await self._writer.refresh()
        if after > self._writer.head:
            raise VersionUnavailable(f"version {after} is not written yet; the head is {self._writer.head}")
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            head = self._writer.head
            if entries := await self._masked.changes(after, viewer, limit=limit, began=began):
                self._writer.learn(entries[-1].version)  # so that it can be asked for what follows them
                return entries
            after = max(after, head)
            left = deadline - asyncio.get_running_loop().time()
            if self._writer.head <= head and (left <= 0 or not await self._writer.committed.wait(left)):
                return []

    async def entities(self, *, text: str = "", limit: int = 50, viewer: Viewer = OPERATOR) -> list[EntitySummary]:
        """Entities whose name begins with or contains `text`, the most mentioned first."""
        await self._reader.reach(self._writer.head, BACKLOG_SECONDS)
        return await self._explorer.entities(text, limit, viewer)

    async def entity(self, entity_id: int, *, viewer: Viewer = OPERATOR) -> EntityView:
        """One entity with its documents, neighbours, mentions and relations. Raises NotFound."""
        await self._reader.reach(self._writer.head, BACKLOG_SECONDS)
        return await self._explorer.entity(entity_id, viewer)

    async def paths(
        self, first: int, last: int, *, max_length: int = 3, limit: int = 10, viewer: Viewer = OPERATOR
    ) -> Paths:
        """The shortest chains of chunks from one entity to another, at most `limit`, each of at most `max_length`
        steps. Raises NotFound, InvalidInput."""
        await self._reader.reach(self._writer.head, BACKLOG_SECONDS)
        return await self._explorer.paths(first, last, max_length, limit, viewer)

    # -- state

    async def head(self) -> int:
        """The graph version, as far as this process has heard."""
        return self._writer.head

    async def refresh(self) -> int:
        """The graph version, as a store that is shared says now. Raises StoreError."""
        await self._writer.refresh()
        return self._writer.head

    async def version_at(self, moment: datetime) -> int:
        """The graph version as it was then."""
        return await self.store.version_at(moment)

    async def ready(self) -> bool:
        """Whether the index has caught up with the log as it was at the start, and documents are taken."""
        return self._reader.ready and not self._writer.stopped

    async def catch_up(self) -> None:
        """Wait until the index has applied all that is committed, however long that takes: questions wait only so long.
        Raises StoreError."""
        await self._reader.catch_up()

    @property
    def index_version(self) -> int:
        """How far the index is."""
        return self._reader.version

    @property
    def queued(self) -> int:
        """Documents taken and not yet committed."""
        return self._writer.queued

    async def wait_for_trail(self, after: int, timeout: float) -> bool:
        """Whether the audit trail has passed `after`, waiting up to `timeout` seconds for it."""
        deadline = asyncio.get_running_loop().time() + timeout
        committed = self._writer.committed
        while True:
            heard = committed.count
            if await self.store.trail(after, 1):
                return True
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or not await committed.wait(left, heard):
                return False

    async def gc(self, before: int) -> int:
        """Drop the history that only versions below `before` see; the number of document versions dropped."""
        dropped = await self.store.gc(before)
        await self._reader.renew()
        return dropped


def _checked(change: Change) -> Change:
    """A change whose id can be none of a document is a failure; an upsert's id was checked with its document."""
    if isinstance(change, Delete | AccessChanged):
        try:
            check_id(change.document_id)
        except ValueError as error:
            return Failure(f"document_id: {error}")
    return change


def _question(
    text: str,
    filters: Mapping[str, Any] | None,
    top_k: int,
    as_of: int | None,
    viewer: Viewer,
    newest: bool | None,
) -> Question:
    if not 1 <= top_k <= 100:
        raise InvalidQuery(f"must be 1 to 100, not {top_k}", field="top_k")
    return Question(text=text, filters=parse_filters(filters), viewer=viewer, as_of=as_of, top_k=top_k, newest=newest)


def _extracted(
    question: Question,
    ranking: Ranking,
    chunks: Mapping[int, StoredChunk],
    documents: Mapping[str, StoredDocument],
    words: Words,
) -> tuple[Evidence, Answer]:
    evidence = Evidence(ranking, chunks, documents)
    return evidence, extract(question, evidence, words)


async def _each(
    documents: AsyncIterable[Document | Mapping[str, Any]] | Iterable[Document | Mapping[str, Any]],
) -> AsyncIterator[Document | Mapping[str, Any]]:
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            yield document
    else:
        for document in documents:
            yield document


__all__ = [
    "DocumentView",
    "GraphService",
    "ServiceOptions",
    "create_graph_service",
    "rejected",
]
