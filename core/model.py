"""The words of the graph, as types. Borders are pydantic models; what travels inside is frozen dataclasses."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from core.entities import Mention, Naming, Relation
from core.errors import ContentTooLarge, InvalidDocument
from core.wording import first_mistake

MAX_ID_BYTES = 512
MAX_TITLE_CHARS = 1_000
MAX_METADATA_BYTES = 256 * 1024
"""Of its JSON: what is longer is content."""
DEFAULT_MAX_CONTENT_BYTES = 32 * 1024 * 1024

ContentType = Literal["text/plain", "text/markdown", "text/html"]


# ---------------------------------------------------------------- documents


def check_text(value: str) -> str:
    """Refuse what no store keeps faithfully: lone surrogates and NUL. Raises ValueError."""
    if "\x00" in value:
        raise ValueError(f"contains NUL at character {value.index(chr(0))}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"contains a lone surrogate at character {error.start}") from None
    return value


def check_id(value: str) -> str:
    """Refuse what is no document id. Raises ValueError."""
    check_text(value)
    if not value.strip():
        raise ValueError("must not be empty")
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"is longer than {MAX_ID_BYTES} bytes")
    for position, char in enumerate(value):
        if unicodedata.category(char) == "Cc":
            raise ValueError(f"contains the control character U+{ord(char):04X} at character {position}")
    return value


def parse_instant(value: object) -> datetime:
    """An ISO 8601 date or date and time as an aware datetime; what names no zone is UTC. Raises ValueError."""
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime.combine(value, time())
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value[:80]!r} is not an ISO 8601 date, such as 2026-03-01T09:30:00Z") from None
    else:
        raise ValueError(f"must be an ISO 8601 date, not {type(value).__name__}")
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value!s:.80} is outside the years 1 to 9999") from None


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _check_json(value: JsonValue, depth: int = 0) -> JsonValue:
    if depth > 32:
        raise ValueError("is nested more than 32 levels deep")
    match value:
        case str():
            check_text(value)
        case bool() | None:
            pass
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError("is an integer outside 64 bits")
        case float():
            if not math.isfinite(value):
                raise ValueError("is not a finite number")
        case list():
            for item in value:
                _check_json(item, depth + 1)
        case dict():
            for key, item in value.items():
                check_text(key)
                _check_json(item, depth + 1)
        case _:
            raise ValueError(f"is not JSON: {type(value).__name__}")
    return value


Text = Annotated[str, BeforeValidator(lambda v: check_text(v) if isinstance(v, str) else v)]
Instant = Annotated[datetime, BeforeValidator(parse_instant)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]


class Metadata(BaseModel):
    """What is known about a document. The named keys have a meaning; any other JSON value is kept and returned."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=False)
    __pydantic_extra__: dict[str, Annotated[JsonValue, BeforeValidator(_check_json)]]

    source: Text | None = None
    title: Annotated[Text, Field(max_length=MAX_TITLE_CHARS)] | None = None
    author: Texts = ()
    published_at: Instant | None = None
    updated_at: Instant | None = None
    url: Text | None = None
    tags: Texts = ()
    language: Text | None = None
    content_type: ContentType = "text/plain"
    access: Texts | None = None
    """The principals who may see it. None is public; an empty tuple is nobody."""

    @model_validator(mode="after")
    def _check_extent(self) -> Self:
        for key in self.__pydantic_extra__:
            check_text(key)
        size = len(self.__pydantic_serializer__.to_json(self, exclude_defaults=True))
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"is {size:,} bytes of JSON; at most {MAX_METADATA_BYTES:,} are taken")
        return self

    def as_json(self) -> dict[str, Any]:
        """The JSON object that the API returns: only what is set; an `author` or `tags` is always a list."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Document(BaseModel):
    """What a connector hands over. `document_id` is unique within the store; connectors prefix theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document_id: Annotated[str, BeforeValidator(lambda v: check_id(v) if isinstance(v, str) else v)]
    content: Annotated[str, BeforeValidator(lambda v: check_text(v) if isinstance(v, str) else v)]
    metadata: Metadata = Field(default_factory=Metadata)

    @classmethod
    def parse(cls, raw: Mapping[str, object], *, max_content_bytes: int = DEFAULT_MAX_CONTENT_BYTES) -> Self:
        """Validate untrusted input.

        Raises:
            ContentTooLarge: content over `max_content_bytes` of UTF-8.
            InvalidDocument: anything else; `field` is the dotted path of the first thing that is wrong.
        """
        name = raw.get("document_id")
        document_id = name[:MAX_ID_BYTES] if isinstance(name, str) else None
        content = raw.get("content")
        # A character is one to four bytes, so most documents need no encoding to be seen to fit.
        if isinstance(content, str) and len(content) * 4 > max_content_bytes:
            size = len(content.encode(errors="surrogatepass"))
            if size > max_content_bytes:
                raise ContentTooLarge(
                    f"is {size:,} bytes; the cap is {max_content_bytes:,} (hub.max_content_bytes)",
                    field="content",
                    document_id=document_id,
                )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            mistake = first_mistake(error)
            raise InvalidDocument(mistake.reason, field=mistake.field, document_id=document_id) from None


