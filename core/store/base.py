"""The store protocol.

Every write is a `ChangeSet`, and a group of them is one durable transaction: graph changes, checkpoints, journal
entries, deliveries and audit records either all stand or none does. There is no other way to write. Reads are few and
plain; search lives in `core.index`, which follows the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from pydantic import JsonValue

from core.entities import Mention, PackedChunk, Relation
from core.model import LogEntry, Metadata, Op, StoredChunk, StoredDocument

RecordScope = Literal[
    "checkpoint", "cursor", "connector", "endpoint", "key", "quarantine", "quarantined", "journal_status", "extraction"
]
"""Small named JSON values, each with one owner: what a connector has read, how far a follower came, a connector's
or endpoint's state (paused, disabled), an API key's hash, a document set aside and what is kept of it, the fate of a
journalled one, what a language model found in a text."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what, to what, with what outcome. Never holds a secret, a content or an answer.

    It is written in the transaction of what it tells of, so the trail is also what notifications are made from:
    an event that an endpoint may ask for (`document.processed`, `connector.failed`, …) is a record of that action.
    """

    actor: str
    """The API key's id, the connector instance, `cli` or `hub`."""
    action: str
    """`document.processed|unchanged|deleted|rejected`, `query.answered`, `key.created`, `auth.refused`, …"""
    subject: str = ""
    """The document id, key id, instance or endpoint that it is about."""
    detail: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedChange:
    """A change of the graph, analysed and ready to be written.

    `expected` is the `v_from` of the document version that the preparation was based on (None: there was none); a store
    that finds another raises `CommitConflict` and writes nothing. Chunks are complete and in order. A delete carries
    the metadata of what it removes.
    """

    op: Op
    document_id: str
    expected: int | None
    origin: str
    audit: AuditRecord
    """Written with the change; the store adds the `graph_version` that it got to the detail."""
    content_hash: bytes = b""
    metadata: Metadata = field(default_factory=Metadata)
    chunks: tuple[PackedChunk, ...] = ()


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One (event, endpoint) pair to be sent. `id` is the `webhook-id`: the same in every attempt, replay and restart.
    `subject` is what order is kept for (a document id), or empty. `target` is a URL where the endpoint is no configured
    one (an answer's `callback_url`)."""

    id: str
    endpoint: str
    event: str
    subject: str
    payload: str
    next_attempt_at: datetime
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as stored. `sequence` grows in commit order."""

    sequence: int
    id: str
    endpoint: str
    event: str
    subject: str
    payload: str
    target: str | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a delivery and what follows from it. `error` None means that it was delivered."""

    delivery_id: str
    at: datetime
    duration: float
    """Seconds."""
    state: DeliveryState
    """What the delivery is from now on."""
    next_attempt_at: datetime
    status: int | None = None
    """The HTTP status, if there was an answer."""
    error: str | None = None
    response: str = ""
    """The first bytes of the answer, for the admin."""


@dataclass(frozen=True, slots=True)
class JournalItem:
    """Work that was accepted and is durable, but not done: a document posted with `wait=false`, a question with a
    `callback_url`, to the graph or (`ask`) to a connector. It leaves the journal in the transaction that does it."""

    id: str
    kind: Literal["document", "query", "ask"]
    payload: str
    """JSON."""
    actor: str


@dataclass(frozen=True, slots=True)
class JournalSize:
    """What the journal holds; `bytes` are those of its payloads."""

    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoredAuditRecord:
    sequence: int
    at: datetime
    record: AuditRecord


@dataclass(frozen=True, slots=True, order=True)
class Holding:
    """Who holds a lease, a right that one process has at a time. `number` grows each time it goes to another."""

    name: str
    holder: str
    number: int


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one transaction writes. `records` maps (scope, key) to a JSON text, or to None to remove it. `fences` are
    leases under which it is written: once one of them has gone to another, nothing of it is."""

    changes: tuple[PreparedChange, ...] = ()
    records: Mapping[tuple[RecordScope, str], str | None] = field(default_factory=dict)
    journal: tuple[JournalItem, ...] = ()
    journal_done: tuple[str, ...] = ()
    deliveries: tuple[NewDelivery, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    replays: tuple[str, ...] = ()
    """Ids of deliveries to be sent again: pending, due now, attempts counted from nought."""
    audit: tuple[AuditRecord, ...] = ()
    fences: tuple[Holding, ...] = ()


Fences = Callable[[], tuple[Holding, ...]]
"""What a part of the hub writes under: its leases, or nothing (`tuple`). Raises LeaseLost."""


class Store(Protocol):
    """Durable, transactional, asynchronous; used from one event loop.

    Every method may raise `StoreUnavailable`; `commit` also `StoreFull`. After such an error nothing was written, and
    the next call may succeed.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes may have it open at the same time, and commit."""
        ...

    @property
    def index_folder(self) -> Path | None:
        """Where this process may keep its index of the store, once that is open; None for in memory."""
        ...

    async def open(self) -> None:
        """Open or create, and migrate. Raises StoreLocked, StoreTooNew, StoreCorrupt, StoreUnavailable."""
        ...

    async def close(self) -> None: ...

    def announce(self, url: str, token: str) -> None:
        """Tell other processes on this machine where the holder of the store answers HTTP."""
        ...

    async def others(self, timeout: float) -> bool:
        """Wait until another process commits, or has since the last call; whether one was heard of within `timeout`
        seconds. For one caller. A commit may go unheard: the log is the truth."""
        ...

    async def head(self) -> int:
        """The graph version: the log's last position, 0 for an empty store."""
        ...

    async def floor(self) -> int:
        """The oldest version that can still be read; 0 until `gc` collects. An index made before it rose is rebuilt."""
        ...

    async def now(self) -> datetime:
        """By the clock that versions, deliveries and audit records have their time from."""
        ...

    async def version_at(self, moment: datetime) -> int:
        """The graph version as it was then."""
        ...

    async def commit(self, group: Sequence[ChangeSet]) -> list[list[LogEntry]]:
        """Write the whole group in one fsynced transaction; for each set, the log entries of its changes, as `changes`
        with `content` would read them. A document may occur once in a group. Raises CommitConflict, LeaseLost."""
        ...

    # -- leases

    async def lease(self, names: Collection[str], holder: str, seconds: float) -> dict[str, Holding]:
        """Take those of these leases that nobody holds, and renew those that are `holder`'s, so that nobody else gets
        them for so long, by the store's clock; who holds each of them now. An embedded store has one user, who holds
        what is asked for. Once this has returned, no commit of the holder before is under way."""
        ...

    async def release(self, names: Collection[str], holder: str) -> None:
        """Let others have those of these leases that are `holder`'s."""
        ...

    # -- the graph

    async def documents(self, document_ids: Collection[str], as_of: int | None = None) -> dict[str, StoredDocument]:
        """The visible versions of these documents, by id; what is not visible is left out."""
        ...

    async def scan(
        self, as_of: int | None = None, *, after: str = "", limit: int = 500, origin: str | None = None
    ) -> list[StoredDocument]:
        """Visible documents in the order of their ids, those past `after`."""
        ...

    async def chunk_hashes(self, document_ids: Collection[str]) -> dict[str, frozenset[bytes]]:
        """The hashes of the chunks that these documents hold now."""
        ...

    async def chunks(self, chunk_ids: Collection[int], as_of: int | None = None) -> dict[int, StoredChunk]:
        """Chunks by id, without their mentions. `start` and `ordinal` are those in the document version visible then; a
        chunk that this version does not hold is left out."""
        ...

    async def passages(
        self, chunk_ids: Collection[int], as_of: int | None = None
    ) -> tuple[dict[int, StoredChunk], dict[str, StoredDocument]]:
        """The same chunks, and the visible versions of their documents, by id."""
        ...

    async def evidence(self, chunk_ids: Collection[int]) -> dict[int, tuple[tuple[Mention, ...], tuple[Relation, ...]]]:
        """The mentions and relations of each of these chunks."""
        ...

    async def changes(
        self, after: int, limit: int, *, content: bool = False, began: int | None = None
    ) -> list[LogEntry]:
        """The log past `after`, in order; with `content`, entries carry their document version and new chunks.

        Raises VersionUnavailable when entries between `after` and the floor were collected. A reader that began anew
        at 0 names in `began` the floor that stood then: to it nothing is missing, as long as the floor has not risen.
        """
        ...

    async def gc(self, before: int) -> int:
        """Drop what no version >= `before` sees, and raise the floor to it; the number of document versions dropped."""
        ...

    async def trim_audit(self, before: datetime, upto: int, limit: int) -> int:
        """Of the `limit` oldest audit records, none of them past the sequence `upto`, drop those that were written
        before `before`; how many."""
        ...

    async def trim_deliveries(self, before: datetime, after: int, limit: int) -> int | None:
        """Of the `limit` deliveries past the sequence `after`, drop those that were made before `before` and have
        arrived, with their attempts. The sequence to go on after; None when the later ones were made since."""
        ...

    # -- the small tables

    async def records(self, scope: RecordScope, keys: Collection[str] | None = None) -> dict[str, str]:
        """A scope's records by key: all, or those of these keys that there are."""
        ...

    async def record(self, scope: RecordScope, key: str) -> str | None:
        """One record's JSON text."""
        ...

    async def journal(self, limit: int) -> list[JournalItem]:
        """The oldest items."""
        ...

    async def journal_size(self) -> JournalSize:
        """Without reading the payloads."""
        ...

    async def due(self, now: datetime, limit: int, *, skip: Collection[str] = ()) -> list[Delivery]:
        """Pending deliveries whose time has come, oldest first: of each (endpoint, subject) only the first pending one;
        none of the endpoints in `skip`."""
        ...

    async def next_due(self) -> datetime | None:
        """When the earliest pending delivery is due."""
        ...

    async def deliveries(
        self,
        *,
        endpoint: str | None = None,
        state: DeliveryState | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        """Newest first; `before` is a sequence, for paging."""
        ...

    async def delivery(self, delivery_id: str) -> Delivery | None: ...

    async def has_pending(self, endpoint: str) -> bool:
        """Whether a delivery of this endpoint is pending."""
        ...

    async def undelivered(self) -> dict[tuple[str, DeliveryState], int]:
        """How many deliveries of each endpoint are pending, and how many dead."""
        ...

    async def attempts(self, delivery_id: str) -> list[Attempt]: ...

    async def audit(
        self, *, action: str | None = None, actor: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[StoredAuditRecord]:
        """Newest first; `before` is a sequence, for paging."""
        ...

    async def trail(self, after: int, limit: int, *, actions: Collection[str] | None = None) -> list[StoredAuditRecord]:
        """The audit trail past the sequence `after`, in order, or what it says of these actions: what notifications,
        and other nodes, follow."""
        ...
