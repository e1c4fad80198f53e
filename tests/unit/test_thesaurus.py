"""Words that may stand for one another."""

from __future__ import annotations

import tracemalloc

import pytest

from core.analysis.stems import stems
from core.index.thesaurus import Thesaurus
from core.index.vectors import embedding_table


@pytest.fixture(scope="module")
def words() -> list[str]:
    """More than are looked up together, each with a stem of its own."""
    some = embedding_table().whole_words()[0][::7]
    return list({tuple(stems(word)): word for word in some}.values())


def test_words_alike_are_found_and_the_word_itself_is_not() -> None:
    likes = dict(Thesaurus(embedding_table()).alike("physician")["physician"])
    assert "doctor" in likes
    assert "physician" not in likes
    assert all(0.5 < likeness <= 1 for likeness in likes.values())


def test_what_is_like_a_word_does_not_depend_on_what_else_is_looked_up(words: list[str]) -> None:
    together = Thesaurus(embedding_table()).alike(" ".join(words))
    assert len(together) > 1000
    for word in words[::50]:
        for stem, likes in Thesaurus(embedding_table()).alike(word).items():
            assert together[stem] == likes


def test_many_words_take_no_more_memory_than_some(words: list[str]) -> None:
    thesaurus = Thesaurus(embedding_table())
    thesaurus.load()
    tracemalloc.start()
    thesaurus.alike(" ".join(words))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000, "the product of all of them takes 60 MB"
