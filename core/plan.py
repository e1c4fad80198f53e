"""What becomes of the changes of one submission, given what is stored."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from core.entities import PackedChunk
from core.model import (
    AccessChanged,
    Change,
    Delete,
    Document,
    Enrich,
    Failure,
    LogEntry,
    Metadata,
    Op,
    Problem,
    ProcessResult,
    Status,
    StoredDocument,
    Upsert,
)
from core.store.base import AuditRecord, ChangeSet, PreparedChange

Drafts = Mapping[str, tuple[PackedChunk, ...] | Exception]
"""What analysis made of each document, by id, or what went wrong with it."""


Refused = Callable[[ProcessResult], ChangeSet]
"""What else the transaction writes for a change that it refuses (its records and audit)."""


@dataclass(eq=False, slots=True)
class Submission:
    """Changes that one transaction takes together, with whatever else must stand or fall with them."""

    changes: Sequence[Change | Enrich]
    origin: str
    actor: str
    also: ChangeSet
    done: asyncio.Future[list[ProcessResult]]
    refused: Refused | None = None
    size: int = field(init=False)
    ids: frozenset[str] = field(init=False)
    after: list[asyncio.Event] = field(default_factory=list)
    """Earlier submissions of the same documents: what is stored of them is known once those have landed."""
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is committed, or has failed."""

    def __post_init__(self) -> None:
        self.size = sum(len(c.document.content) for c in self.changes if isinstance(c, Upsert))
        self.ids = frozenset(c.document_id for c in self.changes if not isinstance(c, Failure))


@dataclass(slots=True)
class Prepared:
    """A submission ready to be committed."""

    submission: Submission
    change_set: ChangeSet
    results: list[ProcessResult]
    committing: list[int]
    """For each result the position of its change in the change set, or -1 where there is nothing to commit."""

    def settled(self, entries: Sequence[LogEntry]) -> list[ProcessResult]:
        """The results with the versions that the commit gave them."""
        return [
            result if at < 0 else _at_version(result, entries[at].version)
            for result, at in zip(self.results, self.committing, strict=True)
        ]


def _at_version(result: ProcessResult, version: int) -> ProcessResult:
    # Made anew: a copy with an update costs pydantic four times as much.
    return ProcessResult(
        document_id=result.document_id,
        status=result.status,
        graph_version=version,
        chunks=result.chunks,
        entities=result.entities,
    )


