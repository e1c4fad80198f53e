"""A question as one language reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.analysis.languages import ENGLISH
from core.analysis.stems import asked_stems, placed_stems
from core.index.thesaurus import Likes, Thesaurus

_PHRASE_GAP = 4
"""Words further apart than this in the question are no phrase; stop words count."""


@dataclass(frozen=True, slots=True)
class Reading:
    language: str
    stems: Sequence[str]
    """Each once."""
    neighbours: Mapping[tuple[str, str], int]
    """Different stems that follow each other, and how many words apart they are."""
    alike: Mapping[str, Likes]
    """For a stem, stems that may stand for it."""


def read(text: str, language: str, thesaurus: Thesaurus) -> Reading:
    """Read a question in the language of this code."""
    neighbours = {
        (first, second): later - earlier
        for (earlier, first), (later, second) in pairwise(placed_stems(text, language))
        if first != second and 0 < later - earlier <= _PHRASE_GAP
    }
    # The table of neighbours is English.
    alike = thesaurus.alike(text) if language == ENGLISH else {}
    return Reading(language, asked_stems(text, language), neighbours, alike)
