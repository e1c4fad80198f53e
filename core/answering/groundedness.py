"""How far evidence supports an answer and covers its question: one calibrated number, and what it is made of.

A verbatim quotation is always supported by its source, so support alone says nothing of an extractive answer; what
tells an unanswerable question is how much of it the evidence leaves uncovered, above all a rare name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from core.analysis import capitalised_spans
from core.analysis.languages import ENGLISH
from core.analysis.stems import stems
from core.index import Ranking
from core.model import Validation

RARE_SHARE = 0.02
"""An entity in no larger share of the chunks than this is rare."""
MISSING_NAME_CAP = 0.4
"""The most that coverage can be when the evidence lacks a rare name of the question."""
UNSUPPORTED_BELOW = 0.5
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic model of the components, and the score from which an answer is given. `id` names the fit."""

    id: str
    fitted_on: str
    intercept: float
    coefficients: Mapping[str, float]
    answer_from: float

    def score(self, components: Mapping[str, float]) -> float:
        z = self.intercept + sum(weight * components[name] for name, weight in self.coefficients.items())
        return 1 / (1 + math.exp(-z))


@cache
def calibration() -> Calibration:
    """The coefficients that ship with this release."""
    raw = json.loads(files("core.answering").joinpath("calibration.json").read_text())
    return Calibration(**raw)


def validate(
    question: str, claims: Sequence[str], quotes: Sequence[str], titles: Sequence[str], ranking: Ranking
) -> Validation:
    """Judge `claims` (the sentences of an answer) against `quotes` (its sources, of documents with these `titles`)."""
    model = calibration()
    supports = [support(claim, quotes, ranking.language) for claim in claims]
    lengths = [len(claim) for claim in claims]
    components = {
        "support": sum(s * n for s, n in zip(supports, lengths, strict=True)) / max(sum(lengths), 1),
        "coverage": coverage(question, [*quotes, *titles], ranking),
        "margin": ranking.margin,
        "similarity": max((chunk.dense for chunk in ranking.chunks[:3]), default=0.0),
    }
    rounded = {name: round(min(max(value, 0.0), 1.0), 4) for name, value in components.items()}
    return Validation(
        groundedness_score=round(model.score(rounded), 4) if claims else 0.0,
        components=rounded,
        unsupported_claims=tuple(c for c, s in zip(claims, supports, strict=True) if s < UNSUPPORTED_BELOW),
        calibration=model.id,
    )


def support(claim: str, quotes: Sequence[str], language: str = ENGLISH) -> float:
    """The share of the claim's stems that the best quotation holds; at most one half when a number or a name of the
    claim is in none of them."""
    wanted = set(stems(claim, language))
    if not wanted:
        return 1.0 if any(claim in quote for quote in quotes) else 0.0
    best = max((len(wanted & set(stems(quote, language))) / len(wanted) for quote in quotes), default=0.0)
    stated = "\n".join(quotes)
    exact = [
        *_NUMBER.findall(claim),
        *(claim[start:end] for _, start, end in capitalised_spans(claim, [(0, len(claim))])),
    ]
    return best if all(text in stated for text in exact) else min(best, 0.5)


def coverage(question: str, evidence: Sequence[str], ranking: Ranking) -> float:
    """The share of the question's stems, weighted by rarity, that the evidence holds; capped when it lacks a rare
    name."""
    total = sum(ranking.terms.values())
    if not total:
        return 0.0
    held = {stem for text in evidence for stem in stems(text, ranking.language)}
    share = sum(weight for term, weight in ranking.terms.items() if term in held) / total
    for name in _rare_names(question, ranking):
        if not held.issuperset(stems(name, ranking.language)):
            return min(share, MISSING_NAME_CAP)
    return share


def _rare_names(question: str, ranking: Ranking) -> list[str]:
    """What the question names: known entities that are rare, and capitalised words that nothing is known of. A single
    word in small letters is a word."""
    names = [
        asked.written
        for asked in ranking.entities
        if asked.share <= RARE_SHARE and (" " in asked.written or asked.written != asked.written.lower())
    ]
    known = {stem for asked in ranking.entities for stem in stems(asked.written, ranking.language)}
    for _, start, end in capitalised_spans(question, [(0, len(question))]):
        span = question[start:end]
        # A single capital at the very beginning is a capital of the sentence.
        if (start > 0 or " " in span) and not known.issuperset(stems(span, ranking.language)):
            names.append(span)
    return names
