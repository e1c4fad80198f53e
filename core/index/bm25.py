"""BM25, as tantivy computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

K1 = 1.2
B = 0.75
"""Both are tantivy's, and cannot be changed."""

Floats = npt.NDArray[np.float64]


def _norms() -> npt.NDArray[np.int64]:
    """The 256 lengths that tantivy (and Lucene, in SmallFloat.byte4ToInt) tells apart, ascending: exact up to 40, then
    with three bits behind the leading one."""
    exact = np.arange(24)
    codes = np.arange(256 - 24)
    shifts = np.maximum((codes >> 3) - 1, 0)
    return np.concatenate([exact, 24 + np.where(codes < 8, codes, ((codes & 7) | 8) << shifts)])


_NORMS = _norms()


def damping(lengths: npt.NDArray[Any], mean: float) -> Floats:
    """BM25's K of chunks of these lengths: how many occurrences of a word make half of the most that it can score."""
    lengths_apart, which = np.arange(int(lengths.max(initial=0)) + 1), lengths
    if len(lengths_apart) > len(lengths):
        lengths_apart, which = np.unique(lengths, return_inverse=True)
    rounded = _NORMS[np.searchsorted(_NORMS, lengths_apart, side="right") - 1]
    found: Floats = (K1 * (1 - B + B * rounded / (mean or 1.0)))[which]
    return found


def idf(chunks: int, holding: int) -> float:
    """The inverse document frequency of a word that so many of the chunks hold."""
    return float(np.log1p((chunks - holding + 0.5) / (holding + 0.5)))
