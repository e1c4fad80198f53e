"""Which chunks hold a word or a phrase of a question, and how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from core.index.lexical import Lexical, Rows, Sought
from core.index.recent import Recent

_REMEMBERED = 2_000_000
"""Rows that are kept, at six bytes each."""
OVERHEAD = 64
"""What keeping no row at all costs, in rows."""


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
        kept = self._recent.get(sought)
        if kept is None:
            return None
        rows, read = kept
        if read == self._lexical.found:
            return rows
        # Of a single term it is told at once.
        whole = not sought.second and self._lexical.frequency(sought.term, sought.field) == len(rows.positions)
        return rows if whole else None

    def _read(self, wanted: Sequence[Sought]) -> list[Rows]:
        kept = [self._recent.get(sought) for sought in wanted]
        begun = [0 if each is None else each[1] for each in kept]
        found = self._lexical.occurrences(list(zip(wanted, begun, strict=True)))
        for place, (sought, held) in enumerate(zip(wanted, kept, strict=True)):
            if held is not None:
                before, added = held[0], found[place]
                found[place] = Rows(
                    np.concatenate([before.positions, added.positions]), np.concatenate([before.counts, added.counts])
                )
            self._recent.put(sought, (found[place], self._lexical.found), len(found[place].positions) + OVERHEAD)
        return found
