"""Words as the lexical index counts them: lower case, stemmed, without stop words."""

from __future__ import annotations

import re
from functools import cache

import tantivy

from core.analysis.languages import ENGLISH, STEMMED

MAX_WORD_BYTES = 64
"""Longer runs of letters and digits are data, not words."""

UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana and Han."""
_UNSPACED_LEADS = b"\xe0\xe1\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xef"
"""What each of their characters begins with in UTF-8: nearly no other text has any of it, which is told fast."""
_GRAMMAR = re.compile(r"[\u3041-\u309f]{2}|.?[をはがのにでとへも].?")
"""Pairs of Japanese that are endings or hold a particle, as good as always."""


_WORD = re.compile(r"\w+")
_PARTED = "".join(character if character.isalnum() or character == "_" else " " for character in map(chr, range(128)))


def spaced(text: str) -> str:
    """The text with runs of unspaced scripts as overlapping pairs of characters, so that they can be found at all."""
    if text.isascii():
        return text
    encoded = text.encode(errors="surrogatepass")
    if len(encoded.translate(None, _UNSPACED_LEADS)) == len(encoded):
        return text
    return UNSPACED.sub(_pairs, text)


def words_of(text: str) -> list[str]:
    """The words of a text in order, with repetitions: what names are matched and vectors are made by."""
    # The same for ASCII, at half the cost.
    return text.translate(_PARTED).split() if text.isascii() else _WORD.findall(spaced(text))


def _pairs(run: re.Match[str]) -> str:
    chars = run[0]
    pairs = [chars] if len(chars) == 1 else [chars[at : at + 2] for at in range(len(chars) - 1)]
    return f" {' '.join(pairs)} "


@cache
def analyzer(language: str) -> tantivy.TextAnalyzer:
    """The analyzer that indexing and questions share, of a language by its code. In one without a stemmer every word
    counts as it is written."""
    builder = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_WORD_BYTES))
        .filter(tantivy.Filter.lowercase())
    )
    known = STEMMED.get(language)
    if known is None:
        return builder.build()
    builder = builder.filter(tantivy.Filter.custom_stopword(sorted(known.stop_words)))
    if known.listed:
        builder = builder.filter(tantivy.Filter.stopword(known.stemmer))
    return builder.filter(tantivy.Filter.stemmer(known.stemmer)).build()


def stems(text: str, language: str = ENGLISH) -> list[str]:
    """The stems of a text in order, with repetitions. `language` is a code of `core.analysis.languages`."""
    found: list[str] = analyzer(language).analyze(spaced(text))
    return found


def stem_count(word: str, language: str = ENGLISH) -> int:
    """How many stems a word has: one, or none for a stop word. What is not letters and digits alone may fall apart.
    In texts with combining marks the sum may be some words off: Python and the analyzer disagree which are letters."""
    known = STEMMED.get(language)
    plain = word.isalnum() and word.isascii() and len(word) < MAX_WORD_BYTES
    if not plain or (known is not None and known.listed):
        return len(stems(word, language))
    return int(known is None or word.lower() not in known.stop_words)


def asked_stems(text: str, language: str = ENGLISH) -> list[str]:
    """The stems of a question, each once. What a script without spaces has for stop words goes, unless it is all there
    is."""
    found = list(dict.fromkeys(stems(text, language)))
    if text.isascii():
        return found
    return [stem for stem in found if not _GRAMMAR.fullmatch(stem)] or found


def placed_stems(text: str, language: str = ENGLISH) -> list[tuple[int, str]]:
    """Stems with their positions; a stop word leaves a gap."""
    return [(token.position, token.text) for token in analyzer(language).pre_tokenize(spaced(text)).tokens]
