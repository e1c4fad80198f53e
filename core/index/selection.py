"""The highest of many values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_GROUPS = 4
"""For each value that is wanted, so many groups are looked at…"""
_SMALLEST_GROUP = 4
"""…unless these would be smaller than this."""

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


def nth_highest(values: npt.NDArray[Any], nth: int) -> float:
    """The `nth` highest value; there must be so many.

    The values fall into groups, and what the highest ones of so many groups reach leaves few to sort: one pass over all
    values, where sorting takes many."""
    size = len(values) // (_GROUPS * nth)
    if size >= _SMALLEST_GROUP:
        groups = len(values) // size
        highest = values[: groups * size].reshape(size, groups).max(axis=0)
        values = values[values >= np.partition(highest, -nth)[-nth]]
    return float(np.partition(values, -nth)[-nth])


def best(values: Floats, count: int, decimals: int | None = None) -> Positions:
    """The positions of the highest values above nought, highest first, of equals the earlier first. With `decimals`,
    values count as equal that are when rounded to so many."""
    count = min(count, len(values))
    if not count:
        return np.empty(0, np.int64)
    floor = nth_highest(values, count)
    if decimals is not None:
        floor -= 10.0**-decimals
    likely = np.flatnonzero((values >= floor) & (values > 0))
    found = values[likely] if decimals is None else np.round(values[likely], decimals)
    order = np.lexsort((likely, -found))[: min(count, np.count_nonzero(found > 0))]
    return likely[order]
