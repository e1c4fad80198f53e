"""SciFact's claims against the abstracts that they cite: supported, contradicted, or told too little of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from core.analysis.languages import ENGLISH
from core.analysis.sentences import sentence_starts
from core.analysis.stems import stems, words_of
from core.answering.support import Support, polarity, support
from core.index import Words
from core.index.audience import Audience
from core.index.lexical import Lexical
from core.index.postings import Postings
from core.index.vectors import Vectors, embedding_table
from core.index.vocabulary import Vocabulary


@dataclass(frozen=True)
class Claim:
    """A claim and an abstract. `label` is SUPPORT, CONTRADICT, or NONE for a cited abstract without evidence."""

    claim_id: str
    label: str
    support: Support
    opposite: bool
    """The polarity flag, between the claim and the first evidence sentence; for NONE not set."""


def words_of_corpus(texts: Iterator[str]) -> Words:
    """The words of a corpus as the index would know them."""
    lexical = Lexical(None)
    for text in texts:
        lexical.add(text, "", 0, ENGLISH, (len(stems(text)), 0))
    lexical.commit()
    table = embedding_table()
    table.load()
    vocabulary = Vocabulary(table.tokenise)

    def embed(some: Sequence[str]) -> Vectors:
        numbers = vocabulary.numbers(map(words_of, some))
        tokens, ends = vocabulary.tokens(np.concatenate(numbers))
        return table.embed(tokens, ends[np.cumsum([0, *map(len, numbers)])])

    audience = Audience(lexical, Postings(lexical), lexical.found)
    return Words(lambda stems: audience.idf(stems, ENGLISH), embed)


def read_claims(folder: Path) -> list[Claim]:
    """Every claim with every abstract that it cites."""
    abstracts = {record["_id"]: record for record in _read(folder / "corpus.jsonl")}
    split = {record["_id"]: record["sentences"] for record in _read(folder / "sentences.jsonl")}
    claims = {record["_id"]: record["text"] for record in _read(folder / "queries.jsonl")}
    labelled: dict[tuple[str, str], tuple[str, int]] = {}
    for record in _read(folder / "evidence.jsonl"):
        labelled.setdefault((record["claim_id"], record["doc_id"]), (record["label"], record["sentences"][0]))
    words = words_of_corpus(f"{record['title']}\n{record['text']}" for record in abstracts.values())
    result = []
    for claim_id, abstract_id in _cited(folder / "qrels"):
        claim, abstract = claims[claim_id], abstracts[abstract_id]
        label, at = labelled.get((claim_id, abstract_id), ("NONE", -1))
        first = split[abstract_id][at] if label != "NONE" else ""
        quotes = [f"{abstract['title']} {sentence}" for sentence in _sentences(abstract["text"])]
        opposite = bool(first) and polarity(claim, first) == "opposite"
        result.append(Claim(claim_id, label, support(claim, quotes, words), opposite))
    return result


def _sentences(text: str) -> list[str]:
    bounds = [*sentence_starts(text), len(text)]
    return [text[start:end].strip() for start, end in pairwise(bounds)]


def _cited(folder: Path) -> list[tuple[str, str]]:
    (path,) = folder.iterdir()
    with path.open(encoding="utf-8") as file:
        rows = [line.split() for line in file][1:]
    return [(row[0], row[1]) for row in rows]


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
