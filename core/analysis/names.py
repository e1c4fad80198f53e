"""Names: where a text names something."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from core.analysis.english import JOINING_WORDS, STOP_WORDS

_BRACKETED_SUFFIX = re.compile(r" ?[(\[][^()\[\]]*[)\]]\Z")
_POSSESSIVE = ("'s", "\u2019s")


def title_name(title: str) -> str:
    """A title without its bracketed suffix: "Mercury (planet)" names "Mercury"."""
    name = " ".join(title.split())
    if name[-1:] not in (")", "]"):
        return name
    return _BRACKETED_SUFFIX.sub("", name) or name


def _uppercase_class() -> str:
    """Upper- and title-case letters of the basic plane, as a character class's inside: `re` knows no \\p{Lu}."""
    categories = "".join(map(unicodedata.category, map(chr, range(0x10000))))
    runs = [(run.start() // 2, run.end() // 2 - 1) for run in re.finditer("(?:Lu|Lt)+", categories)]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in runs)


_UPPER = _uppercase_class()
_WORD_END = rf"(?:\.(?=[ ]?[{_UPPER}])|\w*+(?:[\u2019'&.-](?=\w)\w++)*+)"
_JOIN = rf"(?:(?:{'|'.join(JOINING_WORDS)})\b[ ]){{1,2}}"
# It begins with one class of characters, which `re` looks for faster than for anything else.
_SPAN = re.compile(rf"[{_UPPER}](?<!\w.){_WORD_END}(?:[ ]?(?<=[. ])(?:{_JOIN})?[{_UPPER}]{_WORD_END}){{0,7}}+")


def capitalised_spans(text: str, sentences: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Runs of capitalised words as (sentence, start, end), at most eight words each.

    A stop word that is capital only because it opens a sentence is left off; lone stop words are no names. Spans do not
    reach over a sentence's end.
    """
    for index, (first, last) in enumerate(sentences):
        for match in _SPAN.finditer(text, first, last):
            start, end = match.span()
            if start == first:
                start = _without_opening(text, start, end)
            if text[end - 2 : end] in _POSSESSIVE:
                end -= 2
            if end - start > 1 and not _is_stop_word(text[start:end]):
                yield index, start, end


def _is_stop_word(span: str) -> bool:
    """Whether it is one stop word, or the likes of "I'm" and "It's"."""
    return " " not in span and span.partition("'")[0].partition("\u2019")[0].lower() in STOP_WORDS


def _without_opening(text: str, start: int, end: int) -> int:
    """Where the name starts once the stop words that open the sentence are off."""
    while start < end:
        space = text.find(" ", start, end)
        stop = space if space >= 0 else end
        if text[start:stop].lower() not in STOP_WORDS:
            return start
        start = stop + 1
    return end


def occurrences(name: str, text: str) -> Iterator[tuple[int, int]]:
    """Where `name` stands in `text` as whole words, whatever its case."""
    folded, sought = text.lower(), name.lower()
    if len(folded) != len(text):  # a letter whose lower case is two; offsets would drift
        folded, sought = text, name
    start = folded.find(sought) if sought else -1
    while start >= 0:
        end = start + len(sought)
        if not (folded[start - 1 : start].isalnum() or folded[end : end + 1].isalnum()):
            yield start, end
        start = folded.find(sought, end)
