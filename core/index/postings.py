"""Which chunks hold a word or a phrase of a question, and how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


_UNREAD = Rows(np.empty(0, np.int32), np.empty(0, np.uint16)), 0
"""And what was read up to there."""


class Postings:
    """Reads the lexical index, which hands out what it holds slowly; so what was asked for last is kept. Chunks are
    only ever added, so once there are more, only those are read."""

    def __init__(self, lexical: Lexical) -> None:
        self._lexical = lexical
        self._recent: Recent[Sought, tuple[Rows, int]] = Recent(_REMEMBERED)

    def of(self, sought: Sought) -> Rows:
        held = self._held(sought)
        return self._read([sought])[0] if held is None else held

    def fetch(self, wanted: Iterable[Sought]) -> None:
        """Read ahead what will be asked for: together it costs a fraction of one by one."""
        if missing := [sought for sought in dict.fromkeys(wanted) if self._held(sought) is None]:
            self._read(missing)

    def _held(self, sought: Sought) -> Rows | None:
        """What is kept, if no chunk was added since that may hold what is sought."""
        rows, read = self._recent.get(sought) or _UNREAD
        if read == self._lexical.found:
            return rows
        # Of a single term it is told at once.
        whole = not sought.second and self._lexical.frequency(sought.term, sought.field) == len(rows.positions)
        return rows if whole else None

    def _read(self, wanted: Sequence[Sought]) -> list[Rows]:
        begun = [self._recent.get(sought) or _UNREAD for sought in wanted]
        added = self._lexical.occurrences([(sought, read) for sought, (_, read) in zip(wanted, begun, strict=True)])
        result = []
        for sought, (rows, _), (positions, counts) in zip(wanted, begun, added, strict=True):
            whole = Rows(
                np.concatenate([rows.positions, positions.astype(np.int32)]),
                np.concatenate([rows.counts, np.minimum(counts, _MOST_COUNTED).astype(np.uint16)]),
            )
            self._recent.put(sought, (whole, self._lexical.found), len(whole.positions) + OVERHEAD)
            result.append(whole)
        return result
