"""Growing arrays: what the index keeps of thousands of chunks without an object for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Column:
    """A one-dimensional array that grows by doubling. `values` is a view: do not keep it over a growth."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._buffer: npt.NDArray[Any] = np.zeros(64, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> npt.NDArray[Any]:
        return self._buffer[: self._size]

    def append(self, value: float) -> None:
        if self._size == len(self._buffer):
            self._reserve(1)
        self._buffer[self._size] = value
        self._size += 1

    def extend(self, values: npt.ArrayLike) -> None:
        added = np.asarray(values, self._buffer.dtype)
        self._reserve(len(added))
        self._buffer[self._size : self._size + len(added)] = added
        self._size += len(added)

    def _reserve(self, more: int) -> None:
        if self._size + more > len(self._buffer):
            grown = np.zeros(max(2 * len(self._buffer), self._size + more), self._buffer.dtype)
            grown[: self._size] = self.values
            self._buffer = grown


def ranges(starts: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The indices `start, start+1, …` of every range, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    indices: npt.NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return indices
