"""How far evidence supports an answer and covers its question: one calibrated number, and what it is made of.

A verbatim quotation is always supported by its source, so support alone says nothing of an extractive answer; what
tells an unanswerable question is how much of it the evidence leaves uncovered, whether documents and headings are about
what is asked, and whether what it names is there at all. The score is the probability that the evidence answers the
question, times the probability that it supports the claims of the answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from core.analysis.languages import ENGLISH
from core.analysis.stems import stems
from core.answering.calibration import calibration
from core.answering.evidence import Evidence, Passage, Sentence
from core.answering.reading import UNSPOKEN, Kind
from core.answering.support import MISSING_EXACT_CAP, VERBATIM, names_of, polarity, support
from core.index import PASSAGES, Words
from core.views import Validation

RARE_SHARE = 0.02
"""An entity in no larger share of the chunks than this is rare."""
MISSING_NAME_CAP = 0.4
"""The most that coverage can be when the evidence lacks a rare name of the question."""
_SAME_TITLE = 0.8
"""The share of their words that a name and a title have in common when one means the other."""
_SAID_WORDS = 2
"""Fewer words are in one sentence by chance."""
_ROW_OF = 0.5
"""The share of the question that the first cell of a row must have."""
_STANDS_OUT = 0.45
"""The margin of a document that is taken at its word."""
_RIVALS = 4
"""With how many other documents the best is compared."""
_MANY_TITLES = 4
"""Documents that a question names by title; more tell no more."""
_TOPICAL = 5
"""Passages whose headings are looked at."""
_COMPARED = 10
"""Sentences, and headings, that are compared with the question by their vectors."""
_SATURATION = 1.2
"""BM25's k1: how soon more occurrences of a word stop to tell more."""

_ASKING = re.compile(
    r"[?\uff1f\u061f]|^\W*(?:please|show|tell|give|find|list|explain|describe|compare|define|is|are|was|were|do|does|did|can|"
    r"could|should|would|will|has|have|had|may|might|must|who|whom|whose|what|when|where|which|why|how)\b|"
    r"\b(?:i|me|my|mine|us|our|you|your|yours|help|hi|hello|info|information|details)\b|"
    r"\bwe (?:need|want|can|have|get|must)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|can|does|do|not|by|in|of|to|from|with|for|on|at|than|the|a|an)\b|\.\s*\Z",
    re.IGNORECASE,
)
_STATEMENT_WORDS = 3


def validate(
    question: str,
    evidence: Evidence,
    chosen: Sequence[Sentence],
    claims: Sequence[str],
    words: Words,
    *,
    titles: Sequence[str] = (),
) -> Validation:
    """Judge `claims`, the sentences of an answer, against `chosen`, which they rest on, and these against the
    question. `titles` are what stands over them, where the claims are not quotations and may name it."""
    model = calibration()
    quotes = [sentence.quote for sentence in chosen]
    supports = [support(claim, [*quotes, *titles], words, evidence.language) for claim in claims]
    lengths = [len(claim) for claim in claims]
    supported = [s.value if s == VERBATIM else model.supports.probability(s._asdict()) for s in supports]
    parts = components(question, evidence, chosen, words)
    rounded = {name: round(min(max(value, 0.0), 1.0), 4) for name, value in parts.items()}
    score = answerable(question, evidence, rounded) * _mean(supported, lengths)
    return Validation(
        groundedness_score=round(score, 4) if claims else 0.0,
        components={
            "support": round(_mean([s.value for s in supports], lengths), 4),
            "minimum_support": round(min((s.value for s in supports), default=0.0), 4),
            **rounded,
        },
        unsupported_claims=tuple(c for c, s in zip(claims, supports, strict=True) if s.value <= MISSING_EXACT_CAP),
        polarity=polarity(question, quotes[0]) if quotes else None,
        calibration=model.id,
    )


def answerable(question: str, evidence: Evidence, parts: Mapping[str, float]) -> float:
    """The probability that the evidence answers the question, by its `components`: the score of a verbatim answer."""
    return calibration().answers(statement=states(question, evidence.language)).probability(parts)


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / max(sum(weights), 1)


def states(text: str, language: str = ENGLISH) -> bool:
    """Whether a text states something, to be checked, rather than asks: it has neither a question mark nor a word that
    asks or speaks of who asks, and is no mere run of key words."""
    return not _ASKING.search(text) and bool(_SENTENCE.search(text)) and len(stems(text, language)) >= _STATEMENT_WORDS


# ---------------------------------------------------------------- a question and its evidence


