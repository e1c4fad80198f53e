"""Sentences by rule: fast, language-tolerant, linear on any input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from core.analysis.english import ABBREVIATIONS

MAX_SENTENCE_CHARS = 600
"""What is longer without an end (tables, base64, verse without stops) is cut at a space, or at this length."""
_SHORT_LINE = 60
"""A line this short that ends in a line break is a heading, an item or a verse; longer ones are wrapped prose."""

# It begins with one class of characters, which `re` looks for many times faster than for alternatives. Every quantifier
# that could give back what it took is possessive, so no input makes the search quadratic.
_END = re.compile(
    # The punctuation of other scripts is meant.
    r"""
    [.!?…。\uff01\uff1f｡؟\n]
    (?: (?<=[.!?…])(?<![.!?…][.!?…])[.!?…]*+["'”\u2019»)\]]*+\s++
      | (?<=[。\uff01\uff1f｡؟])[。\uff01\uff1f｡؟]*+[」』”\u2019\uff09)]*+\s*+
      | (?<=\n)(?:[^\S\n]*+\n\s*+|(?=[^\S\n]*+(?:[-*•#>|]|\d{1,3}[.)])\s))
    )
    """,
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[\w.]*\Z")
_LINE = re.compile(r"[^\n]*+(?:\n|\Z)")


def sentence_starts(text: str) -> list[int]:
    """Where sentences start, 0 first; each runs to the next, with the white space between. Empty for blank text."""
    if not text or text.isspace():
        return []
    starts = {match.end() for match in _END.finditer(text) if _ends_sentence(text, match)}
    if "\n" in text:
        starts.update(line.end() for line in _LINE.finditer(text) if 1 < line.end() - line.start() <= _SHORT_LINE)
    starts.discard(len(text))
    lead = len(text) - len(text.lstrip())
    bounds = [0, *sorted(start for start in starts if start > lead), len(text)]
    if all(end - start <= MAX_SENTENCE_CHARS for start, end in pairwise(bounds)):
        return bounds[:-1]
    return [cut for start, end in pairwise(bounds) for cut in _cuts(text, start, end)]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether a candidate is an end: not after an abbreviation or an initial, not before a small letter."""
    end = match.end()
    if text[match.start()] != ".":
        return True
    if end < len(text) and text[end].islower():
        return False
    word = _LAST_WORD.search(text, max(0, match.start() - 12), match.start())
    before = word[0] if word else ""
    return not ((len(before) == 1 and before.isupper()) or before.lower() in ABBREVIATIONS)


def _cuts(text: str, start: int, end: int) -> Iterator[int]:
    """`start`, and the places at which a sentence of too many characters is cut."""
    yield start
    last = start + len(text[start:end].rstrip())
    while end - start > MAX_SENTENCE_CHARS:
        space = text.rfind(" ", start + MAX_SENTENCE_CHARS // 2, start + MAX_SENTENCE_CHARS)
        start = space + 1 if space >= 0 else start + MAX_SENTENCE_CHARS
        if start >= last:
            return
        yield start
