"""What a text names: entities, where a chunk mentions them, how they relate, and the chunks that carry this to a store.

It is kept apart from the documents themselves (`core.model`), whose validation is costly to import: the processes that
analyse need none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class EntityType(StrEnum):
    NAME = "name"
    """People, places, works, organisations, products: what capitalised spans, titles and authors name."""
    TAG = "tag"
    DOI = "doi"
    URL = "url"


class Entity(NamedTuple):
    """`id` is the first 63 bits of BLAKE2b over type and normalised name, so every node computes the same one."""

    id: int
    type: EntityType
    name: str
    """Normalised: the key that two spellings share."""
    label: str
    """As first written, for people."""


class Mention(NamedTuple):
    """Where a chunk names an entity. Offsets are characters of the chunk; in metadata mentions they are -1."""

    entity: Entity
    sentence: int
    start: int
    end: int
    extractor: str
    confidence: float = 1.0


class Relation(NamedTuple):
    """A typed edge between two entities, supported by a sentence of a chunk (-1: by its document's metadata)."""

    subject: Entity
    predicate: str
    object: Entity
    sentence: int = -1


# Entities, mentions and relations are named tuples: there are a dozen to a chunk, and a frozen dataclass costs four
# times as much to make.


class Naming(NamedTuple):
    """The entities that a chunk names, each once, in the order of their first mention: parallel columns, which cost
    little to hand from one process to another."""

    ids: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    """How often the chunk names each of them."""
    labels: tuple[str, ...] = ()
    """As written at its first mention there."""
    types: tuple[str, ...] = ()
    title: int | None = None
    """The id of the one that is the title of the chunk's document."""


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk as analysis finds it.

    The chunks of a document partition its text: joined in order they give it back exactly. `sentences` are
    (start, end) character offsets within `text`. A draft whose `hash` the document already holds stays as stored,
    and carries no mentions.
    """

    hash: bytes
    text: str
    sentences: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()


class PackedChunk(NamedTuple):
    """A draft as the store takes it: `sentences`, `mentions` and `relations` as they stand in the chunk's row
    (`core.packing`), and which entities it names."""

    hash: bytes
    text: str
    sentences: bytes
    mentions: str
    relations: str
    named: Naming = Naming()
