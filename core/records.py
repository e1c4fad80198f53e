"""What the service writes into the audit trail, and says of what it refused."""

from __future__ import annotations

from typing import Literal

from core.completion import Usage
from core.errors import InvalidDocument
from core.model import Problem, ProcessResult, Status
from core.store.base import AuditRecord
from core.views import Answer


def rejected(error: InvalidDocument) -> ProcessResult:
    """The result of a document that was refused."""
    problem = Problem(code=error.code, field=error.field, message=error.reason)
    document_id = None if error.document_id is None else printable(error.document_id)
    return ProcessResult(document_id=document_id, status=Status.REJECTED, error=problem)


def rejection(error: InvalidDocument, origin: str, actor: str) -> AuditRecord:
    return AuditRecord(
        actor=actor,
        action="document.rejected",
        subject=printable(error.document_id or ""),
        detail={
            "status": "rejected",
            "origin": origin,
            "code": error.code,
            "field": error.field,
            "message": printable(error.reason[:500]),
        },
    )


def printable(text: str) -> str:
    """Text that any store and any terminal keeps: what is not printable is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def answered(answer: Answer, actor: str) -> AuditRecord:
    composition = answer.composition
    return AuditRecord(
        actor=actor,
        action="query.answered",
        detail={
            "status": "abstained" if answer.abstained else "answered",
            "query": printable(answer.query[:500]),
            "groundedness_score": answer.validation.groundedness_score,
            "document_ids": list(dict.fromkeys(source.document_id for source in answer.sources)),
            "graph_version": answer.graph_version,
            **({} if composition is None else {"composed_by": composition.by, "fallback": composition.fallback}),
        },
    )


def model_used(model_id: str, purpose: Literal["answer", "extraction"], usage: Usage, outcome: str) -> AuditRecord:
    """That a language model was asked, what for, and what that took; never what it was told or said."""
    detail = {"purpose": purpose, "outcome": outcome, **usage._asdict()}
    return AuditRecord(actor="hub", action="model.used", subject=model_id, detail=detail)