class Plan:
    """What becomes of each change of one submission, given what is stored. Of several changes of one document in one
    submission the last counts; those before it share its outcome."""

    def __init__(self, submission: Submission, stored: dict[str, StoredDocument]) -> None:
        self._submission = submission
        self._stored = stored
        self._last = {c.document_id: c for c in submission.changes if not isinstance(c, Failure)}
        self._hashes: dict[str, bytes] = {}
        self.to_analyse = [
            c.document for c in self._last.values() if isinstance(c, Upsert) and not self._is_unchanged(c.document)
        ]
        self.to_enrich = [
            stored[id_] for id_, change in self._last.items() if isinstance(change, Enrich) and id_ in stored
        ]

    def _is_unchanged(self, document: Document) -> bool:
        hash_ = content_hash(document.content)
        self._hashes[document.document_id] = hash_
        held = self._stored.get(document.document_id)
        return held is not None and held.content_hash == hash_ and held.metadata == document.metadata

    def finish(self, drafts: Drafts) -> Prepared:
        changes: list[PreparedChange] = []
        audit: list[AuditRecord] = []
        outcomes: dict[int, tuple[ProcessResult, int]] = {}
        results: list[ProcessResult] = []
        committing: list[int] = []
        for original in self._submission.changes:
            counted = original if isinstance(original, Failure) else self._last[original.document_id]
            if id(counted) not in outcomes:
                result, prepared = self._outcome(counted, drafts)
                if prepared is not None:
                    changes.append(prepared)
                elif not isinstance(counted, Enrich):
                    audit.append(self._audit(result))
                outcomes[id(counted)] = (result, -1 if prepared is None else len(changes) - 1)
            result, position = outcomes[id(counted)]
            results.append(result)
            committing.append(position)
        also = self._submission.also
        records = also.records
        for refusal in self._refusals(results):
            records = {**records, **refusal.records}
            audit.extend(refusal.audit)
        change_set = replace(also, changes=tuple(changes), records=records, audit=(*audit, *also.audit))
        return Prepared(self._submission, change_set, results, committing)

    def _refusals(self, results: Sequence[ProcessResult]) -> Iterator[ChangeSet]:
        if self._submission.refused is not None:
            for result in results:
                if result.status is Status.REJECTED:
                    yield self._submission.refused(result)

    def _outcome(self, change: Change | Enrich, drafts: Drafts) -> tuple[ProcessResult, PreparedChange | None]:
        match change:
            case Upsert(document):
                return self._upsert(document, drafts.get(document.document_id))
            case Delete(document_id):
                held = self._stored.get(document_id)
                if held is None:
                    return ProcessResult(document_id=document_id, status=Status.NOT_FOUND), None
                result = ProcessResult(document_id=document_id, status=Status.DELETED)
                return result, self._prepared(Op.DELETE, held, held.metadata, result)
            case AccessChanged(document_id, access):
                return self._access(document_id, access)
            case Enrich(document_id):
                return self._enriched(document_id, drafts.get(document_id))
            case Failure(error, document_id):
                return rejected(document_id, "connector_failure", error), None

    def _upsert(
        self, document: Document, drafts: tuple[PackedChunk, ...] | Exception | None
    ) -> tuple[ProcessResult, PreparedChange | None]:
        id_ = document.document_id
        held = self._stored.get(id_)
        if isinstance(drafts, Exception):
            return rejected(id_, "analysis_failed", f"the document could not be analysed: {drafts}"), None
        if drafts is None:
            return self._unchanged(id_), None
        result = ProcessResult(
            document_id=id_,
            status=Status.PROCESSED,
            chunks=len(drafts),
            entities=len(set(chain.from_iterable([draft.named.ids for draft in drafts]))),
        )
        return result, self._prepared(Op.UPSERT, held, document.metadata, result, self._hashes[id_], drafts)

    def _enriched(
        self, document_id: str, drafts: tuple[PackedChunk, ...] | Exception | None
    ) -> tuple[ProcessResult, PreparedChange | None]:
        held = self._stored.get(document_id)
        if held is None:
            return ProcessResult(document_id=document_id, status=Status.NOT_FOUND), None
        if drafts is None or isinstance(drafts, Exception):
            return self._unchanged(document_id), None
        result = ProcessResult(document_id=document_id, status=Status.PROCESSED, chunks=len(drafts))
        prepared = self._prepared(Op.UPSERT, held, held.metadata, result, held.content_hash, drafts)
        # It is the same document of the same owner, so nobody who is told of documents is told of this.
        audit = replace(prepared.audit, action="document.enriched")
        return result, replace(prepared, origin=held.origin, audit=audit)

    def _access(self, document_id: str, access: tuple[str, ...] | None) -> tuple[ProcessResult, PreparedChange | None]:
        held = self._stored.get(document_id)
        if held is None:
            return ProcessResult(document_id=document_id, status=Status.NOT_FOUND), None
        if held.metadata.access == access:
            return self._unchanged(document_id), None
        result = ProcessResult(document_id=document_id, status=Status.PROCESSED, chunks=len(held.chunk_ids))
        return result, self._prepared(Op.ACCESS, held, held.metadata.model_copy(update={"access": access}), result)

    def _unchanged(self, document_id: str) -> ProcessResult:
        held = self._stored[document_id]
        return ProcessResult(
            document_id=document_id,
            status=Status.UNCHANGED,
            graph_version=held.v_from,
            chunks=len(held.chunk_ids),
        )

    def _prepared(
        self,
        op: Op,
        held: StoredDocument | None,
        metadata: Metadata,
        result: ProcessResult,
        content_hash: bytes = b"",
        chunks: tuple[PackedChunk, ...] = (),
    ) -> PreparedChange:
        return PreparedChange(
            op=op,
            document_id=result.document_id or "",
            expected=held.v_from if held else None,
            origin=self._submission.origin,
            metadata=metadata,
            audit=self._audit(result, metadata.source),
            content_hash=content_hash,
            chunks=chunks,
        )

    def _audit(self, result: ProcessResult, source: str | None = None) -> AuditRecord:
        held = self._stored.get(result.document_id or "")
        detail: dict[str, str | int | None] = {
            "status": result.status.value,
            "source": source or (held.metadata.source if held else None),
            "origin": self._submission.origin,
        }
        if result.status is Status.UNCHANGED:
            detail["graph_version"] = result.graph_version
        if result.error:
            detail |= {"code": result.error.code, "field": result.error.field, "message": result.error.message[:500]}
        return AuditRecord(
            actor=self._submission.actor,
            action=f"document.{result.status.value}",
            subject=result.document_id or "",
            detail=detail,
        )


def rejected(document_id: str | None, code: str, message: str) -> ProcessResult:
    return ProcessResult(document_id=document_id, status=Status.REJECTED, error=Problem(code=code, message=message))


def content_hash(content: str) -> bytes:
    """BLAKE2b-128 of the UTF-8 bytes."""
    return hashlib.blake2b(content.encode(), digest_size=16).digest()
