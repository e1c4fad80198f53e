"""Every public error of AI.me Hub, in one tree.

A class says what kind of thing went wrong; its `code` is the stable slug that HTTP problems, CLI output and the
audit trail share; its message is for the reader: what happened, to which document, connector or field, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class AimeError(Exception):
    """The root. `code` is stable across releases, the message is not."""

    code: ClassVar[str] = "internal"

    @property
    def message(self) -> str:
        """The sentence for the reader."""
        return str(self)


class InvalidInput(AimeError):
    """Something handed in does not fit. `field` is a dotted path such as `metadata.published_at`, or empty."""

    code = "invalid_input"

    def __init__(self, reason: str, *, field: str = "") -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}" if field else reason)


class InvalidDocument(InvalidInput):
    """A document that cannot be accepted."""

    code = "invalid_document"

    def __init__(self, reason: str, *, field: str = "", document_id: str | None = None) -> None:
        self.document_id = document_id
        super().__init__(reason, field=field)


class ContentTooLarge(InvalidDocument):
    """Content above the configured cap."""

    code = "content_too_large"


class InvalidQuery(InvalidInput):
    """A question, filter or query option that cannot be answered as asked."""

    code = "invalid_query"


class NotFound(AimeError):
    """A document, entity, delivery, key or connector that is not there, or not visible to whoever asks."""

    code = "not_found"


class VersionUnavailable(AimeError):
    """`as_of_version` or `after` names a version that is not written yet, or (`collected`) that `gc` has dropped."""

    code = "version_unavailable"

    def __init__(self, reason: str, *, collected: bool = False) -> None:
        self.collected = collected
        super().__init__(reason)


class Busy(AimeError):
    """A bounded queue is full, or a wait ran out. Nothing was taken; try again after `retry_after` seconds."""

    code = "busy"

    def __init__(self, reason: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class QueueFull(Busy):
    """The writer's queue, or the journal, has no room."""

    code = "queue_full"


class VersionTimeout(Busy):
    """The index did not reach `min_version` in time."""

    code = "version_timeout"


class StoreError(AimeError):
    """The store cannot do what was asked. Nothing was half-written."""

    code = "store_error"


class StoreLocked(StoreError):
    """Another process has the embedded store open. `holder` names it; `url` is its HTTP address, if it serves one."""

    code = "store_locked"

    def __init__(self, reason: str, *, holder: int | None = None, url: str | None = None) -> None:
        self.holder = holder
        self.url = url
        super().__init__(reason)


class StoreFull(StoreError):
    """No space left on the device. The store takes work again as soon as there is."""

    code = "store_full"


class StoreUnavailable(StoreError):
    """The store cannot be read or written at the moment: read-only, an I/O error, a lost connection."""

    code = "store_unavailable"


class StoreTooNew(StoreError):
    """The store was written by a newer release."""

    code = "store_too_new"


class StoreCorrupt(StoreError):
    """The file is not a store of this application, or is damaged."""

    code = "store_corrupt"


class CommitConflict(StoreError):
    """Another node changed these documents between reading and committing; the writer reads them anew."""

    code = "commit_conflict"

    def __init__(self, document_ids: frozenset[str]) -> None:
        self.document_ids = document_ids
        super().__init__(f"{len(document_ids)} document(s) changed while they were being prepared")


class LeaseLost(StoreError):
    """What was to be written belongs to whoever holds a lease, and that is another node by now. Nothing was written."""

    code = "lease_lost"


class GraphServerError(AimeError):
    """A Gremlin server, Neptune or another, refused or failed a traversal. Sending it again changes nothing."""

    code = "graph_server_error"


class GraphServerUnavailable(GraphServerError):
    """The Gremlin server cannot be reached, does not answer in time, is busy, or answers what is no Gremlin. Upserts
    and deletes by id may be sent again."""

    code = "graph_server_unavailable"


class GraphServerConflict(GraphServerUnavailable):
    """Another transaction changed the same vertices at the same time (`ConcurrentModificationException`)."""

    code = "graph_server_conflict"


class ModelError(AimeError):
    """A language model, or the service that runs it, refused or failed a request. Sending it again changes nothing."""

    code = "model_error"


class ModelAnswerInvalid(ModelError):
    """The model's answer cannot be used: it is empty, garbled, too large, or not what was asked for."""

    code = "model_answer_invalid"


class ModelAccessDenied(ModelError):
    """The model's service refuses our credentials, there are none, or they may not use this model."""

    code = "model_access_denied"


class ModelUnavailable(ModelError):
    """The model's service cannot be reached, fails, or does not answer in time. Worth trying again after `retry_after`
    seconds."""

    code = "model_unavailable"

    def __init__(self, reason: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class ModelThrottled(ModelUnavailable):
    """The model's service asks for fewer requests."""

    code = "model_throttled"


class ModelOverBudget(ModelUnavailable):
    """The configured token budget is used up, so nothing was sent."""

    code = "model_over_budget"


class Unauthorized(AimeError):
    """No API key, or one that is unknown, expired or revoked."""

    code = "unauthorized"


class Forbidden(AimeError):
    """The key does not carry the scope that the call needs, or the target is not allowed."""

    code = "forbidden"


class ConfigError(AimeError):
    """A configuration that cannot be used. `where` is `file:line` when it came from a file."""

    code = "config_error"

    def __init__(self, reason: str, *, where: str = "") -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}" if where else reason)


class ConfigErrors(ConfigError):
    """Everything that is wrong with a configuration, in the order of the file."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in errors))


class PluginError(AimeError):
    """A plugin that does not import, or declares something that does not fit the contract."""

    code = "plugin_error"


class ConnectorError(AimeError):
    """What a connector raises to tell the hub what happened outside. Each kind has one host action."""

    code = "connector_error"


class NotReady(ConnectorError):
    """The outside system does not answer, or not sensibly. The hub retries with backoff."""

    code = "not_ready"

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class RateLimited(NotReady):
    """The outside system asks for a pause. The hub sends nothing to that account for `retry_after` seconds."""

    code = "rate_limited"


class NotSent(NotReady):
    """Nothing went out: the account rests after failures, at the outside system's own request, or at its rate limit.
    It says nothing new about the outside system, so it counts as no attempt."""

    code = "not_sent"


class AuthFailed(ConnectorError):
    """The outside system refuses our credentials. The hub stops the instance and asks the admin."""

    code = "auth_failed"


class PermanentDocumentError(ConnectorError):
    """One document can never be taken. The hub quarantines it and goes on with its neighbours."""

    code = "permanent_document_error"

    def __init__(self, document_id: str, reason: str) -> None:
        self.document_id = document_id
        super().__init__(f"{document_id}: {reason}")


class VerificationFailed(ConnectorError):
    """An inbound request whose signature, timestamp or secret does not verify. The hub answers 401."""

    code = "verification_failed"
