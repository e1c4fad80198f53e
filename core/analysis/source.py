"""What analysis reads of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    # They validate what comes from outside, and take longer to import than the rest of analysis together.
    from pydantic import JsonValue

    from core.model import Document


class Source(NamedTuple):
    """A document's content, and what of its metadata names something or shapes its chunks: nothing else does."""

    content: str
    content_type: str = "text/plain"
    title: str | None = None
    author: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str | None = None
    url: str | None = None
    product: JsonValue = None
    doi: JsonValue = None

    @classmethod
    def of(cls, document: Document) -> Self:
        metadata = document.metadata
        further = metadata.__pydantic_extra__ or {}
        return cls(
            document.content,
            metadata.content_type,
            metadata.title,
            metadata.author,
            metadata.tags,
            metadata.language,
            metadata.url,
            further.get("product"),
            further.get("doi"),
        )
