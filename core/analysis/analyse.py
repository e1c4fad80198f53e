"""A document as chunks, mentions and relations: a pure, picklable function of the document alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from pydantic_core import to_json

from core.analysis.aliases import Alias, aliases, resolved
from core.analysis.chunks import Passage, passages
from core.analysis.names import capitalised_spans, occurrences, title_name
from core.analysis.text import text_of
from core.model import ChunkDraft, Document, Entity, EntityType, Mention, Metadata, Relation
from core.naming import entity

ANALYSER: Final = "aime-analysis-2"
"""Changes whenever the same document would give other chunks, sentences or mentions."""

_MAX_VALUES = 200
"""Of one metadata field; a document with more authors keeps them all, and names these."""


def analyse(document: Document, known: Collection[bytes] = ()) -> tuple[ChunkDraft, ...]:
    """Chunks in text order. One whose hash is in `known` comes without mentions and relations: it stays as stored."""
    text = text_of(document)
    subject, stated = _stated(document.metadata)
    mentions = tuple(Mention(named, -1, -1, -1, extractor) for extractor, named in stated)
    relations = tuple(
        Relation(subject, predicate, named) for predicate, named in stated if subject and predicate != "title"
    )
    title = title_name(document.metadata.title) if document.metadata.title else ""
    context = _context(document.metadata)
    explained = aliases(text, title, document.metadata.author)
    drafts: list[ChunkDraft] = []
    end = 0
    for passage in passages(text):
        end += len(passage.text)
        short = [alias for alias in explained if alias.since < end and alias.short in passage.text]
        key = _with_aliases(context, short) if short else context
        digest = blake2b(passage.text.encode(), digest_size=16, key=key).digest()
        if digest in known:
            drafts.append(ChunkDraft(digest, passage.text, passage.sentences))
            continue
        found = tuple(_found(passage, title, subject))
        further, short_for = resolved(passage.text, passage.sentences, short, found) if short else ((), ())
        drafts.append(
            ChunkDraft(digest, passage.text, passage.sentences, (*mentions, *found, *further), (*relations, *short_for))
        )
    return tuple(drafts)


def _with_aliases(context: bytes, short: Sequence[Alias]) -> bytes:
    """Another place of the document shapes this chunk: what it says of the short forms belongs to the chunk's hash."""
    meanings = [(alias.short, alias.full, alias.kind) for alias in short]
    return blake2b(to_json(meanings), digest_size=32, key=context).digest()


def _context(metadata: Metadata) -> bytes:
    """What shapes a chunk besides its text, hashed: it keys the chunk's own hash."""
    extra = metadata.__pydantic_extra__ or {}
    shaping = [
        ANALYSER,
        metadata.title,
        metadata.author,
        metadata.tags,
        metadata.language,
        metadata.url,
        extra.get("product"),
        extra.get("doi"),
    ]
    return blake2b(to_json(shaping), digest_size=32).digest()


def _stated(metadata: Metadata) -> tuple[Entity | None, list[tuple[str, Entity]]]:
    """The title's entity, and what the metadata names, as (field, entity)."""
    extra = metadata.__pydantic_extra__ or {}
    subject = entity(title_name(metadata.title)) if metadata.title else None
    stated: list[tuple[str, Entity]] = [("title", subject)] if subject else []
    fields: tuple[tuple[str, EntityType, object], ...] = (
        ("author", EntityType.NAME, metadata.author),
        ("product", EntityType.NAME, extra.get("product")),
        ("tag", EntityType.TAG, metadata.tags),
        ("doi", EntityType.DOI, extra.get("doi")),
        ("url", EntityType.URL, metadata.url),
    )
    for field, type_, value in fields:
        if not value:
            continue
        values = value if isinstance(value, (tuple, list)) else (value,)
        labels = (label for label in values[:_MAX_VALUES] if isinstance(label, str))
        stated.extend((field, named) for label in labels if (named := entity(label, type_)))
    return subject, stated


def _found(passage: Passage, title: str, subject: Entity | None) -> Iterator[Mention]:
    """What the passage itself names: capitalised spans, and its document's own title."""
    text, sentences = passage.text, passage.sentences
    spans = set()
    for sentence, start, end in capitalised_spans(text, sentences):
        if named := entity(text[start:end]):
            spans.add((start, end))
            yield Mention(named, sentence, start, end, "span")
    if subject is None:
        return
    sentence = 0
    for start, end in occurrences(title, text):
        while sentence < len(sentences) and sentences[sentence][1] < end:
            sentence += 1
        if sentence == len(sentences):
            return
        if (start, end) not in spans and start >= sentences[sentence][0]:
            yield Mention(subject, sentence, start, end, "title")
