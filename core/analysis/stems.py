"""Words as the lexical index counts them: lower case, stemmed, without stop words."""

from __future__ import annotations

import re

import tantivy

from core.analysis.english import STOP_WORDS

MAX_WORD_BYTES = 64
"""Longer runs of letters and digits are data, not words."""

_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana and Han."""


_WORD = re.compile(r"\w+")


def spaced(text: str) -> str:
    """The text with runs of unspaced scripts as overlapping pairs of characters, so that they can be found at all."""
    if text.isascii() or not _UNSPACED.search(text):
        return text
    return _UNSPACED.sub(_pairs, text)


def words_of(text: str) -> list[str]:
    """The words of a text in order, with repetitions: what names are matched and vectors are made by."""
    return _WORD.findall(spaced(text))


def _pairs(run: re.Match[str]) -> str:
    chars = run[0]
    pairs = [chars] if len(chars) == 1 else [chars[at : at + 2] for at in range(len(chars) - 1)]
    return f" {' '.join(pairs)} "


def make_analyzer() -> tantivy.TextAnalyzer:
    """The analyzer that indexing and questions share."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_WORD_BYTES))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.custom_stopword(sorted(STOP_WORDS)))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


_ANALYZER = make_analyzer()


def stems(text: str) -> list[str]:
    """The stems of a text in order, with repetitions."""
    found: list[str] = _ANALYZER.analyze(spaced(text))
    return found


def placed_stems(text: str) -> list[tuple[int, str]]:
    """Stems with their positions; a stop word leaves a gap."""
    return [(token.position, token.text) for token in _ANALYZER.pre_tokenize(spaced(text)).tokens]
