"""The one way in: submissions are prepared, grouped and committed, and answered after the commit.

Groups go through a pipeline. What waits, up to a group, is taken as soon as there is room in it; what is stored of
those documents is read and what is new is analysed, while the groups before are; and groups are committed in the order
in which they were taken. What arrives meanwhile makes up the next: groups grow with the load, and no timer delays a
lone document.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from core.enrichment import Drafted, Enrichment
from core.errors import CommitConflict, LeaseLost, QueueFull, StoreError, StoreUnavailable
from core.model import (
    Change,
    Document,
    Enrich,
    LogEntry,
    ProcessResult,
)
from core.plan import Plan, Prepared, Refused, Submission
from core.pulse import Pulse
from core.store.base import AuditRecord, ChangeSet, Store
from core.tail import Tail

GROUP_DOCUMENTS = 64
"""A group is committed once it holds this many changes; one submission is never split."""
GROUPS_AT_ONCE = 3
"""In the pipeline: one is read and planned, one analysed, which may be in another process, and one committed."""
MAX_PENDING_AUDIT = 10_000
AUDIT_SECONDS = 0.05
"""How long audit records may gather, so that what many questions leave in the trail is one commit…"""
AUDIT_RETRY_SECONDS = 1.0
"""…and how long those rest that could not be written."""
POLL_SECONDS = 1.0
"""How often a shared store is asked where its log stands, although no other process was heard to commit."""

log = structlog.stdlib.get_logger(__name__)

Analyse = Callable[[Sequence[tuple[Document, frozenset[bytes]]]], Awaitable[list[Drafted]]]
"""Documents with the chunk hashes already stored → drafts, or what went wrong with that one document."""


class _Group(NamedTuple):
    """Submissions that are prepared together, and the task that does it."""

    submissions: Sequence[Submission]
    preparing: asyncio.Task[list[Prepared]]

    @property
    def size(self) -> int:
        return sum(len(submission.changes) for submission in self.submissions)

    @property
    def prepared(self) -> bool:
        return self.preparing.done() and not self.preparing.cancelled() and self.preparing.exception() is None


class Writer:
    """Owns the queue and the pipeline. `queue_documents` and `queue_chars` bound what may wait."""

    def __init__(
        self, store: Store, analyse: Analyse, *, queue_documents: int = 1024, queue_chars: int = 64 * 1024 * 1024
    ) -> None:
        self._store = store
        self._analyse = analyse
        self._limits = (queue_documents, queue_chars)
        self._waiting: deque[Submission] = deque()
        self._documents = 0
        self._chars = 0
        self._audit: list[AuditRecord] = []
        self._audit_due: asyncio.TimerHandle | None = None
        self._arrived = asyncio.Event()
        self._room = Pulse()
        self._pipeline: deque[_Group] = deque()
        self._slots = asyncio.Semaphore(GROUPS_AT_ONCE)
        self._taken = asyncio.Event()
        """There is something in the pipeline, or there never will be again."""
        self._all_taken = False
        self._in_flight: dict[str, Submission] = {}
        """The last submission of each document that has not landed yet."""
        self._closing = False
        self._failed: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._following: asyncio.Task[None] | None = None
        self.enrichment: Enrichment | None = None
        """Puts into chunks what a language model found in their texts, where one is used for that."""
        self.committed = Pulse()
        """Beats after each commit, of this process or another."""
        self.tail = Tail()
        self.head = 0
        """The graph version as far as this process knows: its own commits at once, those of others a moment later."""

    async def start(self) -> None:
        self.head = await self._store.head()
        self._tasks = [
            asyncio.create_task(self._take_groups(), name="writer: take"),
            asyncio.create_task(self._commit_groups(), name="writer: commit"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._on_end)
        if self._store.shared:
            self._following = asyncio.create_task(self._follow_others(), name="writer: follow other processes")

    async def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    @property
    def stopped(self) -> bool:
        """Whether it takes nothing any more."""
        return self._closing or self._failed is not None

    @property
    def backlogged(self) -> bool:
        """Whether more documents wait than the pipeline holds."""
        return self._documents > GROUPS_AT_ONCE * GROUP_DOCUMENTS

    @property
    def queued(self) -> int:
        """Documents that wait or are being written."""
        return self._documents

    # -- other processes

    async def refresh(self) -> None:
        """Learn what other processes committed until now. Raises StoreError."""
        if self._store.shared:
            self.learn(await self._store.head())

    async def _follow_others(self) -> None:
        while True:
            try:
                if await self._store.others(POLL_SECONDS):
                    # It may have written what is no change of the graph: records, the journal, the audit trail.
                    self.committed.beat()
                await self.refresh()
            except StoreError:
                await asyncio.sleep(POLL_SECONDS)

    def learn(self, head: int) -> None:
        """The log reaches this version: another process wrote it, or this one is about to hear that it did."""
        if head > self.head:
            self.head = head
            self.committed.beat()

    # -- intake

    async def enqueue(
        self,
        changes: Sequence[Change | Enrich],
        *,
        origin: str,
        actor: str,
        also: ChangeSet,
        wait: bool = True,
        refused: Refused | None = None,
    ) -> asyncio.Future[list[ProcessResult]]:
        """Take a submission once there is room; the future is done when it is committed.

        Raises QueueFull when there is no room and `wait` is false, StoreUnavailable when the writer is closed.
        """
        submission = Submission(changes, origin, actor, also, asyncio.get_running_loop().create_future(), refused)
        while not self._has_room(submission):
            if not wait:
                raise QueueFull("the writer's queue is full", retry_after=1.0)
            await self._room.wait(None)
        self._check_open()
        self._waiting.append(submission)
        self._documents += len(changes)
        self._chars += submission.size
        self._arrived.set()
        return submission.done

    def audit_soon(self, record: AuditRecord) -> None:
        """Write a record with the next transaction, which this brings about within `AUDIT_SECONDS`. Raises
        StoreUnavailable when records have piled up because the store takes none: what cannot be audited is not done."""
        self._check_open()
        if len(self._audit) >= MAX_PENDING_AUDIT:
            raise StoreUnavailable("the audit trail cannot be written")
        self._audit.append(record)
        self._write_audit_in(AUDIT_SECONDS)

    def _write_audit_in(self, seconds: float) -> None:
        if self._audit and self._audit_due is None:
            self._audit_due = asyncio.get_running_loop().call_later(seconds, self._write_audit)

    def _write_audit(self) -> None:
        self._audit_due = None
        self._arrived.set()

    def _check_open(self) -> None:
        if self._closing or self._failed:
            raise StoreUnavailable("the store is closing") from self._failed

    def _has_room(self, submission: Submission) -> bool:
        if not self._documents or self._closing or self._failed:
            return True
        documents, chars = self._limits
        return self._documents + len(submission.changes) <= documents and self._chars + submission.size <= chars

    def _release(self, submission: Submission) -> None:
        self._documents -= len(submission.changes)
        self._chars -= submission.size
        self._room.beat()

    # -- the pipeline

    async def _take_groups(self) -> None:
        while True:
            await self._arrived.wait()
            await self._slots.acquire()
            group = self._take_group()
            if not self._waiting:
                self._arrived.clear()
            if group or self._audit:
                preparing = asyncio.create_task(self._prepare(group), name="writer: prepare a group")
                self._pipeline.append(_Group(group, preparing))
                self._taken.set()
            else:
                self._slots.release()
            if self._closing and not self._waiting:
                self._all_taken = True
                self._taken.set()
                return

    def _take_group(self) -> list[Submission]:
        group: list[Submission] = []
        taken: set[str] = set()
        size = 0
        while self._waiting and size < GROUP_DOCUMENTS:
            if not taken.isdisjoint(self._waiting[0].ids):
                break
            submission = self._waiting.popleft()
            for document_id in submission.ids:
                if earlier := self._in_flight.get(document_id):
                    submission.after.append(earlier.landed)
                self._in_flight[document_id] = submission
            group.append(submission)
            taken |= submission.ids
            size += len(submission.changes)
        return group

    async def _commit_groups(self) -> None:
        while await self._taken.wait() and self._pipeline:
            # Waiting for what is done would let all who were just answered go first, while nothing is being written.
            if not self._pipeline[0].preparing.done():
                await asyncio.wait([self._pipeline[0].preparing])
            groups = self._next_groups()
            await self._finish([submission for group in groups for submission in group.submissions], _joined(groups))
            for _ in groups:
                self._slots.release()

    def _next_groups(self) -> list[_Group]:
        """The first in the pipeline, and with it those that are prepared by now, too: one transaction costs less than
        two. One whose preparation failed comes alone."""
        groups = [self._pipeline.popleft()]
        size = groups[0].size
        while groups[0].prepared and self._pipeline and self._pipeline[0].prepared:
            size += self._pipeline[0].size
            if size > GROUP_DOCUMENTS:
                break
            groups.append(self._pipeline.popleft())
        if not self._pipeline and not self._all_taken:
            self._taken.clear()
        return groups

    async def _finish(self, group: Sequence[Submission], preparing: Awaitable[list[Prepared]]) -> None:
        """Commit a group once it is prepared. What breaks it is looked for one submission at a time, so that it takes
        no other along."""
        try:
            await self._commit(await preparing)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the others; `_fail` logs it
            of_one = isinstance(error, LeaseLost) or not isinstance(error, StoreError)
            if of_one and len(group) > 1:
                for submission in group:
                    await self._finish([submission], self._prepare([submission]))
            else:
                self._fail(group, error)
        except BaseException as error:
            self._fail(group, error)
            raise

    async def _commit(self, prepared: list[Prepared]) -> None:
        while True:
            audit, self._audit = self._audit, []
            group = [item.change_set for item in prepared]
            if audit:
                group.append(ChangeSet(audit=tuple(audit)))
            if not group:
                return
            try:
                entries = await self._store.commit(group)
            except CommitConflict:
                self._audit[:0] = audit
                prepared = await self._prepare([item.submission for item in prepared])
                continue
            except BaseException:
                self._audit[:0] = audit
                self._write_audit_in(AUDIT_RETRY_SECONDS)
                raise
            break
        written = [entry for run in entries for entry in run]
        if written:
            self.head = max(self.head, written[-1].version)
            self.tail.extend(written)
        for item, run in zip(prepared, entries, strict=False):
            self._settle(item, run)
        self.committed.beat()

    def _settle(self, item: Prepared, entries: Sequence[LogEntry]) -> None:
        self._land(item.submission)
        if not item.submission.done.done():
            item.submission.done.set_result(item.settled(entries))

    def _fail(self, group: Sequence[Submission], error: BaseException) -> None:
        """Nothing of the group is written. Whoever submitted learns why, and may submit again."""
        if isinstance(error, StoreError):
            log.warning("commit failed", error=str(error), submissions=len(group))
            reason = error
        elif isinstance(error, Exception):
            log.error("a submission could not be written", exc_info=error)
            reason = StoreError(f"the change could not be written: {type(error).__name__}; the log says more")
        else:
            reason = StoreUnavailable("the writer stopped")
        for submission in group:
            self._land(submission)
            if not submission.done.done():
                submission.done.set_exception(reason)

    def _land(self, submission: Submission) -> None:
        submission.landed.set()
        for document_id in submission.ids:
            if self._in_flight.get(document_id) is submission:
                del self._in_flight[document_id]
        self._release(submission)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """A pipeline task ends only after `close`. If one breaks, nobody must wait for it in vain."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        log.critical("the writer stopped", error=repr(error), exc_info=error)
        self._failed = error
        for group in self._pipeline:
            group.preparing.cancel()
            self._fail(group.submissions, error)
        self._pipeline.clear()
        waiting, self._waiting = list(self._waiting), deque()
        self._fail(waiting, error)
        for other in self._tasks:
            other.cancel()

    # -- preparing

    async def _prepare(self, group: Sequence[Submission]) -> list[Prepared]:
        for submission in group:
            for landed in submission.after:
                await landed.wait()
        ids = {document_id for submission in group for document_id in submission.ids}
        stored = await self._store.documents(ids) if ids else {}
        plans = [Plan(submission, stored) for submission in group]
        changed = [document for plan in plans for document in plan.to_analyse]
        rewritten = [document.document_id for document in changed if document.document_id in stored]
        known = await self._store.chunk_hashes(rewritten) if rewritten else {}
        drafts: dict[str, Drafted] = {}
        if changed:
            analysed = await self._analyse([(d, known.get(d.document_id, frozenset())) for d in changed])
            drafts = {d.document_id: result for d, result in zip(changed, analysed, strict=True)}
        if self.enrichment is not None:
            drafts = await self.enrichment.of_drafts(drafts, known)
            drafts |= await self.enrichment.of_stored([held for plan in plans for held in plan.to_enrich])
        return [plan.finish(drafts) for plan in plans]


async def _joined(groups: Sequence[_Group]) -> list[Prepared]:
    return [item for group in groups for item in await group.preparing]