def components(question: str, evidence: Evidence, chosen: Sequence[Sentence], words: Words) -> dict[str, float]:
    """What tells whether the evidence answers the question, each 0 to 1. None depends on the scale of the ranking's
    scores: a ranking of another kind keeps their meaning."""
    names = {name: frozenset(stems(name, evidence.language)) for name in names_of(question)}
    passages = evidence.passages
    best = [passage for passage in passages if passage.document_id in evidence.same]
    others = [passage for passage in passages if passage.document_id not in evidence.same]
    held = _held_by(evidence, 1)
    stands_out = _margin(evidence)
    # In a store of a few chunks one of them stands out whatever is asked.
    weighed = len(passages) / PASSAGES
    titles = sum(asked.titles and _is_name(asked.written) for asked in evidence.ranking.entities)
    parts = {
        "coverage": coverage(names, evidence, chosen),
        "completeness": _completeness(evidence),
        "margin": stands_out * weighed,
        "lead": weighed
        * (max((p.ranked.lexical for p in best), default=0.0) - max((p.ranked.lexical for p in others), default=0.0)),
        "focus": len(best) / len(passages) if passages else 0.0,
        "agreement": _agreement(evidence),
        **_similarities(question, evidence, words),
        "dense": max((passage.ranked.dense for passage in passages), default=0.0),
        "density": _density(evidence),
        "said": float(_is_said(evidence, stands_out)),
        "topic": _topic(evidence),
        "heading": _heading(evidence),
        "nameless": float(not names),
        "held": _share_of(names.values(), lambda words: words <= held),
        "named": _share_of(names.values(), lambda words: any(_same(words, p, evidence.language) for p in passages)),
        "known": min(titles, _MANY_TITLES) / _MANY_TITLES,
        "titled": float(titles > 0),
    }
    return parts | _products(parts)


def _products(parts: Mapping[str, float]) -> dict[str, float]:
    """Of components that tell only together."""
    return {
        # A question that names its document asks for something that is said there; one that does not is covered by any
        # text of its field.
        "titled_coverage": parts["titled"] * parts["coverage"],
        # A document that stands out may do so by chance, unless its title says what is asked.
        "margin_topic": parts["margin"] * parts["topic"],
        # A heading like the question may be of another thing of its kind, unless what is named is there.
        "heading_held": parts["heading_similarity"] * parts["held"],
    }


def _margin(evidence: Evidence) -> float:
    """How far the best document stands out from the others, its copies left out."""
    if len(evidence.same) < 2:
        return evidence.ranking.margin
    scores: dict[str, float] = {}
    for passage in evidence.passages:
        if passage.document_id not in evidence.same:
            scores.setdefault(passage.document_id, passage.ranked.score)
    others = list(scores.values())[:_RIVALS]
    return (evidence.top - others[-1]) / evidence.top if others else 1.0


def _topic(evidence: Evidence) -> float:
    """Whether the best document's title says what is asked. One without a title is about what it says."""
    if not evidence.passages:
        return 0.0
    first = evidence.passages[0]
    return evidence.about(first.topic) if first.title else _said(evidence)


def _heading(evidence: Evidence) -> float:
    """Whether a heading says what is asked; where there is no title, there is rarely one."""
    if evidence.passages and not evidence.passages[0].title:
        return _said(evidence)
    near = (s for s in evidence.sentences if s.place[0] < _TOPICAL and not s.titled)
    return max((evidence.about(sentence.heading) for sentence in near), default=0.0)


def _said(evidence: Evidence) -> float:
    """The most that a sentence of the best passage says of the question."""
    first = (sentence for sentence in evidence.telling if sentence.passage is evidence.passages[0])
    return max((evidence.share(sentence.own) for sentence in first), default=0.0)


def _is_said(evidence: Evidence, margin: float) -> bool:
    """Whether a sentence, with what stands over it, holds every word of the question: in the best document, which
    stands out, or in all that a small store has. Or one in each passage that was found holds them by itself, or a row
    of a table is about nothing else."""
    if any(sentence.kind is Kind.ROW and _is_row_of(evidence, sentence) for sentence in evidence.telling):
        return True
    if len(evidence.terms) < _SAID_WORDS:
        return False
    saying = [sentence for sentence in evidence.telling if _says_all(evidence, sentence)]
    if not saying:
        return False
    if margin >= _STANDS_OUT and any(sentence.passage.document_id in evidence.same for sentence in saying):
        return True
    if len(evidence.passages) < PASSAGES:
        return {s.passage.document_id for s in saying}.issuperset(p.document_id for p in evidence.passages)
    return len({s.passage.rank for s in saying if evidence.asked <= s.own}) == PASSAGES


def _is_row_of(evidence: Evidence, row: Sentence) -> bool:
    """Whether a row of a table has every word of the question, and its first cell the rarer of them."""
    return evidence.asked <= row.own and evidence.share(row.heading) >= _ROW_OF


