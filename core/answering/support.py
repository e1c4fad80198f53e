"""How far quotations say what a claim says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from core.analysis import capitalised_spans
from core.analysis.languages import ENGLISH
from core.analysis.stems import spaced, stems
from core.index import Words

MISSING_EXACT_CAP = 0.5
"""The most that support can be when a number, quotation or name of the claim is in no quotation."""
_ALIKE_FROM = 0.35
"""Words whose vectors are no closer than this have nothing to do with each other."""

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_QUOTED = re.compile(r'["\u201c\u201e]([^"\u201c\u201d\u201e]{2,200})["\u201d\u201c]')
_WORD = re.compile(r"[^\W_]+")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|cannot|\w+n['\u2019]t|lacks?|lacking|fails?|failed|unable|absen(?:ce|t))\b",
    re.IGNORECASE,
)


class Support(NamedTuple):
    """How far quotations say what a claim says, each 0 to 1: the share of its words, weighted by rarity, that the best
    of them holds, that all of them hold together, and the share of its numbers, quotations and names that are there to
    the letter."""

    sentence: float
    evidence: float
    exact: float

    @property
    def value(self) -> float:
        """Both shares in equal parts; at most one half when something is not there to the letter."""
        share = (self.sentence + self.evidence) / 2
        return share if self.exact == 1 else min(share, MISSING_EXACT_CAP)


VERBATIM = Support(1.0, 1.0, 1.0)


def support(claim: str, quotes: Sequence[str], known: Words, language: str = ENGLISH) -> Support:
    """Compare a claim with its sources. A word that is not found counts by how close the closest one comes in
    meaning."""
    if any(claim in quote for quote in quotes):
        return VERBATIM
    words = {stem[0]: word for word in _WORD.findall(spaced(claim.lower())) if (stem := stems(word, language))}
    if not words or not quotes:
        return Support(0.0, 0.0, 0.0)
    idf = known.idf(list(words))
    weights = np.array([idf[stem] for stem in words])
    held = np.array([_held(words, quote, known, language) for quote in quotes])
    total = float(weights.sum()) or 1.0
    stated = "\n".join(quotes)
    exact = [text in stated for text in _exact(claim)]
    return Support(
        sentence=min(float((held @ weights).max()) / total, 1.0),
        evidence=min(float(held.max(axis=0) @ weights) / total, 1.0),
        exact=sum(exact) / len(exact) if exact else 1.0,
    )


def _held(words: dict[str, str], quote: str, known: Words, language: str) -> list[float]:
    """For each word of the claim, by stem, how far the quotation holds it."""
    own = set(stems(quote, language))
    missing = [word for stem, word in words.items() if stem not in own]
    others = list(dict.fromkeys(_WORD.findall(spaced(quote.lower()))))
    closest: dict[str, float] = {}
    if missing and others:
        vectors = known.embed([*missing, *others])
        cosines = (vectors[: len(missing)] @ vectors[len(missing) :].T).max(axis=1)
        closest = dict(zip(missing, ((cosines - _ALIKE_FROM) / (1 - _ALIKE_FROM)).tolist(), strict=True))
    return [1.0 if stem in own else max(closest.get(word, 0.0), 0.0) for stem, word in words.items()]


def _exact(claim: str) -> Iterator[str]:
    """What a source must hold to the letter."""
    yield from _NUMBER.findall(claim)
    yield from _QUOTED.findall(claim)
    yield from names_of(claim)


def names_of(sentence: str) -> list[str]:
    """What a sentence names: capitalised spans, as they are written."""
    spans = capitalised_spans(sentence, [(0, len(sentence))])
    # A single capital at the very beginning is a capital of the sentence.
    return [sentence[start:end] for _, start, end in spans if start > 0 or " " in sentence[start:end]]


def polarity(claim: str, quote: str) -> Literal["same", "opposite"]:
    """Whether a claim, or a question, and a quotation are negated alike. A hint and no more: contradiction is mostly
    said without a negation."""
    odd = (len(_NEGATION.findall(claim)) + len(_NEGATION.findall(quote))) % 2
    return "opposite" if odd else "same"
