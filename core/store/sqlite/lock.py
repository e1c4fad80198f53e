"""One process at a time on the embedded store.

The lock is an advisory `flock` on `STORE.lock`, so the kernel frees it whatever way its holder ends. The file says who
holds it: its process id and, once it serves HTTP, its address and a token made for this run, by which a command on the
same machine speaks to it. The file is readable by its owner only, like the store itself.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import StoreFull, StoreLocked, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the store open."""

    pid: int
    url: str | None = None
    token: str | None = field(default=None, repr=False)


def lock_path(store: Path) -> Path:
    return store.with_name(store.name + ".lock")


def read_holder(store: Path) -> Holder | None:
    """What the lock file beside this store says, whether or not its writer still lives; None when it says nothing."""
    try:
        raw = json.loads(lock_path(store).read_bytes())
        return Holder(pid=int(raw["pid"]), url=raw.get("url"), token=raw.get("token"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class StoreLock:
    """Held from `acquire` to `release`."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises StoreLocked naming the holder, or StoreUnavailable when the lock file cannot be made."""
        try:
            fd = os.open(lock_path(self._store), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self._store}: cannot be locked: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise self._locked() from error
        self._fd = fd
        try:
            self._write(Holder(pid=os.getpid()))
        except BaseException:
            self.release()
            raise

    def announce(self, url: str, token: str) -> None:
        """Say where the holder answers HTTP."""
        self._write(Holder(pid=os.getpid(), url=url, token=token))

    def release(self) -> None:
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def _write(self, holder: Holder) -> None:
        if self._fd is None:
            return
        text = json.dumps({"pid": holder.pid, "url": holder.url, "token": holder.token}).encode()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text, 0)
        except OSError as error:
            kind = StoreFull if error.errno == errno.ENOSPC else StoreUnavailable
            raise kind(f"{lock_path(self._store)}: cannot be written: {error.strerror}") from error

    def _locked(self) -> StoreLocked:
        holder = read_holder(self._store)
        if holder is None:
            return StoreLocked(f"{self._store} is open in another process")
        serving = f", which serves {holder.url}" if holder.url else ""
        return StoreLocked(
            f"{self._store} is open in process {holder.pid}{serving}; stop it, or use another store",
            holder=holder.pid,
            url=holder.url,
        )