def _says_all(evidence: Evidence, sentence: Sentence) -> bool:
    """Whether a sentence holds every word of the question that its heading and the title do not, or, if these hold all
    of them, all of them, too."""
    left = evidence.asked.difference(sentence.heading, sentence.passage.topic)
    return (left or evidence.asked) <= sentence.own and sentence.kind not in UNSPOKEN


def coverage(names: Mapping[str, frozenset[str]], evidence: Evidence, chosen: Sequence[Sentence]) -> float:
    """The share of the question's stems, weighted by rarity, that the quoted passages and the two best hold, with their
    titles; capped when they lack a rare name."""
    held = _held_by(evidence, 2).union(*(evidence.held[sentence.passage.rank] for sentence in chosen))
    share = evidence.share(held)
    if not all(name <= held for name in _rare_names(names, evidence)):
        return min(share, MISSING_NAME_CAP)
    return share


def _agreement(evidence: Evidence) -> float:
    """How much of what the best document says of the question another one says, too, which is no copy."""
    first = other = 0.0
    for sentence in evidence.telling:
        share = evidence.share(sentence.own)
        if sentence.passage.document_id in evidence.same:
            first = max(first, share)
        else:
            other = max(other, share)
    return min(other / first, 1.0) if first else 0.0


def _similarities(question: str, evidence: Evidence, words: Words) -> dict[str, float]:
    """The cosine of the question to the sentence, and to the heading, that comes closest to it in meaning."""
    near = [s for s in evidence.sentences if s.place[0] < _TOPICAL]
    headings = [s for s in near if s.kind is Kind.HEADING][:_COMPARED]
    likely = sorted(near, key=lambda s: (-evidence.share(s.own), s.place))[:_COMPARED]
    vectors = words.embed([question, *(s.quote for s in likely), *(s.quote for s in headings)])
    cosines = (vectors[1:] @ vectors[0]).tolist()
    return {
        "similarity": max(cosines[: len(likely)], default=0.0),
        "heading_similarity": max(cosines[len(likely) :], default=0.0),
    }


def _density(evidence: Evidence) -> float:
    """How often the best passage speaks of the question's words: BM25's saturation of the sentences that hold them."""
    best = 0.0
    counts: dict[int, dict[str, int]] = {}
    for sentence in evidence.telling:
        if found := evidence.asked & sentence.own:
            held = counts.setdefault(sentence.place[0], dict.fromkeys(evidence.asked & sentence.passage.title, 1))
            for word in found:
                held[word] = held.get(word, 0) + 1
    total = math.fsum(evidence.terms.values()) or 1.0
    for held in counts.values():
        best = max(best, math.fsum(evidence.terms[w] * n / (n + _SATURATION) for w, n in held.items()) / total)
    return best


def _completeness(evidence: Evidence) -> float:
    """How much less rare than the question's rarest word the rarest is that the two best passages lack; 1 when they
    lack none."""
    held = _held_by(evidence, 2)
    missing = max((weight for word, weight in evidence.terms.items() if word not in held), default=0.0)
    return 1 - missing / (max(evidence.terms.values(), default=0.0) or 1.0)


def _held_by(evidence: Evidence, count: int) -> frozenset[str]:
    """The stems of the best passages and their titles."""
    return frozenset[str]().union(*(held for rank, held in evidence.held.items() if rank < count))


def _share_of(names: Collection[frozenset[str]], found: Callable[[frozenset[str]], bool]) -> float:
    """The share of the names whose stems are found; 1 when nothing is named."""
    return sum(map(found, names)) / len(names) if names else 1.0


def _same(words: frozenset[str], passage: Passage, language: str) -> bool:
    """Whether a name means the passage's document: they need not agree in case, or in what stands in brackets."""
    if not passage.title:
        return words <= frozenset(stems(passage.chunk.text, language))
    return any(
        len(words & title) >= _SAME_TITLE * len(words | title) for title in (passage.title, passage.topic) if title
    )


def _is_name(written: str) -> bool:
    """A single word in small letters is a word, whatever else has that name."""
    return " " in written or written != written.lower()


def _rare_names(names: Mapping[str, frozenset[str]], evidence: Evidence) -> Iterator[frozenset[str]]:
    """The stems of known entities of the question that are rare, and of capitalised words that nothing is known of."""
    known: set[str] = set()
    for asked in evidence.ranking.entities:
        words = names.get(asked.written)
        if words is None:
            words = frozenset(stems(asked.written, evidence.language))
        known |= words
        if asked.share <= RARE_SHARE and _is_name(asked.written):
            yield words
    for words in names.values():
        if not words <= known:
            yield words
