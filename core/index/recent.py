"""What was asked for last, kept within bounds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, each of some size: those that were asked for last, as many as come to `most` together. One that is
    larger is kept alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._held: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        held = self._held.get(key)
        if held is None:
            return None
        self._held.move_to_end(key)
        return held[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """In place of the one that was held, if one was."""
        if key in self._held:
            self._size -= self._held.pop(key)[1]
        self._size += size
        while self._held and self._size > self._most:
            self._size -= self._held.popitem(last=False)[1][1]
        self._held[key] = value, size
