"""What analysis found in a chunk, as it stands in the chunk's row and travels between processes.

Sentences, mentions and relations are read and written with their chunk and never apart from it. Mentions and relations
are JSON and name their entities by label: an entity is a function of its type and label.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import chain

from pydantic_core import from_json, to_json

from core.entities import ChunkDraft, Entity, EntityType, Mention, Naming, PackedChunk, Relation
from core.naming import entity

_TYPES = {type_.value: type_ for type_ in EntityType}
_MOST = (EntityType.NAME.value, 1.0)
"""The type and confidence of most mentions, which need not say so."""


def packed(draft: ChunkDraft) -> PackedChunk:
    """A draft as the store takes it."""
    return PackedChunk(
        draft.hash,
        draft.text,
        pack_pairs(draft.sentences),
        pack_mentions(draft.mentions),
        pack_relations(draft.relations),
        named(draft.mentions),
    )


def named(mentions: Iterable[Mention]) -> Naming:
    """The entities that these mentions name."""
    first: dict[int, Entity] = {}
    counts: dict[int, int] = {}
    title = None
    for one, sentence, _, _, extractor, _ in mentions:
        id_ = one.id
        if id_ in counts:
            counts[id_] += 1
        else:
            first[id_] = one
            counts[id_] = 1
        if sentence < 0 and extractor == "title":
            title = id_
    labels = tuple([entity.label for entity in first.values()])
    types = tuple([entity.type for entity in first.values()])
    return Naming(tuple(counts), tuple(counts.values()), labels, types, title)


def pack_pairs(pairs: Iterable[tuple[int, int]]) -> bytes:
    return array("I", chain.from_iterable(pairs)).tobytes()


def unpack_pairs(blob: bytes) -> tuple[tuple[int, int], ...]:
    flat = array("I", blob)
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def pack_mentions(mentions: Iterable[Mention]) -> str:
    """`[[label, sentence, start, end, extractor], …]`, with type and confidence after them where they are not those of
    most."""
    return to_json(
        [
            (entity.label, sentence, start, end, extractor)
            if (entity.type, confidence) == _MOST
            else (entity.label, sentence, start, end, extractor, entity.type, confidence)
            for entity, sentence, start, end, extractor, confidence in mentions
        ]
    ).decode()


def unpack_mentions(packed: str) -> tuple[Mention, ...]:
    return tuple(
        [
            Mention(_entity(type_, label), sentence, start, end, extractor, confidence)
            for label, sentence, start, end, extractor, *rest in from_json(packed)
            for type_, confidence in (rest or _MOST,)
        ]
    )


def pack_relations(relations: Iterable[Relation]) -> str:
    """`[[type, label, predicate, type, label, sentence], …]`."""
    return to_json(
        [
            (subject.type, subject.label, predicate, object_.type, object_.label, sentence)
            for subject, predicate, object_, sentence in relations
        ]
    ).decode()


def unpack_relations(packed: str) -> tuple[Relation, ...]:
    return tuple(
        [
            Relation(_entity(of, subject), predicate, _entity(to, object_), sentence)
            for of, subject, predicate, to, object_, sentence in from_json(packed)
        ]
    )


def _entity(type_: str, label: str) -> Entity:
    named = entity(label, _TYPES[type_])
    if named is None:
        raise ValueError(f"{label!r} names nothing")
    return named
