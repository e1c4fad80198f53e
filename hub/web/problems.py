"""The one place where an error becomes an answer: RFC 9457 problem JSON.

The class of the error decides the status; its `code` is the stable slug, its message the `detail`. Nothing that a
caller sends may end up as `internal` (500): that is for defects of the hub, and the log has their traceback.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from core import errors
from hub.telemetry import redact_text

MEDIA_TYPE = "application/problem+json"


class Malformed(errors.InvalidInput):
    """A body that cannot even be read: no JSON, not UTF-8, a broken compression or framing."""

    code = "malformed_body"


class BodyTooLarge(errors.InvalidInput):
    """A body above what any acceptable content needs."""

    code = "body_too_large"


class UnsupportedMediaType(errors.InvalidInput):
    """A Content-Type or Content-Encoding that the call does not take."""

    code = "unsupported_media_type"


class SlowBody(errors.AimeError):
    """The caller stopped sending in the middle of a body."""

    code = "slow_body"


class MethodNotAllowed(errors.AimeError):
    """The path exists, the method does not."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: frozenset[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"{method} is not possible here; {self.allowed} is")


class ProblemDetails(BaseModel):
    """RFC 9457 problem details. `code` is stable, `detail` is for people, `field` a dotted path into what was sent."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Where the problem is explained, relative to this server.")
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    document_id: str | None = None
    instance: str = Field(description="The request that it happened to; the X-Request-Id header has the same id.")


@dataclass(frozen=True, slots=True)
class Kind:
    """How a class of errors is answered."""

    status: int
    title: str


KINDS: dict[type[errors.AimeError], Kind] = {
    Malformed: Kind(400, "The body cannot be read"),
    errors.Unauthorized: Kind(401, "An API key is needed"),
    errors.VerificationFailed: Kind(401, "The request does not verify"),
    errors.Forbidden: Kind(403, "Not allowed"),
    errors.NotFound: Kind(404, "Not found"),
    MethodNotAllowed: Kind(405, "Method not allowed"),
    SlowBody: Kind(408, "The body did not arrive"),
    errors.ConfigError: Kind(409, "Not possible as configured"),
    BodyTooLarge: Kind(413, "The body is too large"),
    errors.ContentTooLarge: Kind(413, "The content is too large"),
    UnsupportedMediaType: Kind(415, "Not a media type that this call takes"),
    errors.InvalidInput: Kind(422, "Invalid input"),
    errors.InvalidDocument: Kind(422, "Invalid document"),
    errors.InvalidQuery: Kind(422, "Invalid query"),
    errors.PermanentDocumentError: Kind(422, "A document that can never be taken"),
    errors.VersionUnavailable: Kind(422, "No such version"),
    errors.QueueFull: Kind(429, "The queue is full"),
    errors.ConnectorError: Kind(502, "The outside system does not work with us"),
    errors.AuthFailed: Kind(502, "The outside system refuses our credentials"),
    errors.GraphServerError: Kind(502, "The graph server refuses"),
    errors.ModelError: Kind(502, "The language model refuses"),
    errors.Busy: Kind(503, "Busy"),
    errors.VersionTimeout: Kind(503, "The version is not there yet"),
    errors.NotReady: Kind(503, "The outside system does not answer"),
    errors.RateLimited: Kind(503, "The outside system asks for a pause"),
    errors.GraphServerUnavailable: Kind(503, "The graph server does not answer"),
    errors.GraphServerConflict: Kind(503, "The graph server is busy with the same vertices"),
    errors.ModelUnavailable: Kind(503, "The language model does not answer"),
    errors.PluginError: Kind(503, "The connector's plugin does not work"),
    errors.StoreError: Kind(503, "The store is not available"),
    errors.StoreFull: Kind(507, "No space left"),
    errors.AimeError: Kind(500, "Internal error"),
}
COLLECTED = Kind(410, "A version that was collected")
INTERNAL = KINDS[errors.AimeError]

# Seconds that a caller is asked to wait where the error itself does not say.
RETRY_AFTER = {429: 1.0, 503: 2.0, 507: 10.0}


def kind_of(error: errors.AimeError) -> Kind:
    """How this error is answered: the nearest class of its ancestry that has a status."""
    if isinstance(error, errors.VersionUnavailable) and error.collected:
        return COLLECTED
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def details(error: Exception, request_id: str) -> ProblemDetails:
    """The problem that `error` is; what is no `AimeError` says nothing about the hub's insides."""
    kind = kind_of(error) if isinstance(error, errors.AimeError) else INTERNAL
    if not isinstance(error, errors.AimeError) or kind is INTERNAL:
        detail, code = "The hub made a mistake. Its log has it under this request id.", errors.AimeError.code
    else:
        reason = error.reason if isinstance(error, errors.InvalidInput) else error.message
        detail, code = redact_text(reason), error.code
    field = error.field if isinstance(error, errors.InvalidInput) else ""
    return ProblemDetails(
        type=f"/docs#problem-{code}",
        title=kind.title,
        status=kind.status,
        detail=printable(detail, 2000),
        code=code,
        field=printable(field, 500) or None,
        document_id=printable(error.document_id, 512) if isinstance(error, errors.InvalidDocument) else None,
        instance=f"urn:aime:request:{request_id}",
    )


def respond(error: Exception, request_id: str) -> web.Response:
    """The answer to a call that failed with `error`."""
    problem = details(error, request_id)
    response = web.Response(
        status=problem.status, body=problem.model_dump_json(exclude_none=True).encode(), content_type=MEDIA_TYPE
    )
    response.headers["Cache-Control"] = "no-store"
    wait = getattr(error, "retry_after", None) or RETRY_AFTER.get(problem.status)
    if problem.status in RETRY_AFTER and wait is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    if isinstance(error, errors.VerificationFailed):
        response.headers["WWW-Authenticate"] = 'Signature realm="webhook"'
    elif isinstance(error, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="aime"'
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allowed
    return response


T = TypeVar("T", str, str | None)


def printable(text: T, limit: int) -> T:
    """The text as UTF-8 can carry it: lone surrogates written out as escapes, cut at `limit` characters."""
    if text is None:
        return None
    return text[:limit].encode(errors="backslashreplace").decode()
