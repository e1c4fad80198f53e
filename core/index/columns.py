"""Growing arrays: what the index keeps of thousands of chunks without an object for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_STAGED = 4096


class Column:
    """A one-dimensional array that grows by doubling. `values` is a view: do not keep it over a growth.

    What is added waits in a list until it is looked at, or there is a lot of it: numpy takes many values at the price
    of one.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._buffer: npt.NDArray[Any] = np.zeros(64, dtype)
        self._size = 0
        self._staged: list[float] = []

    def __len__(self) -> int:
        return self._size + len(self._staged)

    @property
    def values(self) -> npt.NDArray[Any]:
        if self._staged:
            self._settle()
        return self._buffer[: self._size]

    def append(self, value: float) -> None:
        self._staged.append(value)
        if len(self._staged) >= _STAGED:
            self._settle()

    def extend(self, values: Iterable[float]) -> None:
        self._staged.extend(values)
        if len(self._staged) >= _STAGED:
            self._settle()

    def extend_array(self, values: npt.NDArray[Any]) -> None:
        """As `extend`, for what is an array already."""
        self._settle()
        self._put(values)

    def _settle(self) -> None:
        staged, self._staged = self._staged, []
        self._put(np.array(staged, self._buffer.dtype))

    def _put(self, added: npt.NDArray[Any]) -> None:
        end = self._size + len(added)
        if end > len(self._buffer):
            grown = np.zeros(max(2 * len(self._buffer), end), self._buffer.dtype)
            grown[: self._size] = self._buffer[: self._size]
            self._buffer = grown
        self._buffer[self._size : end] = added
        self._size = end


class Texts:
    """Strings that are only added, by number: kept as one run of bytes, where an object for each would take thrice as
    much."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        return self._bytes[self._ends[number] : self._ends[number + 1]].decode(errors="surrogatepass")

    def append(self, text: str) -> None:
        self._bytes += text.encode(errors="surrogatepass")
        self._ends.append(len(self._bytes))


def ranges(starts: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The indices `start, start+1, …` of every range, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    indices: npt.NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return indices
