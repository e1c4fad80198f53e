"""Filters, and the facets of a document that they look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from core.model import Metadata


def facet(key: str, value: JsonValue) -> int:
    """A key and one of its values as 64 bits: equal JSON values, equal facets (1.0 is 1). `hash` is keyed anew in each
    process, and these never leave it."""
    if isinstance(value, str):
        return hash((key, value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # In brackets, so that no other value is a text; and as JSON, in which 1 is not true.
    return hash((key, (json.dumps(value, sort_keys=True),)))


def facets(document_id: str, metadata: Metadata) -> Iterator[int]:
    """All that a filter can ask of a document by equality. Several authors or tags are several facets."""
    yield facet("document_ids", document_id)
    for author in metadata.author:
        yield facet("author", author)
    for tag in metadata.tags:
        yield facet("tags", tag)
    yield facet("content_type", metadata.content_type)
    for key in ("source", "title", "url", "language"):
        if (value := getattr(metadata, key)) is not None:
            yield facet(key, value)
    for key in ("published_at", "updated_at"):
        if (moment := getattr(metadata, key)) is not None:
            yield facet(key, moment.isoformat())
    for key, value in (metadata.__pydantic_extra__ or {}).items():
        # The filter of this name asks for the document's own id.
        if key != "document_ids":
            yield facet(key, value)


def dated(metadata: Metadata) -> datetime | None:
    """The date that a date range looks at: when it was published, else when it was last updated."""
    return metadata.published_at or metadata.updated_at


@dataclass(frozen=True, slots=True)
class Filters:
    """Which documents a question may look at: in each group of facets the document has one, and its date lies in
    `since <= date <= until`. `min_groundedness` is the score below which the answer is withheld."""

    groups: tuple[frozenset[int], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    min_groundedness: float | None = None

    @property
    def dated(self) -> bool:
        return self.since is not None or self.until is not None

    def matches(self, document_id: str, metadata: Metadata) -> bool:
        if self.dated:
            moment = dated(metadata)
            if moment is None or (self.since and moment < self.since) or (self.until and moment > self.until):
                return False
        if not self.groups:
            return True
        held = frozenset(facets(document_id, metadata))
        return all(not group.isdisjoint(held) for group in self.groups)
