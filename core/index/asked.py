"""What a question names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.analysis.english import STOP_WORDS
from core.entities import EntityType
from core.index.entities import Entities
from core.index.view import View
from core.naming import entity_id, normalise

MAX_WORDS = 7
_WORD = re.compile(r"\w+")


def named_in(text: str, entities: Entities, view: View) -> Iterator[tuple[int, str]]:
    """The visible entities whose name stands in the question, as (number, name as written), longest first.

    A name inside a longer one is not named; one that cannot be seen is as if it were not there, and covers none. Words
    in small letters are mostly words, not names: they count when they are several and a title, or when the whole
    question is written without capitals."""
    spans = [match.span() for match in _WORD.finditer(text)]
    uncased = text[1:] == text[1:].lower()
    covered = 0
    seen: set[int] = set()
    for first in range(len(spans)):
        for last in range(min(first + MAX_WORDS, len(spans)) - 1, max(first, covered) - 1, -1):
            written = text[spans[first][0] : spans[last][1]]
            if last == first and not uncased and written == written.lower():
                break
            number = _find(normalise(written), entities, view)
            if number is None:
                continue
            if uncased or written != written.lower() or (last > first and view.titles[number]):
                covered = last + 1
                if number not in seen:
                    seen.add(number)
                    yield number, written
                break


def _find(name: str, entities: Entities, view: View) -> int | None:
    if len(name) < 2 or name in STOP_WORDS:
        return None
    for type_ in (EntityType.NAME, EntityType.TAG):
        number = entities.find(entity_id(type_, name))
        if number is not None and view.frequency[number]:
            return number
    return None
