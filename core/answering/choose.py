"""Which sentences answer: the best one, or, when the question names documents, one of each and of what they lead to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from core.answering.evidence import Evidence, Sentence
from core.answering.reading import SAYING, UNSPOKEN, Kind
from core.naming import normalise

MAX_SENTENCES = 4
_SHORT = 8
"""A sentence of fewer words rarely says enough alone; the next one comes with it."""
_OPENING = (":", "\uff1a")
_ALIKE = 0.6
_NEW_COVERAGE = 0.5
"""The share of the question that a further sentence must add."""

# Chosen for the token overlap with the marked spans of doc2dial (cross-validated weights came to the same).
_DIRECT = 0.2
_CHUNK = 0.6
_LEADS = 0.1
_WHOLE = 0.1
"""For a sentence that holds every word of a question."""
_NOT_PROSE = 0.3
# For a sentence of a document that the question, or a sentence before, names.
_NUMBER = 0.15
_NAMES_ANOTHER = 0.25

_WANTS_NUMBER = re.compile(
    r"\b(?:when|how (?:many|much|long|old|far|often)|what (?:year|date|age)|date|year|born|died|first|last|earlier|"
    r"later|older|younger|longer|oldest|youngest|earliest|latest)\b",
    re.IGNORECASE,
)
_NUMERAL = re.compile(r"\b\d+\b")


def choose(question: str, evidence: Evidence, most: int) -> list[Sentence]:
    """One to four sentences in the order in which they are to be read, of at most `most` documents; none when nothing
    was found."""
    named = _named(evidence)
    hops = _Hops(question, evidence, most).chosen(named) if named else []
    said = _said_elsewhere(evidence, hops) if hops else frozenset()
    # A document may be named and have nothing but layout: then whatever says most of what is asked has to do.
    return hops if hops and not said else _section(evidence, most, said)


def _said_elsewhere(evidence: Evidence, hops: Sequence[Sentence]) -> frozenset[tuple[int, int]]:
    """The places of sentences that hold every word of the question, when those along the hops together do not."""
    reached = frozenset[str]().union(*(sentence.own | sentence.passage.title for sentence in hops))
    if evidence.asked <= reached:
        return frozenset()
    return frozenset(s.place for s in evidence.telling if s.kind in SAYING and evidence.asked <= s.own)


def _named(evidence: Evidence) -> list[str]:
    """The documents whose titles the question names, in its order."""
    found: list[str] = []
    titles = [asked for asked in evidence.ranking.entities if asked.titles]
    # Beside a name, words in small letters ("place of birth") say what is asked of it.
    names = [asked for asked in titles if asked.written != asked.written.lower()]
    for asked in names or titles:
        name = normalise(asked.entity.name)
        # Of several documents of one title the best is meant.
        first = next((passage.document_id for passage in evidence.passages if normalise(passage.name) == name), None)
        if first is not None and first not in found:
            found.append(first)
    return found


# ---------------------------------------------------------------- a section that answers


def score(evidence: Evidence, sentence: Sentence) -> float:
    """How well a sentence answers by itself, under its heading."""
    value = (
        evidence.spoken_of(sentence)
        + _DIRECT * evidence.share(sentence.own)
        + _CHUNK * sentence.passage.ranked.score / evidence.top
        + _LEADS * sentence.leads
    )
    if sentence.kind not in SAYING or len(sentence.own) < 2:
        return value - _NOT_PROSE
    return value + _WHOLE if len(evidence.asked) > 1 and evidence.asked <= sentence.own else value


def _section(evidence: Evidence, most: int, first: Collection[tuple[int, int]]) -> list[Sentence]:
    """The best sentence, of those at the places `first` if there are any, and what it leaves out."""
    ordered = sorted(
        (sentence for sentence in evidence.sentences if sentence.own),
        key=lambda sentence: (sentence.place not in first, -score(evidence, sentence), sentence.place),
    )
    if not ordered:
        return []
    chosen = next((opened for opened in _opened(evidence, ordered) if opened), ordered[:1])
    missing = evidence.asked.difference(chosen[0].passage.title, *(s.own | s.heading for s in chosen))
    documents = {chosen[0].passage.document_id}
    for sentence in ordered[1:]:
        if len(chosen) >= MAX_SENTENCES or not missing:
            break
        says = missing & sentence.own
        added = says | (missing & sentence.heading) | (missing & sentence.passage.topic)
        if evidence.share(added) < _NEW_COVERAGE or sentence.kind is not Kind.PROSE:
            continue
        document_id = sentence.passage.document_id
        if document_id not in documents and len(documents) >= most:
            continue
        # Of two alike, one may say in its own words what the other leaves out.
        if evidence.share(says) >= _NEW_COVERAGE or not _repeats(sentence, chosen):
            chosen.append(sentence)
            missing = missing.difference(sentence.own, sentence.heading, sentence.passage.title)
            documents.add(document_id)
    return sorted(chosen, key=lambda sentence: sentence.place)


def _opened(evidence: Evidence, ordered: Iterable[Sentence]) -> Iterator[list[Sentence]]:
    """Each sentence with what belongs to it; nothing for code, and for one that only announces what is not spoken."""
    for sentence in ordered:
        following = list(_following(evidence, sentence))
        announces = sentence.quote.endswith(_OPENING) and not following
        yield [] if announces or sentence.kind is Kind.CODE else [sentence, *following]


def _following(evidence: Evidence, first: Sentence) -> Iterator[Sentence]:
    """What belongs to a sentence that does not stand alone: the list that it opens, or, if it is short, the next."""
    opens = first.quote.endswith(_OPENING)
    alone = first.kind is Kind.ROW or len(first.quote.split()) >= _SHORT or evidence.asked <= first.own
    if alone and not opens:
        return
    rank, number = first.place
    after = [s for s in evidence.sentences if s.place[0] == rank and s.place[1] > number]
    for sentence in after[: MAX_SENTENCES - 1 if opens else 1]:
        if sentence.kind in UNSPOKEN or (sentence.kind is Kind.HEADING and not opens) or not sentence.own:
            return
        yield sentence


# ---------------------------------------------------------------- documents that a question leads to


class _Hops:
    """From the documents that a question names to those that these name."""

    def __init__(self, question: str, evidence: Evidence, most: int) -> None:
        self._evidence = evidence
        self._most = most
        self._number = _WANTS_NUMBER.search(question) is not None
        self._by_document: dict[str, list[Sentence]] = {}
        for sentence in evidence.sentences:
            if sentence.kind not in UNSPOKEN and len(sentence.own) > 1:
                self._by_document.setdefault(sentence.passage.document_id, []).append(sentence)
        self._names = {passage.document_id: passage.name for passage in reversed(evidence.passages)}
        self._documents: set[str] = set()

    def chosen(self, named: Sequence[str]) -> list[Sentence]:
        result: list[Sentence] = []
        starts = named[:MAX_SENTENCES]
        # With two things to compare, each has one sentence of its own and one of what it leads to.
        each = MAX_SENTENCES // len(starts)
        for document_id in starts:
            result.extend(self._path(document_id, starts, each, result))
        return result[:MAX_SENTENCES]

    def _path(self, start: str, starts: Sequence[str], length: int, before: Sequence[Sentence]) -> list[Sentence]:
        path: list[Sentence] = []
        document_id: str | None = start
        covered: set[str] = set()
        while document_id is not None and len(path) < length and self._room(document_id):
            sentence = self._best(document_id, covered, [*before, *path])
            if sentence is None:
                break
            path.append(sentence)
            self._documents.add(document_id)
            covered |= sentence.own | sentence.passage.title
            document_id = self._next(sentence, starts)
        return path

    def _room(self, document_id: str) -> bool:
        return document_id in self._documents or len(self._documents) < self._most

    def _best(self, document_id: str, covered: set[str], before: Sequence[Sentence]) -> Sentence | None:
        """The sentence of a document that says most of what is still asked."""
        candidates = [s for s in self._by_document.get(document_id, ()) if not _repeats(s, before)]
        return min(candidates, key=lambda sentence: (-self._score(sentence, covered), sentence.place), default=None)

    def _score(self, sentence: Sentence, covered: set[str]) -> float:
        return (
            self._evidence.share(sentence.own - sentence.passage.topic - covered)
            + self._evidence.spoken_of(sentence) * (not sentence.titled)
            + _LEADS * (sentence.place[1] == 0)
            + _NUMBER * (self._number and _NUMERAL.search(sentence.quote) is not None)
            + _NAMES_ANOTHER * (next(self._linked(sentence), None) is not None)
            - _NOT_PROSE * (sentence.kind not in SAYING)
        )

    def _linked(self, sentence: Sentence) -> Iterator[str]:
        """The documents that a sentence names, in the order of the ranking."""
        own = sentence.passage
        for document_id, name in self._names.items():
            if (
                document_id != own.document_id
                and _names(sentence.quote, name)
                and normalise(name) not in normalise(own.name)
            ):
                yield document_id

    def _next(self, sentence: Sentence, starts: Sequence[str]) -> str | None:
        """The document to go on with: one that the sentence names, which is neither asked for nor quoted."""
        for document_id in self._linked(sentence):
            if document_id not in starts and document_id not in self._documents:
                return document_id
        return None


def _names(quote: str, name: str) -> bool:
    """Whether a sentence names it: a single word only where it is no part of a longer name."""
    start = quote.find(name) if len(name) > 2 and not name[0].islower() else -1
    if start < 0:
        return False
    end = start + len(name)
    if quote[max(start - 1, 0) : start].isalnum() or quote[end : end + 1].isalnum():
        return False
    return " " in name or not (quote[end : end + 1] == " " and quote[end + 1 : end + 2].isupper())


def _repeats(sentence: Sentence, chosen: Iterable[Sentence]) -> bool:
    return any(
        len(sentence.own & other.own) >= _ALIKE * min(len(sentence.own), len(other.own))
        or sentence.place == other.place
        for other in chosen
    )
