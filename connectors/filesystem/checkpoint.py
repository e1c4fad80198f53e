"""What is known of the files from the last scan."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from pydantic import BaseModel, ConfigDict


class FilesystemCheckpoint(BaseModel):
    """The files that are read, packed: a few bytes for each, so that a large tree can be remembered whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: int
    packed: str
    """Base64 of the zlib-compressed JSON of a `State`."""


@dataclass(frozen=True, slots=True)
class Known:
    """A file that has been read."""

    signature: str
    ids: tuple[str, ...] | None = None
    """The documents of its lines; None for a file that is one document, whose id is the prefix and the key."""


@dataclass(slots=True)
class State:
    """Which files are read, and which documents may have to go."""

    prefix: str
    files: dict[str, Known] = field(default_factory=dict)
    """By key."""
    leaving: set[str] = field(default_factory=set)
    """Documents that a file no longer gives. They are deleted at the end of the scan, unless another file gives them
    by then: a line may move from one file to the next."""

    @classmethod
    def unpack(cls, checkpoint: FilesystemCheckpoint | None, prefix: str) -> Self:
        """As it was, brought over to this prefix: documents with another one leave, and their files are read anew."""
        if checkpoint is None:
            return cls(prefix)
        raw = json.loads(zlib.decompress(base64.b64decode(checkpoint.packed)))
        files = {
            key: Known(signature, None if ids is None else tuple(ids)) for key, (signature, ids) in raw["files"].items()
        }
        state = cls(raw["prefix"], files, set(raw["leaving"]))
        if state.prefix != prefix:
            for key, known in list(files.items()):
                if known.ids is None:
                    state.leaving.add(state.prefix + key)
                    del files[key]
            state.prefix = prefix
        return state

    def pack(self) -> FilesystemCheckpoint:
        files = {key: (known.signature, known.ids) for key, known in self.files.items()}
        raw = json.dumps({"prefix": self.prefix, "files": files, "leaving": sorted(self.leaving)}, sort_keys=True)
        packed = base64.b64encode(zlib.compress(raw.encode(), 6)).decode()
        return FilesystemCheckpoint(files=len(files), packed=packed)

    def read(self, key: str, signature: str, ids: Collection[str] | None, *, whole: bool) -> None:
        """A file has been read. What it gave before and does not give now leaves, if it could be read as a whole."""
        before = self.files.get(key)
        given = None if ids is None else set(ids)
        if given is not None and before is not None and before.ids is not None:
            missing = set(before.ids) - given
            if whole:
                self.leaving |= missing
            else:
                given |= missing
        self.files[key] = Known(signature, None if given is None else tuple(sorted(given)))

    def remove(self, keys: Iterable[str]) -> None:
        """Files that are gone."""
        for key in keys:
            known = self.files.pop(key)
            self.leaving |= {self.prefix + key} if known.ids is None else set(known.ids)

    def departed(self) -> list[str]:
        """What leaves and is given by no file, in order. Ends the scan's account."""
        given = {id_ for known in self.files.values() for id_ in known.ids or ()}
        gone = sorted(
            id_
            for id_ in self.leaving
            if id_ not in given and not (id_.startswith(self.prefix) and self._is_text(id_.removeprefix(self.prefix)))
        )
        self.leaving.clear()
        return gone

    def _is_text(self, key: str) -> bool:
        known = self.files.get(key)
        return known is not None and known.ids is None
