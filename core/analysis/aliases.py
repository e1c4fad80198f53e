"""Short forms that a document explains itself: acronyms, companies without their suffix, surnames.

"The World Health Organization (WHO) … the WHO says": the second names the first. A short form is resolved only within
the document that explains it, and only where that leaves no doubt; what stays unresolved stays a name of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from core.analysis.english import STOP_WORDS
from core.analysis.names import occurrences
from core.entities import Mention, Relation
from core.naming import entity

MAX_ALIASES = 100
"""Of one document."""
PREDICATE: Final = "short_for"
_CONFIDENCE = 0.9
_BEFORE_CHARS = 160
"""Before the bracket, the full form is looked for in so much text."""

_BRACKETED = re.compile(r"\(([A-Z][A-Za-z]{0,8}[A-Z])s?\)")
_WORD = re.compile(r"[^\W_][\w'\u2019&]*")
_JOINING = frozenset(
    (
        "a",
        "an",
        "and",
        "at",
        "de",
        "des",
        "du",
        "et",
        "for",
        "für",
        "in",
        "la",
        "le",
        "of",
        "on",
        "the",
        "to",
        "und",
        "with",
    )
)

_SUFFIXES = ("Inc", "Corp", "Ltd", "Limited", "LLC", "PLC", "GmbH")
"""Those that are nothing else: not the likes of AG, SA and AB."""
_PART = r"[A-Z][\w&'\u2019-]*+"
_COMPANY = re.compile(rf"\b({_PART}(?: {_PART}){{0,4}}?),? (Incorporated|Corporation|{'|'.join(_SUFFIXES)})\b")

_HONORIFICS = ("Mr", "Mrs", "Ms", "Dr", "Prof", "Professor", "Sir")
_MARK = re.compile(r"[ICLPGMDS](?:nc(?:orporated)?|orp(?:oration)?|td|imited|LC|mbH|r|rs|s|rof(?:essor)?|ir)\b")
"""One of which is in every text with a suffix or an honorific: one scan tells that most texts have neither."""
_PERSON = rf"{_PART}(?: (?:[A-Z]\.|van|von|de|der|den|la|{_PART})){{0,3}} {_PART}"
_ADDRESSED = re.compile(rf"\b(?:{'|'.join(_HONORIFICS)})\.? ({_PERSON})")
# These two begin with what is rare in a text, and are looked for faster for it.
_BORN = re.compile(r" \((?:born\b|b\. |n\u00e9e\b|\d{1,2} [A-Z][a-z]+ \d{4}|[A-Z][a-z]+ \d{1,2}, \d{4})")
_PRONOUN = re.compile(r"[HhSs](?<!\w.)(?:(?<=[Hh])(?:e|is|er)|(?<=[Ss])he)\b")
_PERSON_BEFORE = re.compile(rf"\b({_PERSON})\Z")
_WHOLE_PERSON = re.compile(rf"{_PERSON}\Z")


class Alias(NamedTuple):
    """In its document `short` stands for `full` from the character `since` on."""

    short: str
    full: str
    kind: str
    """`acronym`, `company` or `surname`: the extractor of the mentions."""
    since: int


def aliases(text: str, title: str, authors: Sequence[str]) -> list[Alias]:
    """The short forms that a document explains, in its text or by its title and authors. One that could stand for two
    things stands for neither."""
    marked = _MARK.search(text) is not None
    found = [*_acronyms(text), *(_companies(text) if marked else ()), *_surnames(text, title, authors, marked)]
    meanings: dict[str, set[str]] = {}
    for alias in found:
        meanings.setdefault(alias.short, set()).add(alias.full)
    first = {alias.short: alias for alias in reversed(found) if len(meanings[alias.short]) == 1}
    return sorted(first.values(), key=lambda alias: (alias.since, alias))[:MAX_ALIASES]


def _acronyms(text: str) -> Iterator[Alias]:
    for match in _BRACKETED.finditer(text) if "(" in text else ():
        letters = [char for char in match[1] if char.isupper()]
        before = text[max(0, match.start() - _BEFORE_CHARS) : match.start()].rpartition("\n")[2]
        words = list(_WORD.finditer(before))
        if not words or before[words[-1].end() :].strip():
            continue
        for first in range(len(words) - len(letters), max(-1, len(words) - 2 * len(letters) - 3), -1):
            if first >= 0 and _initials([word[0] for word in words[first:]]) == letters:
                yield Alias(match[1], before[words[first].start() :].strip(), "acronym", match.start())
                break


def _initials(words: Sequence[str]) -> list[str]:
    """First letters as capitals, without joining words; none for what begins with one."""
    if words[0].lower() in _JOINING:
        return []
    return [word[0].upper() for word in words if word.lower() not in _JOINING]


def _companies(text: str) -> Iterator[Alias]:
    for match in _COMPANY.finditer(text):
        name = match[1]
        while name.partition(" ")[0].lower() in STOP_WORDS:
            name = name.partition(" ")[2]
        if len(name) > 1:
            yield Alias(name, f"{name} {match[2]}", "company", match.start())


def _surnames(text: str, title: str, authors: Sequence[str], addressed: bool) -> Iterator[Alias]:
    people = [(name, 0) for name in authors if _WHOLE_PERSON.match(name)]
    if _WHOLE_PERSON.match(title) and _PRONOUN.search(text):
        people.append((title, 0))
    if addressed:
        people += [(match[1], match.start()) for match in _ADDRESSED.finditer(text)]
    for born in _BORN.finditer(text) if "(" in text else ():
        if person := _PERSON_BEFORE.search(text, max(0, born.start() - _BEFORE_CHARS), born.start()):
            people.append((person[1], person.start()))
    for name, since in list(dict.fromkeys(people))[:MAX_ALIASES]:
        surname = name.rpartition(" ")[2]
        # A surname that the text uses as a word is too weak a sign.
        if len(surname) > 2 and not _is_word_of(text, surname.lower()):
            yield Alias(surname, name, "surname", since)


def _is_word_of(text: str, word: str) -> bool:
    # Most are not even a part of one, and a pattern made for each costs a thousand times as much as looking.
    return word in text and re.search(rf"\b{re.escape(word)}\b", text) is not None


def resolved(
    text: str, sentences: Sequence[tuple[int, int]], known: Sequence[Alias], spans: Sequence[Mention]
) -> tuple[list[Mention], list[Relation]]:
    """What a chunk names by short forms: mentions of the full ones, and that the short ones are short for them. `spans`
    are the names found in it."""
    mentions: list[Mention] = []
    relations: dict[Relation, None] = {}
    for short, full, kind, _ in known:
        whole, part = entity(full), entity(short)
        if whole is None or part is None or whole == part:
            continue
        places = list(_places(text, sentences, short, full, kind, spans))
        for sentence, start, end in places:
            if kind == "company" and text[start:end] == full:
                # It names the short form, too: other documents know the company by that.
                mentions.append(Mention(part, sentence, start, start + len(short), kind, _CONFIDENCE))
            else:
                mentions.append(Mention(whole, sentence, start, end, kind, _CONFIDENCE))
        if places:
            relations[Relation(part, PREDICATE, whole, places[0][0])] = None
    return mentions, list(relations)


def _places(
    text: str, sentences: Sequence[tuple[int, int]], short: str, full: str, kind: str, spans: Sequence[Mention]
) -> Iterator[tuple[int, int, int]]:
    if kind != "acronym":
        wanted = (short, full) if kind == "company" else (short, *(f"{title} {short}" for title in _HONORIFICS))
        yield from ((one.sentence, one.start, one.end) for one in spans if text[one.start : one.end] in wanted)
        return
    begins = [start for start, _ in sentences]
    taken = {(one.start, one.end) for one in spans}
    for form in (short, full):
        for start, end in occurrences(form, text):
            sentence = bisect_right(begins, start) - 1
            whole = sentence >= 0 and end <= sentences[sentence][1] and text[start:end] == form
            if whole and (form == short or (start, end) not in taken):
                yield sentence, start, end
