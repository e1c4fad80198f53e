"""How a label becomes an entity, so that two spellings of a name are one, on every node.

An entity is a function of its type and label alone. So nothing has to be looked up to name one, and the store keeps
labels, not a table of entities.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from hashlib import blake2b

from core.entities import Entity, EntityType

MAX_NAME_CHARS = 200


def normalise(name: str) -> str:
    """The key that two spellings share: NFKC, folded case, single spaces, no outer punctuation. May be empty."""
    folded = (name if name.isascii() else unicodedata.normalize("NFKC", name)).casefold()
    if folded[:1].isalnum() and folded[-1:].isalnum():
        return " ".join(folded.split())
    start, end = 0, len(folded)
    while start < end and not folded[start].isalnum():
        start += 1
    while end > start and not folded[end - 1].isalnum():
        end -= 1
    return " ".join(folded[start:end].split())


def entity_id(type_: EntityType, name: str) -> int:
    """63 bits of BLAKE2b over type and normalised name: the same on every node."""
    digest = blake2b(f"{type_}\x1f{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@lru_cache(maxsize=16_384)
def entity(label: str, type_: EntityType = EntityType.NAME) -> Entity | None:
    """The entity that a label names, or None where nothing is left of it. Cached: names recur."""
    label = " ".join(label.split())[:MAX_NAME_CHARS].rstrip()
    name = normalise(label)
    return Entity(entity_id(type_, name), type_, name, label) if name else None
