"""Chunks: runs of whole sentences that partition the text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from core.analysis.sentences import sentence_starts

MIN_WORDS = 200
"""From here on a chunk ends at the next paragraph…"""
MAX_WORDS = 300
"""…and here at the latest, at a sentence."""
MAX_CHARS = 2400
"""For text that does not put spaces between words."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk's text and the (start, end) of its sentences within it, white space trimmed."""

    text: str
    sentences: tuple[tuple[int, int], ...]


def passages(text: str) -> list[Passage]:
    """Cut the text into passages that, joined, give it back exactly; none for blank text."""
    starts = sentence_starts(text)
    if not starts:
        return []
    bounds = [*starts, len(text)]
    if len(text) <= MAX_CHARS and text.count(" ") < MIN_WORDS:
        return [_passage(text, bounds)]
    result: list[Passage] = []
    first, words = 0, 0
    for index in range(len(starts)):
        start, end = bounds[index], bounds[index + 1]
        more = len(text[start:end].split())
        full = words + more > MAX_WORDS or end - bounds[first] > MAX_CHARS
        if index > first and (full or (words >= MIN_WORDS and text[start - 2 : start] == "\n\n")):
            result.append(_passage(text, bounds[first : index + 1]))
            first, words = index, 0
        words += more
    result.append(_passage(text, bounds[first:]))
    return result


def _passage(text: str, bounds: list[int]) -> Passage:
    origin = bounds[0]
    chunk = text[origin : bounds[-1]]
    sentences: list[tuple[int, int]] = []
    for start, end in pairwise(bounds):
        sentence = text[start:end]
        trimmed = sentence.strip()
        if trimmed:
            lead = start - origin + len(sentence) - len(sentence.lstrip())
            sentences.append((lead, lead + len(trimmed)))
    return Passage(chunk, tuple(sentences))
