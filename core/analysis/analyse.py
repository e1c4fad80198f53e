"""A document as chunks, mentions and relations: a pure function of what stands in `Source`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from pydantic_core import to_json

from core.analysis.aliases import Alias, aliases, resolved
from core.analysis.chunks import Passage, passages
from core.analysis.names import capitalised_spans, occurrences, title_name
from core.analysis.source import Source
from core.analysis.text import text_of
from core.entities import ChunkDraft, Entity, EntityType, Mention, Relation
from core.naming import entity

ANALYSER: Final = "aime-analysis-2"
"""Changes whenever the same document would give other chunks, sentences or mentions."""

_MAX_VALUES = 200
"""Of one metadata field; a document with more authors keeps them all, and names these."""


def analyse(source: Source, known: Collection[bytes] = ()) -> tuple[ChunkDraft, ...]:
    """Chunks in text order. One whose hash is in `known` comes without mentions and relations: it stays as stored."""
    text = text_of(source)
    subject, stated = _stated(source)
    mentions = tuple(Mention(named, -1, -1, -1, extractor) for extractor, named in stated)
    relations = tuple(
        Relation(subject, predicate, named) for predicate, named in stated if subject and predicate != "title"
    )
    title = title_name(source.title) if source.title else ""
    context = _context(source)
    explained = aliases(text, title, source.author)
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


def _context(source: Source) -> bytes:
    """What shapes a chunk besides its text, hashed: it keys the chunk's own hash."""
    shaping = [
        ANALYSER,
        source.title,
        source.author,
        source.tags,
        source.language,
        source.url,
        source.product,
        source.doi,
    ]
    return blake2b(to_json(shaping), digest_size=32).digest()


def _stated(source: Source) -> tuple[Entity | None, list[tuple[str, Entity]]]:
    """The title's entity, and what the metadata names, as (field, entity)."""
    subject = entity(title_name(source.title)) if source.title else None
    stated: list[tuple[str, Entity]] = [("title", subject)] if subject else []
    fields: tuple[tuple[str, EntityType, object], ...] = (
        ("author", EntityType.NAME, source.author),
        ("product", EntityType.NAME, source.product),
        ("tag", EntityType.TAG, source.tags),
        ("doi", EntityType.DOI, source.doi),
        ("url", EntityType.URL, source.url),
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
