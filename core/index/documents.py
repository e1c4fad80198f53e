"""Document versions, when and by whom they may be seen, and which chunks they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.index.columns import Column, Texts, ranges
from core.index.facets import Filters, dated, facets
from core.model import StoredDocument, Viewer

Mask = npt.NDArray[np.bool_]
_STILL = 2**62
"""The end of an interval that is still open."""


class Documents:
    """One row for each document version. Rows are only added; an update or delete closes the interval of the one
    before."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._open: dict[str, int] = {}
        """The row of each document's current version."""
        self._v_from = Column(np.int64)
        self._v_to = Column(np.int64)
        self.date = Column(np.float64)
        """In seconds; NaN for none."""
        self._access = Column(np.int32)
        self._accesses: dict[tuple[str, ...] | None, int] = {}
        self.title = Column(np.int32)
        """The entity of the title; -1 for none."""
        self._titles = Texts()
        """As written; empty for none."""
        self._facet = Column(np.int64)
        self._facet_row = Column(np.int32)
        self._first = Column(np.int64)
        self._length = Column(np.int64)
        self._chunks = Column(np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    def close(self, document_id: str, version: int) -> list[int]:
        """The current version, if there is one, is seen up to `version` and no more; the chunks that it held."""
        row = self._open.pop(document_id, None)
        if row is None:
            return []
        self._v_to.values[row] = version
        first = self._first.values[row]
        held: list[int] = self._chunks.values[first : first + self._length.values[row]].tolist()
        return held

    def add(self, document: StoredDocument, title: int, chunks: Sequence[int]) -> None:
        """A new current version; `chunks` are positions, `title` an entity's or -1."""
        metadata = document.metadata
        row = len(self.ids)
        self.ids.append(document.document_id)
        self._v_from.append(document.v_from)
        # A version that a later one has replaced is closed by that one's entry, or by the version's own end where the
        # store has kept no entry for it.
        self._v_to.append(_STILL if document.v_to is None else document.v_to)
        moment = dated(metadata)
        self.date.append(math.nan if moment is None else moment.timestamp())
        self._access.append(self._accesses.setdefault(metadata.access, len(self._accesses)))
        self.title.append(title)
        self._titles.append(metadata.title or "")
        held = list(facets(document.document_id, metadata))
        self._facet.extend(held)
        self._facet_row.extend([row] * len(held))
        self._first.append(len(self._chunks))
        self._length.append(len(chunks))
        self._chunks.extend(chunks)
        self._open[document.document_id] = row

    def visible(self, as_of: int, viewer: Viewer, filters: Filters) -> npt.NDArray[np.int64]:
        """The rows to be seen."""
        mask: Mask = (self._v_from.values <= as_of) & (as_of < self._v_to.values)
        allowed = np.array([viewer.may_see(access) for access in self._accesses], np.bool_)
        if not allowed.all():
            mask &= allowed[self._access.values]
        if viewer.principals is not None:
            self._hide_withdrawn(mask, allowed)
        if filters.since is not None:
            mask &= self.date.values >= filters.since.timestamp()
        if filters.until is not None:
            mask &= self.date.values <= filters.until.timestamp()
        for group in filters.groups:
            named: Mask = np.isin(self._facet.values, np.fromiter(group, np.int64, len(group)))
            matching = np.zeros(len(self), np.bool_)
            matching[self._facet_row.values[named]] = True
            mask &= matching
        return np.flatnonzero(mask)

    def _hide_withdrawn(self, mask: Mask, allowed: Mask) -> None:
        """Access that was tightened holds for the past, too; of a document that is gone only the operator sees any."""
        for row in np.flatnonzero(mask & (self._v_to.values != _STILL)).tolist():
            current = self._open.get(self.ids[row])
            still = current is not None and self._v_to.values[current] == _STILL
            mask[row] = still and allowed[self._access.values[current]]

    def written_title(self, row: int) -> str | None:
        return self._titles[row] or None

    def titles_of(self, entity: int, row: npt.NDArray[np.int32]) -> Iterator[str]:
        """Titles that name this entity, of documents among `row`, which is what `row_of_chunks` gave."""
        for each in np.intersect1d(np.flatnonzero(self.title.values == entity), row).tolist():
            if title := self._titles[each]:
                yield title

    def row_of_chunks(self, rows: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int32]:
        """For each of `total` chunk positions the row among `rows` that holds it, or -1. Of one document at most one
        version is visible, so a chunk has one row."""
        result = np.full(total, -1, np.int32)
        lengths: npt.NDArray[Any] = self._length.values[rows]
        held = self._chunks.values[ranges(self._first.values[rows], lengths)]
        result[held] = np.repeat(rows.astype(np.int32), lengths)
        return result
