"""What a connector is: declarations and small protocols.

Hooks return declarations; the hub awaits plain methods. A connector implements the protocols that it can, and the hub
sees which. It opens no HTTP session of its own, never sleeps, never retries: it raises what happened, and the hub acts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import structlog
from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork

from core.model import Change, Document, Metadata
from core.views import Answer

API_VERSION = 1

C = TypeVar("C", bound=BaseModel)
"""A connector's checkpoint model."""


# ---------------------------------------------------------------- declarations


@dataclass(frozen=True, slots=True)
class ConnectorSpec:
    """What a plugin declares for one kind of connector.

    `config` validates its `[connectors.NAME]` table (the hub's own keys taken out); `checkpoint` is the model of how
    far a pulling connector has read; `create` makes an instance and does no I/O.
    """

    kind: str
    summary: str
    config: type[BaseModel]
    create: Callable[[Any, Context], Connector]
    checkpoint: type[BaseModel] | None = None
    api_version: int = API_VERSION
    requires: Mapping[str, str] = field(default_factory=dict)
    """Modules that only an extra brings → what `pip install` has to be told. Where one is missing, an instance of this
    kind cannot be used, and says so."""
    feeds: Mapping[str, Callable[[str, Context], Feeds]] = field(default_factory=dict)
    """URL schemes that `aime ingest --to` can feed → what opens such a URL. It does no I/O, and raises ConfigError for
    a URL that it cannot use."""


Event = Literal[
    "document.processed",
    "document.unchanged",
    "document.deleted",
    "document.rejected",
    "query.answered",
    "connector.failed",
    "connector.recovered",
    "endpoint.disabled",
]
"""What an endpoint may ask to be told of."""


class NotifyOptions(BaseModel):
    """The part of a `notify` table that belongs to the hub. A notifying connector's config has a field `notify` whose
    model extends this one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    events: tuple[Event, ...] = ("document.processed", "document.deleted")
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    """Private and loopback networks that the endpoint may be in. Without them such targets are refused."""


# ---------------------------------------------------------------- what the hub hands to a connector


class HttpClient(Protocol):
    """An HTTP client that already honours the account's rate limit, circuit breaker, retries, time and size limits, and
    refuses targets that the instance may not reach.

    `timeout` is the seconds that one exchange may take, its body and its redirects included. An answer longer than
    `max_bytes` (after decompression) is refused, or with `cut` shortened to that. With `raise_for_status` False every
    answer is handed back, whatever its status, and only lost connections are retried. Only GET and HEAD are retried and
    follow redirects. Raises NotReady, RateLimited, NotSent and AuthFailed."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        json: object = None,
        max_bytes: int | None = None,
        cut: bool = False,
        timeout: float | None = None,
        raise_for_status: bool = True,
    ) -> HttpResponse: ...


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer, read whole and within its size limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    """After redirects."""
    retry_after: float | None = None
    """The seconds that a 429 or 503 asks us to wait."""

    def text(self, encoding: str = "utf-8") -> str:
        return self.body.decode(encoding, errors="replace")


@dataclass(frozen=True, slots=True)
class Context:
    """What an instance gets from the hub, and all that it may use."""

    name: str
    """The instance: `NAME` of `[connectors.NAME]`."""
    source: str
    """The `source` that its documents carry unless the connector sets another."""
    http: HttpClient
    log: structlog.stdlib.BoundLogger
    now: Callable[[], datetime]
    run_blocking: Callable[..., Awaitable[Any]]
    """Runs a blocking function in a thread: `await context.run_blocking(function, *args)`."""


