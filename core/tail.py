"""The newest stretch of the log, kept in memory for who follows closely."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from core.model import LogEntry

MAX_CHARS = 32 * 1024 * 1024


class Tail:
    """Entries without a gap: the newest that this process wrote. A follower further behind, or past what another
    process wrote since, reads the store, which tells the same."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._entries: deque[LogEntry] = deque()
        self._chars = 0
        self._max_chars = max_chars

    def extend(self, entries: Iterable[LogEntry]) -> None:
        for entry in entries:
            if self._entries and entry.version != self._entries[-1].version + 1:
                self.drop(self._entries[-1].version)
            self._entries.append(entry)
            self._chars += _chars(entry)
        while self._entries and self._chars > self._max_chars:
            self._chars -= _chars(self._entries.popleft())

    def after(self, version: int, limit: int) -> list[LogEntry]:
        """The entries that follow `version`, or none when they are not all here."""
        if not self._entries:
            return []
        skip = version + 1 - self._entries[0].version
        return list(islice(self._entries, skip, skip + limit)) if skip >= 0 else []

    @property
    def has_room(self) -> bool:
        """Whether it is less than half full, so that who follows loses nothing by waiting."""
        return self._chars < self._max_chars // 2

    def drop(self, upto: int) -> None:
        """Forget what every follower has."""
        while self._entries and self._entries[0].version <= upto:
            self._chars -= _chars(self._entries.popleft())


def _chars(entry: LogEntry) -> int:
    return sum(len(chunk.text) + 100 * len(chunk.named.ids) for chunk in entry.chunks) + 500