# ---------------------------------------------------------------- changes


@dataclass(frozen=True, slots=True)
class Upsert:
    """Add a document, or replace what is stored under its id."""

    document: Document

    @property
    def document_id(self) -> str:
        return self.document.document_id


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document."""

    document_id: str


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """Replace who may see a document, and nothing else."""

    document_id: str
    access: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that the connector could not turn into one; it is recorded, and its neighbours go on."""

    error: str
    document_id: str | None = None


Change = Upsert | Delete | AccessChanged | Failure


@dataclass(frozen=True, slots=True)
class Enrich:
    """Put into a document's chunks what a language model found in them since. It comes from the hub alone: a source
    cannot ask for it."""

    document_id: str


class Status(StrEnum):
    """What became of a change."""

    PROCESSED = "processed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    """In the durable journal, not yet committed (`wait=false`)."""


class Problem(BaseModel):
    """Why something was refused: a stable `code`, the `field` that is wrong (or empty), a sentence."""

    model_config = ConfigDict(frozen=True)

    code: str
    field: str = ""
    message: str


class ProcessResult(BaseModel):
    """The outcome of one change; `graph_version` is the version at which the document stands now."""

    model_config = ConfigDict(frozen=True)

    document_id: str | None
    status: Status
    graph_version: int = 0
    chunks: int = 0
    entities: int = 0
    error: Problem | None = None


# ---------------------------------------------------------------- the graph


class NewChunk(NamedTuple):
    """A chunk in the log, at the version that created it."""

    id: int
    text: str
    named: Naming


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the store hands it out. `id` grows in commit order and is never used again."""

    id: int
    document_id: str
    ordinal: int
    start: int
    """Offset of the chunk within the document's text, in characters."""
    text: str
    sentences: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One version of a document, visible for graph versions `v_from <= v < v_to` (`v_to` None: still)."""

    document_id: str
    v_from: int
    v_to: int | None
    content_hash: bytes
    metadata: Metadata
    origin: str
    """Who brought it: `api`, `cli` or the connector instance's name."""
    chunk_ids: tuple[int, ...]
    """In text order."""
    chunk_starts: tuple[int, ...]
    """Where each of them begins in the document's text, in characters."""


class Op(StrEnum):
    UPSERT = "upsert"
    ACCESS = "access"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One step of the graph version. `document` is the version that it opened, as it was then (None for a delete, or
    once collected); `chunks` are those that it created."""

    version: int
    op: Op
    document_id: str
    at: datetime
    source: str | None
    access: tuple[str, ...] | None
    """Who may see this step: the document's access after it, or the last one before a delete."""
    document: StoredDocument | None = None
    chunks: tuple[NewChunk, ...] = ()


# ---------------------------------------------------------------- readers


@dataclass(frozen=True, slots=True)
class Viewer:
    """On whose behalf the graph is read. `principals` None sees everything (the hub itself, an admin)."""

    principals: frozenset[str] | None = field(default=None)

    def may_see(self, access: tuple[str, ...] | None) -> bool:
        return access is None or self.principals is None or not self.principals.isdisjoint(access)


EVERYONE = Viewer(frozenset())
"""Sees what is public."""
OPERATOR = Viewer(None)
"""Sees everything."""
