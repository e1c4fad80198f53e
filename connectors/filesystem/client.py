"""The file system as the connector sees it. Everything here blocks: it runs in a thread."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from connectors.filesystem.config import FilesystemConfig
from connectors.filesystem.patterns import Patterns
from hub.sdk import Health, NotReady
from hub.sdk.files import CONTENT_TYPES, RECORDS, FileRecord, read_documents

READABLE = CONTENT_TYPES.keys() | RECORDS
UNSETTLED_NS = 1_000_000_000
"""A file changed so recently may change again within one tick of the file system's clock, so it is read once more."""
_ESCAPED = re.compile(r"%(?=[0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class File:
    """One file as a scan found it."""

    key: str
    """Its path below the root, with forward slashes and only characters that an id may hold."""
    path: str
    signature: str
    """Another one means that it may have changed."""
    mtime: float

    @property
    def holds_records(self) -> bool:
        return _suffix(self.key) in RECORDS


@dataclass(slots=True)
class Listing:
    """What a scan found. What lies in `unreadable` folders is unknown, not gone."""

    files: dict[str, File] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    """Keys of folders."""
    empty: bool = True
    """There is nothing at all in any root."""

    def hides(self, key: str) -> bool:
        return any(key.startswith(f"{folder}/") for folder in self.unreadable)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder still to be looked into."""

    path: str
    below: str
    """Its path from the root, which patterns are matched against: empty, or with a slash at its end."""
    above: frozenset[tuple[int, int]]
    """The folders that it is in, by device and inode."""


class Tree:
    """The files below the configured roots."""

    def __init__(self, config: FilesystemConfig) -> None:
        self._roots = config.roots()
        self._include = Patterns(config.include)
        self._exclude = Patterns(config.exclude)
        self._follow = config.follow_symlinks
        self._max_bytes = config.max_bytes

    def check(self) -> Health:
        for root in self._roots:
            try:
                if root.is_dir():
                    with os.scandir(root):
                        pass
                else:
                    root.stat()
            except OSError as error:
                return Health(ok=False, detail=f"{root}: {error.strerror}")
        return Health(ok=True, detail=", ".join(map(str, self._roots)))

    def scan(self) -> Listing:
        """Every file that is meant, without reading any. Raises NotReady for a root that is not there."""
        listing = Listing()
        now = time.time_ns()
        for root in self._roots:
            prefix = f"{key_of(root.name)}/" if len(self._roots) > 1 else ""
            try:
                if root.is_dir():
                    with os.scandir(root) as entries:
                        listing.empty &= next(entries, None) is None
                    self._scan_folder(str(root), prefix, listing, now)
                else:
                    self._add(str(root), key_of(root.name), root.stat(), listing, now)
                    listing.empty = False
            except OSError as error:
                raise NotReady(f"{root}: {error.strerror}") from None
        return listing

    def read(self, file: File, document_id: str) -> Iterator[FileRecord]:
        """Its documents, not validated yet; a record with an error for what cannot be read."""
        return read_documents(Path(file.path), document_id, max_content_bytes=self._max_bytes)

    def _scan_folder(self, root: str, prefix: str, listing: Listing, now: int) -> None:
        """Walks with a list, not by recursion: folders may be nested deep."""
        waiting: list[_Folder] = [_Folder(root, "", frozenset())]
        while waiting:
            folder = waiting.pop()
            try:
                identity = _identity(folder.path)
                with os.scandir(folder.path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue  # it went while we looked, and its files with it
            except OSError:
                if not folder.below:
                    raise
                listing.unreadable.append(prefix + folder.below.rstrip("/"))
                continue
            if identity in folder.above:
                continue  # a link leads in a circle
            for entry in entries:
                path = folder.below + key_of(entry.name)
                if self._exclude.match(path) or (entry.is_symlink() and not self._follow):
                    continue
                try:
                    if entry.is_dir():
                        waiting.append(_Folder(entry.path, f"{path}/", folder.above | {identity}))
                    elif self._include.match(path):
                        self._add(entry.path, prefix + path, entry.stat(), listing, now)
                except OSError:
                    continue  # a link to nowhere, or it went while we looked

    def _add(self, path: str, key: str, status: os.stat_result, listing: Listing, now: int) -> None:
        if stat.S_ISREG(status.st_mode) and _suffix(key) in READABLE:
            listing.files[key] = File(key, path, _signature(status, now), status.st_mtime)


def _signature(status: os.stat_result, now: int) -> str:
    """From what changes when a file does. The change time (ctime) is there for edits that keep size and mtime."""
    unsettled = now - max(status.st_mtime_ns, status.st_ctime_ns) < UNSETTLED_NS
    facts = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest() + ("?" if unsettled else "")


def _suffix(key: str) -> str:
    return PurePosixPath(key).suffix.lower()


def _identity(folder: str) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def key_of(name: str) -> str:
    """A file name as part of an id. Bytes that are not UTF-8 and control characters are percent-encoded; a percent sign
    is too where it would read as such an encoding, so that two names never become one."""
    return storable(_ESCAPED.sub("%25", name))


def storable(name: str) -> str:
    """A file name without what cannot be stored: control characters, and bytes that are not UTF-8."""
    if name.isprintable():
        return name
    return "".join(_encoded(char) if unicodedata.category(char) in ("Cc", "Cs") else char for char in name)


def _encoded(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(char))
