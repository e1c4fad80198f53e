"""Languages: how they are named, and what is known of those whose words can be stemmed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from core.analysis.english import STOP_WORDS

ENGLISH = "en"
UNSTEMMED = "und"
"""ISO 639-2's code for a language that is not determined: here, one that there is no stemmer for."""

_TAG = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{1,8})*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Language:
    """A language with a Snowball stemmer. `stemmer` is its name, in English and in tantivy; `codes` are ISO 639's other
    ones. `stop_words` come beside Snowball's own list, if that has one which is used (`listed`)."""

    stemmer: str
    codes: tuple[str, ...]
    stop_words: frozenset[str]
    listed: bool


def _stemmed() -> Iterator[tuple[str, Language]]:
    for code, known in tomllib.loads(files("core.analysis").joinpath("languages.toml").read_text("utf-8")).items():
        stop_words = STOP_WORDS if code == ENGLISH else frozenset(known["stop_words"].split())
        yield code, Language(known["stemmer"], tuple(known["codes"]), stop_words, known["listed"])


STEMMED = dict(_stemmed())
"""By the code of ISO 639-1."""

_CODES = {name: code for code, known in STEMMED.items() for name in (code, known.stemmer, *known.codes)}


def language_code(tag: str) -> str:
    """The key in `STEMMED` of what a tag names (`de`, `de-DE`, `deu`, `German`), or `UNSTEMMED`."""
    name = tag.strip().lower()
    return _CODES.get(name) or _CODES.get(re.split(r"[-_]", name, maxsplit=1)[0], UNSTEMMED)


def check_language(tag: str) -> str:
    """Refuse as a default what names no language at all. One without a stemmer is fine. Raises ValueError."""
    if language_code(tag) == UNSTEMMED and not _TAG.match(tag.strip()):
        raise ValueError('must name a language, such as "de", "pt-BR" or "french"')
    return tag
