"""What the benchmarks read: a BEIR corpus, or one that is made up, the same on every machine."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

DEVELOPMENT_SET = Path(__file__).parents[2] / "shared" / "data" / "2wiki" / "corpus.jsonl"
MADE_UP_PASSAGES = 6_000
MADE_UP_QUESTIONS = 200

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Corpus:
    """`documents` is a BEIR corpus.jsonl, `questions` a queries.jsonl. They are streamed by the processes that are
    measured, so that their memory is their own."""

    name: str
    documents: Path
    questions: Path
    size: int


def read_documents(path: Path) -> Iterator[Json]:
    """Each passage as the hub takes it."""
    for line in _lines(path):
        yield {
            "document_id": line["_id"],
            "content": line["text"],
            "metadata": {"title": line.get("title") or line["_id"], "source": "bench"},
        }


def read_questions(path: Path) -> list[str]:
    return [line["text"] for line in _lines(path)]


def _lines(path: Path) -> Iterator[Json]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def choose(given: Path | None, folder: Path, *, most: int | None) -> Corpus:
    """The corpus named, or the development set if it is there, or a made-up one, put into `folder`. `most` takes only
    its first passages."""
    source = given or (DEVELOPMENT_SET if DEVELOPMENT_SET.exists() else None)
    documents, questions = folder / "corpus.jsonl", folder / "queries.jsonl"
    if source is None:
        size = most or MADE_UP_PASSAGES
        _write(documents, _made_up_passages(size))
        _write(questions, _made_up_questions(size))
        return Corpus("made up", documents, questions, size)
    with source.open(encoding="utf-8") as lines:
        documents.write_text("".join(islice(lines, most)), encoding="utf-8")
    asked = source.with_name("queries.jsonl")
    if asked.exists():
        questions.write_bytes(asked.read_bytes())
    else:
        titles = [line.get("title") or line["_id"] for line in islice(_lines(documents), MADE_UP_QUESTIONS)]
        _write(questions, [{"_id": str(n), "text": f"What is known of {title}?"} for n, title in enumerate(titles)])
    with documents.open(encoding="utf-8") as lines:
        return Corpus(f"{source.parent.name}/{source.name}", documents, questions, sum(1 for _ in lines))


def _write(path: Path, rows: list[Json]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# ---------------------------------------------------------------- the corpus, grown

COMMON_SHARE = 0.005
"""A name in a larger share of the passages is everybody's, such as that of a country, and stays as it is."""
_CAPITALISED = re.compile(r"\b(?=[^\W\d_])\w+")


def grow(source: Path, size: int, target: Path) -> None:
    """Write `size` passages: the corpus, then copies of it in which the rarer names are others. So common words and
    common names come to be as frequent as in a corpus of that size, and rare ones remain rare."""
    passages = list(_lines(source))
    held = Counter(name for passage in passages for name in set(_names(passage)))
    rare = {name for name, count in held.items() if count <= COMMON_SHARE * len(passages)}
    with target.open("w", encoding="utf-8") as file:
        for number in range(size):
            copy, index = divmod(number, len(passages))
            file.write(json.dumps(_copied(passages[index], copy, rare) if copy else passages[index]) + "\n")


def _names(passage: Json) -> Iterator[str]:
    for key in ("title", "text"):
        yield from (word for word in _CAPITALISED.findall(passage.get(key) or "") if word[0].isupper())


def _copied(passage: Json, copy: int, rare: set[str]) -> Json:
    def other(match: re.Match[str]) -> str:
        return match[0] + _word(copy) if match[0] in rare else match[0]

    renamed = {key: _CAPITALISED.sub(other, passage.get(key) or "") for key in ("title", "text")}
    return {"_id": f"{passage['_id']}-{copy}", **renamed}


# ---------------------------------------------------------------- the made-up corpus

_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvw" for vowel in ("a", "e", "i", "o", "u", "an", "er")]
_WORDS = 20_000


def _word(rank: int) -> str:
    """The word of that rank: the more frequent, the shorter."""
    word = ""
    rank += 1
    while rank:
        rank, part = divmod(rank, len(_SYLLABLES))
        word += _SYLLABLES[part]
    return word


def _name(number: int) -> str:
    return f"{_word(number * 7 + 120).title()} {_word(number * 13 + 4_000).title()}"


def _sentence(random_: random.Random, subject: str, names: int) -> str:
    # Ranks fall off as in real text (Zipf's law), so that the index has its few long and many short lists.
    words = [_word(int(random_.paretovariate(0.4)) % _WORDS) for _ in range(random_.randint(6, 18))]
    words.insert(random_.randrange(1, len(words)), f"of {_name(random_.randrange(names))}")
    return f"{subject} {' '.join(words)} in {random_.randint(1700, 2020)}."


def _made_up_passages(size: int) -> list[Json]:
    random_ = random.Random(20_260_101)
    passages = []
    for number in range(size):
        name = _name(number)
        subjects = [name] + ["They" if random_.random() < 0.5 else name for _ in range(random_.randint(1, 6))]
        text = " ".join(_sentence(random_, subject, size) for subject in subjects)
        passages.append({"_id": str(number), "title": name, "text": text})
    return passages


def _made_up_questions(size: int) -> list[Json]:
    random_ = random.Random(20_260_102)
    questions = []
    for number in range(MADE_UP_QUESTIONS):
        first, second = _name(random_.randrange(size)), _name(random_.randrange(size))
        topic = _word(random_.randrange(50, 2_000))
        text = f"What {topic} of {first}?" if number % 2 else f"Who {topic} first, {first} or {second}?"
        questions.append({"_id": str(number), "text": text})
    return questions