@dataclass(frozen=True, slots=True)
class Window:
    """How much one pull may read."""

    until: datetime
    """Leave what is newer for the next pull."""
    overlap: timedelta
    """Read again what changed this long before the checkpoint; duplicates fall to the content hash."""
    page_size: int = 100
    prune_limit: float = 1.0
    """The share of the documents that the source is known to hold which one pull may take for gone. A connector that
    finds out by itself what is gone refuses to go beyond it: half a mount looks like that. 1 when an admin confirms."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[C]):
    """Documents in the source's order, and how far the source is read once they are committed."""

    changes: Sequence[Change]
    checkpoint: C | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a queue. The hub calls exactly one of `ack` (after the commit) and `reject` (something of it could
    not be taken, though the rest is committed).

    With `body`, the message as it came, the hub keeps it in its quarantine instead of rejecting it, if it has room.
    """

    changes: Sequence[Change]
    ack: Callable[[], Awaitable[None]]
    reject: Callable[[str], Awaitable[None]]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """A webhook as it arrived. `body` is the raw bytes that signatures are made over."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    query: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """What `check` found; `detail` is for the admin and names no secret."""

    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """One event for one endpoint. `id` is the same in every attempt, replay and restart."""

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    """The flat JSON object: `type`, `timestamp`, and what the event carries."""
    target: str | None = None
    """A URL, where the notification is an answer to a `callback_url`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one notification. `error` None is delivered. `gone` disables the endpoint; `permanent` ends this
    delivery without another attempt; otherwise it is tried again, not before `retry_after` seconds. `unsent`: nothing
    went out (NotSent), so no attempt is counted."""

    error: str | None = None
    status: int | None = None
    retry_after: float | None = None
    permanent: bool = False
    gone: bool = False
    unsent: bool = False
    response: str = ""


class Ask(BaseModel):
    """What `POST /ask/{connector}` takes: a question in the connector's own form. The hub sees to `callback_url`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    query: Annotated[str, Field(strict=True)]
    callback_url: Annotated[str, Field(strict=True, max_length=2048)] | None = Field(
        None, description="Where the answer is POSTed, signed and retried, instead of being waited for."
    )


# ---------------------------------------------------------------- what a connector can do


class Connector(Protocol):
    """Every instance. `check` is a cheap call outside that proves address and credentials."""

    async def check(self) -> Health: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Pulls(Protocol[C]):
    """Reads a source from where its checkpoint stands, in batches; each checkpoint covers all before it."""

    def pull(self, since: C | None, window: Window) -> AsyncIterator[Batch[C]]: ...


@runtime_checkable
class Consumes(Protocol):
    """Takes messages from a queue until closed."""

    def deliveries(self) -> AsyncIterator[Delivery]: ...


@runtime_checkable
class Receives(Protocol):
    """Turns one inbound webhook into changes. Raises VerificationFailed, or InvalidInput for a body it cannot read."""

    async def receive(self, request: InboundRequest) -> Sequence[Change]: ...


@runtime_checkable
class Lists(Protocol):
    """Names every document that the source holds now, so that the hub can prune what is gone. An incomplete listing
    must raise: whatever ends without an error is believed."""

    def list_ids(self) -> AsyncIterator[str]: ...


@runtime_checkable
class Notifies(Protocol):
    """Sends notifications to one endpoint; one outcome for each, in order. Never raises for a single notification."""

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]: ...


@runtime_checkable
class Batches(Protocol):
    """Beside `notify`: the most notifications that one call may be given. Without it, it is one."""

    batch: int


class Feeds(Protocol):
    """Puts documents into a queue for the hubs that consume it. One outcome for each, in order."""

    batch: int
    """The most documents that one call may be given."""

    async def feed(self, documents: Sequence[Document]) -> Sequence[Outcome]:
        """Returns once the queue has confirmed them. Raises NotReady, AuthFailed when it cannot be reached."""
        ...

    async def aclose(self) -> None: ...


class Core(Protocol):
    """The part of the graph service that a question may use; what it sees is what the asker may see."""

    async def query(self, text: str, *, filters: Mapping[str, Any] | None = None, top_k: int = 5) -> Answer: ...

    async def metadata(
        self, document_ids: Collection[str], *, as_of_version: int | None = None
    ) -> Mapping[str, Metadata]:
        """What is known about documents, by id; those that may not be seen are left out."""
        ...


@runtime_checkable
class Answers(Protocol):
    """Answers `POST /ask/{connector}` in the connector's own form."""

    async def answer(self, ask: Ask, core: Core) -> BaseModel: ...


@runtime_checkable
class HasForm(Protocol):
    """Beside `answer`: the model that an ask has to fit, so that one which does not is refused when it comes in.
    Without it, an ask is anything that has a `query`."""

    asks: type[Ask]
