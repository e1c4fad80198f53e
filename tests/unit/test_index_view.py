"""The walk, and the edges that it goes over."""

from __future__ import annotations

import numpy as np
import pytest

from core.index.entities import Edges
from core.index.view import Spread


def some_edges(random: np.random.Generator, count: int) -> Edges:
    return Edges.joined(
        chunk=random.integers(0, 40, count).astype(np.int32),
        entity=random.integers(0, 30, count).astype(np.int32),
        stated=random.integers(0, 4, count).astype(np.float32),
        found=random.integers(0, 4, count).astype(np.float32),
        title=random.random(count) < 0.2,
    )


def rows(edges: Edges) -> list[tuple[float, ...]]:
    arrays = (edges.chunk, edges.entity, edges.stated, edges.found, edges.title)
    return list(zip(*(array.tolist() for array in arrays), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_edges_are_the_same_whether_they_come_at_once_or_in_turns(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = some_edges(random, 60), some_edges(random, int(random.integers(1, 80)))
    largest: dict[tuple[float, ...], tuple[float, ...]] = {}
    for chunk, entity, *counts in [*rows(one), *rows(other)]:
        held = largest.get((chunk, entity), (0, 0, False))
        largest[chunk, entity] = tuple(map(max, held, counts))
    expected = [(*pair, *counts) for pair, counts in sorted(largest.items())]
    assert rows(Edges.none().with_added(one).with_added(other)) == expected
    assert rows(Edges.none().with_added(other).with_added(one)) == expected


@pytest.mark.parametrize("standing", [0, 1, 2, 20, 40])
def test_what_arrives_is_a_matrix_product_wherever_the_walk_stands(standing: int) -> None:
    random = np.random.default_rng(standing)
    edges = some_edges(random, 200)
    share = random.random(len(edges.chunk))
    matrix = np.zeros((40, 30))
    matrix[edges.chunk, edges.entity] = share
    weights = np.zeros(40)
    weights[random.choice(40, standing, replace=False)] = random.random(standing)
    spread = Spread(edges.chunk.astype(np.intp), edges.entity.astype(np.intp), share, 40, 30)
    np.testing.assert_allclose(spread(weights), weights @ matrix, atol=1e-12)
