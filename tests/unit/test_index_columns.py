"""What the index keeps its numbers and texts in, and how it picks the highest of many."""

from __future__ import annotations

import numpy as np
import pytest

from core.index.columns import Texts
from core.index.selection import best, nth_highest


def test_texts_are_handed_out_as_they_were_added() -> None:
    texts = Texts()
    added = ["Zürich", "", "東京", "a", "\ud800 alone", "Ada Lovelace"]
    for text in added:
        texts.append(text)
    assert [texts[number] for number in range(len(texts))] == added


@pytest.mark.parametrize("size", [1, 7, 100, 5_000])
@pytest.mark.parametrize("values", [3, 1_000_000])
def test_the_nth_highest_is_that_of_a_sorted_list_however_many_are_equal(size: int, values: int) -> None:
    numbers = np.random.default_rng(size).integers(0, values, size).astype(np.float64)
    for nth in {1, 2, 20, size} & set(range(1, size + 1)):
        assert nth_highest(numbers, nth) == sorted(numbers, reverse=True)[nth - 1]


@pytest.mark.parametrize("size", [0, 1, 7, 100, 5_000])
def test_the_best_come_first_of_equals_the_earlier_and_nought_is_none_of_them(size: int) -> None:
    numbers = np.random.default_rng(size).integers(0, 30, size) / 10
    for count in (1, 3, 20, 1_000):
        expected = sorted(np.flatnonzero(numbers).tolist(), key=lambda at: (-numbers[at], at))[:count]
        assert best(numbers, count).tolist() == expected


def test_what_is_equal_when_rounded_counts_as_equal() -> None:
    values = np.zeros(5_000)
    values[[7, 1_234, 4_000]] = 0.500001, 0.500002, 0.50002
    assert best(values, 2).tolist() == [4_000, 1_234]
    assert best(values, 2, decimals=5).tolist() == [4_000, 7]
