"""What a question names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.analysis.english import STOP_WORDS
from core.analysis.names import entity_id, normalise
from core.index.entities import Entities
from core.model import EntityType

MAX_WORDS = 7
_WORD = re.compile(r"\w+")


def named_in(text: str, entities: Entities) -> Iterator[tuple[int, str]]:
    """The entities whose name stands in the question, as (number, name as written). A name inside a longer one is not
    named, and a stop word alone names nothing."""
    spans = [match.span() for match in _WORD.finditer(text)]
    covered = 0
    seen: set[int] = set()
    for first in range(len(spans)):
        for last in range(min(first + MAX_WORDS, len(spans)) - 1, first - 1, -1):
            if last < covered:
                break
            written = text[spans[first][0] : spans[last][1]]
            name = normalise(written)
            if first == last and (name in STOP_WORDS or len(name) < 2):
                break
            number = entities.find(entity_id(EntityType.NAME, name))
            if number is None:
                number = entities.find(entity_id(EntityType.TAG, name))
            if number is not None:
                covered = last + 1
                if number not in seen:
                    seen.add(number)
                    yield number, written
                break
