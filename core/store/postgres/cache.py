"""Where a process keeps its index of a shared store: in the user's cache, a folder for each process at a time.

The index is a view, and is checked against the log when it is taken over: any folder of the store will do.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import structlog

PROCESSES = 64

log = structlog.stdlib.get_logger(__name__)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/aime`, or `~/.cache/aime`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "aime"


class IndexFolder:
    """Held from `acquire` to `release`."""

    def __init__(self) -> None:
        self._fd: int | None = None

    def acquire(self, store_id: str) -> Path | None:
        """The first folder of this store that no process holds; None where none can be made."""
        try:
            base = cache_folder()
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
            for number in range(PROCESSES):
                fd = os.open(base / f"{store_id}-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(fd)
                    continue
                self._fd = fd
                return base / f"{store_id}-{number}"
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
            log.warning("the index is kept in memory, and made anew at each start", reason=str(error))
        return None

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
