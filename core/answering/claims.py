"""The claims of a text that cites numbered sentences, and whether those sentences say so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from core.analysis.sentences import sentence_starts
from core.analysis.stems import stems
from core.answering.calibration import calibration
from core.answering.evidence import Sentence
from core.answering.support import MISSING_EXACT_CAP, VERBATIM, polarity, support
from core.index import Words

_CITATION = re.compile(r"\s*\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\]")
_LATE_CITATIONS = re.compile(r"([.!?\u3002]+[\"'\u201d\u2019)]*)((?:\s*\[[\d\s,;]+\])+)")
"""Behind the stop of the sentence that they belong to."""
_LINE_MARK = re.compile(r"^\s*(?:[-*\u2022#>]+\s+|\d{1,3}[.)]\s+)", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*|__|`")
LIKELY = 0.7
"""The calibrated probability that the sentences support a claim, from which on it stands."""
_NEAREST = 2
"""Sentences that a claim without citations is compared with."""


class Claim(NamedTuple):
    """One sentence of a text, without its marks, and the numbers that it cites."""

    text: str
    cited: tuple[int, ...]


def claims_of(text: str) -> list[Claim]:
    """The sentences of a text. A citation belongs to the sentence that it stands in, or right behind."""
    plain = _EMPHASIS.sub("", _LINE_MARK.sub("", text))
    cited_inside = _LATE_CITATIONS.sub(r"\2\1", plain)
    bounds = [*sentence_starts(cited_inside), len(cited_inside)]
    found = []
    for start, end in pairwise(bounds):
        sentence = cited_inside[start:end]
        numbers = [int(n) for group in _CITATION.findall(sentence) for n in re.findall(r"\d+", group)]
        words = " ".join(_CITATION.sub("", sentence).split())
        if any(character.isalnum() for character in words):
            found.append(Claim(words, tuple(dict.fromkeys(numbers))))
    return found


class Checked(NamedTuple):
    """A claim with the sentences that it rests on; none where it rests on nothing."""

    text: str
    sentences: tuple[Sentence, ...]


def check(claims: Sequence[Claim], offered: Mapping[int, Sentence], words: Words, language: str) -> Iterator[Checked]:
    """Compare each claim with the sentences that it cites, or, if it cites none of those offered, with those nearest to
    it. It rests on them when they likely say what it says, its names and numbers to the letter, and not all of them are
    negated where it is not. The titles of their documents count as said."""
    for claim in claims:
        sentences = tuple(offered[number] for number in claim.cited if number in offered)
        sentences = sentences or _nearest(claim.text, offered, language)
        yield Checked(claim.text, sentences if _rests_on(claim.text, sentences, words, language) else ())


def stated(sentences: Sequence[Sentence]) -> list[str]:
    """What these sentences and the titles over them say."""
    titles = (sentence.passage.document.metadata.title for sentence in sentences)
    return [*(sentence.quote for sentence in sentences), *dict.fromkeys(title for title in titles if title)]


def _rests_on(claim: str, sentences: Sequence[Sentence], words: Words, language: str) -> bool:
    if not sentences or all(polarity(claim, sentence.quote) == "opposite" for sentence in sentences):
        return False
    found = support(claim, stated(sentences), words, language)
    likely = found == VERBATIM or calibration().supports.probability(found._asdict()) >= LIKELY
    return likely and found.value > MISSING_EXACT_CAP


def _nearest(claim: str, offered: Mapping[int, Sentence], language: str) -> tuple[Sentence, ...]:
    own = frozenset(stems(claim, language))
    shared = [(len(own & sentence.own), -number) for number, sentence in offered.items()]
    best = sorted((pair for pair in shared if pair[0]), reverse=True)[:_NEAREST]
    return tuple(offered[-number] for _, number in best)
