"""Which chunks hold a word or a phrase of a question, and how often."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from core.index.lexical import Lexical, Sought
from core.index.recent import Recent

_REMEMBERED = 2_000_000
"""Rows that are kept, at six bytes each."""
OVERHEAD = 64
"""What keeping no row at all costs, in rows."""
_MOST_COUNTED = 65_535


class Rows(NamedTuple):
    """Chunk positions, ascending, and how often what is sought stands in each; shape (n,)."""

    positions: npt.NDArray[np.int32]
    counts: npt.NDArray[np.uint16]


class Postings:
    """Reads the lexical index, which hands out what it holds slowly; so what was asked for last is kept. Chunks are
    only ever added, so once there are more, only those are read."""

    def __init__(self, lexical: Lexical) -> None:
        self._lexical = lexical
        self._recent: Recent[Sought, tuple[Rows, int]] = Recent(_REMEMBERED)

    def of(self, sought: Sought) -> Rows:
        held, read = self._recent.get(sought) or (None, 0)
        if held is not None and (read == self._lexical.found or self._is_whole(sought, held)):
            return held
        positions, counts = self._lexical.occurrences(sought, read)
        rows = Rows(positions.astype(np.int32), np.minimum(counts, _MOST_COUNTED).astype(np.uint16))
        if held is not None:
            rows = Rows(np.concatenate([held.positions, rows.positions]), np.concatenate([held.counts, rows.counts]))
        self._recent.put(sought, (rows, self._lexical.found), len(rows.positions) + OVERHEAD)
        return rows

    def _is_whole(self, sought: Sought, rows: Rows) -> bool:
        """Whether no chunk was added that holds the term: which is told at once."""
        return not sought.second and self._lexical.frequency(sought.term, sought.field) == len(rows.positions)
