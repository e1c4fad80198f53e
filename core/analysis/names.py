"""Names: how two spellings become one entity, and where a text names something."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from core.analysis.english import JOINING_WORDS, STOP_WORDS
from core.model import Entity, EntityType

MAX_NAME_CHARS = 200

_BRACKETED_SUFFIX = re.compile(r" ?[(\[][^()\[\]]*[)\]]\Z")
_YEAR = re.compile(r"[12]\d{3}\Z")


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


def title_name(title: str) -> str:
    """A title without its bracketed suffix: "Mercury (planet)" names "Mercury"."""
    name = " ".join(title.split())
    if name[-1:] not in (")", "]"):
        return name
    return _BRACKETED_SUFFIX.sub("", name) or name


def entity_id(type_: EntityType, name: str) -> int:
    """63 bits of BLAKE2b over type and normalised name: the same on every node."""
    digest = blake2b(f"{type_}\x1f{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@lru_cache(maxsize=16_384)
def entity(label: str, type_: EntityType = EntityType.NAME) -> Entity | None:
    """The entity that a label names, or None where nothing is left of it. Cached: names recur."""
    label = " ".join(label.split())[:MAX_NAME_CHARS]
    name = normalise(label)
    if not name:
        return None
    return Entity(entity_id(type_, name), type_, name, label)


def _uppercase_class() -> str:
    """Upper- and title-case letters of the basic plane, as a character class's inside: `re` knows no \\p{Lu}."""
    ranges: list[str] = []
    start = previous = -2
    for point in range(0x10000):
        if unicodedata.category(chr(point)) in {"Lu", "Lt"}:
            if point != previous + 1:
                start = point
                ranges.append("")
            previous = point
            ranges[-1] = f"{chr(start)}-{chr(point)}"
    return "".join(ranges)


_UPPER = _uppercase_class()
_WORD = rf"(?:[{_UPPER}]\.(?=[ ]?[{_UPPER}])|[{_UPPER}]\w*+(?:[\u2019'&.-](?=\w)\w++)*+)"
_JOIN = rf"(?:(?:{'|'.join(JOINING_WORDS)})\b[ ]){{1,2}}"
_SPAN = re.compile(rf"(?<!\w){_WORD}(?:[ ]?(?<=[. ])(?:{_JOIN})?{_WORD}){{0,7}}+")


def capitalised_spans(text: str, sentences: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Runs of capitalised words as (sentence, start, end), at most eight words each.

    A stop word that is capital only because it opens a sentence is left off; four-digit years and lone stop words are
    no names. Spans do not reach over a sentence's end.
    """
    for index, (first, last) in enumerate(sentences):
        for match in _SPAN.finditer(text, first, last):
            start, end = match.span()
            if start == first:
                start = _without_opening(text, start, end)
            if text.startswith(("'s", "\u2019s"), end - 2):
                end -= 2
            span = text[start:end]
            if len(span) > 1 and not _YEAR.match(span) and not _is_stop_word(span):
                yield index, start, end


def _is_stop_word(span: str) -> bool:
    """Whether it is one stop word, or the likes of "I'm" and "It's"."""
    return " " not in span and span.partition("'")[0].partition("\u2019")[0].lower() in STOP_WORDS


def _without_opening(text: str, start: int, end: int) -> int:
    """Where the name starts once the stop words that open the sentence are off."""
    while start < end:
        space = text.find(" ", start, end)
        stop = space if space >= 0 else end
        if text[start:stop].lower() not in STOP_WORDS:
            return start
        start = stop + 1
    return end


def occurrences(name: str, text: str) -> Iterator[tuple[int, int]]:
    """Where `name` stands in `text` as whole words, whatever its case."""
    folded, sought = text.lower(), name.lower()
    if len(folded) != len(text):  # a letter whose lower case is two; offsets would drift
        folded, sought = text, name
    start = folded.find(sought) if sought else -1
    while start >= 0:
        end = start + len(sought)
        if not (folded[start - 1 : start].isalnum() or folded[end : end + 1].isalnum()):
            yield start, end
        start = folded.find(sought, end)
