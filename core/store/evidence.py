"""A chunk's mentions and relations as the JSON that stands in its row.

They are read and written with their chunk and never apart from it, and name their entities by label: an entity is a
function of its type and label.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import from_json, to_json

from core.model import Entity, EntityType, Mention, Relation
from core.naming import entity

_TYPES = {type_.value: type_ for type_ in EntityType}
_MOST = (EntityType.NAME.value, 1.0)
"""The type and confidence of most mentions, which need not say so."""


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
