"""A chunk read for sentences: what each is, its stems, and the heading that it stands under.

Much of what companies write is manuals and help pages. There the heading says what is spoken of, and the sentences
under it answer without repeating it, so a sentence is judged together with its heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import cache, lru_cache
from itertools import chain
from typing import NamedTuple

from core.analysis.stems import stems
from core.model import StoredChunk

_KEPT_CHUNKS = 1_024
_KEPT_WORDS = 50_000
_PARTED = "".join(character if character.isalnum() else " " for character in map(chr, range(128)))
_HEADING_CHARS = 80
_LAYOUT = re.compile(r"\||```|~~~|>>> |\.\. |[-=+*_~^#\"']{3,}\Z|[-=+*_~^]{4}|\S+ +::=")
"""What begins a row of a table, a fence, a prompt, a directive, a rule or a grammar: layout, where prose is wanted."""
_ROW = re.compile(r"\|[^|\n]*[^\s|][^|\n]*\|\s*[^\s|]")
"""A row of a table with a first cell and another one."""
_RULE = re.compile(r"\|[\s|:-]*-[\s|:-]*\Z")
"""What stands under the head of a table."""
_EDGES = "| \t"
_FENCE = ("```", "~~~")
_BRACES = ("{", "}")
_ITEM = re.compile(r"[-*+\u2022]\s|\d{1,3}[.)]\s")
_ENDS_PROSE = (".", "!", ":", ";", ",", "\u3002", "\uff01", "\uff0c")
_ASKS = ("?", "\uff1f", "\u061f")


class Kind(Enum):
    PROSE = auto()
    HEADING = auto()
    QUESTION = auto()
    ROW = auto()
    """Of a table: it says something of what its first cell names."""
    LAYOUT = auto()
    CODE = auto()


SAYING = frozenset({Kind.PROSE, Kind.ROW})
"""What states something."""
UNSPOKEN = frozenset({Kind.LAYOUT, Kind.CODE})
"""What is no language."""


class Line(NamedTuple):
    """A sentence of a chunk, whatever is asked."""

    number: int
    start: int
    """Where the quotation begins in the chunk."""
    quote: str
    kind: Kind
    own: frozenset[str]
    """Its stems."""
    heading: frozenset[str] | None
    """The stems of the heading that it stands under in the chunk, or of the first cell of its row; None before any."""
    leads: bool
    """It is the first under its heading."""


class Text(NamedTuple):
    lines: tuple[Line, ...]
    held: frozenset[str]
    """The stems of all of them."""


class _Stems(dict[str, tuple[str, ...]]):
    """The stems of words, each stemmed once: a store has far more sentences than words."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def __missing__(self, word: str) -> tuple[str, ...]:
        if len(self) >= _KEPT_WORDS:
            self.clear()
        found = self[word] = tuple(stems(word, self._language))
        return found

    def of(self, text: str) -> frozenset[str]:
        """The stems of a text. Only where it is ASCII do Python and the analyzer agree on what is a word."""
        if not text.isascii():
            return frozenset(stems(text, self._language))
        return frozenset(chain.from_iterable(map(self.__getitem__, text.translate(_PARTED).split())))


@cache
def _stems(language: str) -> _Stems:
    return _Stems(language)


def read(chunk: StoredChunk, language: str) -> Text:
    """Read a chunk; other questions find the same one."""
    return _read(chunk.text, chunk.sentences, language, first=not chunk.ordinal)


@lru_cache(_KEPT_CHUNKS)
def _read(text: str, sentences: tuple[tuple[int, int], ...], language: str, *, first: bool) -> Text:
    lines: list[Line] = []
    known = _stems(language)
    heading: frozenset[str] | None = None
    row: frozenset[str] | None = None
    leads, fenced = first, False
    rows = frozenset(_rows(text))
    before = 0
    for number, (start, end) in enumerate(sentences):
        quote = text[start:end]
        if "\n" in text[before:start]:
            row = None
        before = end
        if quote.startswith(_FENCE):
            fenced = fenced == (quote.count(quote[:3]) % 2 == 0)
            kind = Kind.CODE
        else:
            kind = Kind.CODE if fenced else Kind.ROW if start in rows else _kind(quote, text[end : end + 2])
        if kind is Kind.ROW:
            row = known.of(quote[1:].partition("|")[0]) or None
            quote = quote.strip(_EDGES)
        own = known.of(quote)
        begins = text.index(quote, start)
        lines.append(Line(number, begins, quote, kind, own, row or heading, leads and row is None))
        if kind is Kind.HEADING and own:
            heading, leads = own, True
        elif kind is Kind.PROSE or kind is Kind.QUESTION:
            leads = False
    return Text(tuple(lines), frozenset[str]().union(*(line.own for line in lines)))


def _rows(text: str) -> Iterator[int]:
    """Where the rows of tables begin, heads and rules left out."""
    if "|" not in text:
        return
    lines = text.splitlines(keepends=True)
    at = 0
    # A chunk may begin inside a table.
    tabled = True
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if tabled and _ROW.match(line) and not _RULE.match(line) and not _RULE.match(below):
            yield at
        tabled = line.startswith("|")
        at += len(line)


def _kind(quote: str, after: str) -> Kind:
    if quote.startswith("#"):
        return Kind.HEADING
    if quote.startswith(_BRACES):
        # A chunk may begin inside a fence.
        return Kind.CODE
    if _LAYOUT.match(quote):
        return Kind.LAYOUT
    alone = not after or "\n" in after
    if alone and len(quote) < _HEADING_CHARS and not quote.endswith(_ENDS_PROSE) and not _ITEM.match(quote):
        return Kind.HEADING
    return Kind.QUESTION if quote.endswith(_ASKS) else Kind.PROSE
