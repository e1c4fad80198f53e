"""The `filesystem` connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.filesystem.checkpoint import FilesystemCheckpoint, State
from connectors.filesystem.client import File, Listing, Tree
from connectors.filesystem.config import FilesystemConfig
from connectors.filesystem.mapping import change_of
from hub.sdk import Batch, Change, Connector, ConnectorSpec, Context, Delete, Health, NotReady, Upsert, Window, hookimpl

BATCH_CHARS = 4 * 1024 * 1024
"""A batch holds no more text than this and one document."""
SAVE_EVERY = 500
"""Files between two checkpoints of a long scan, or a quarter of all, whichever is more: a checkpoint tells of every
file, so writing it often would cost more than reading some files again after a crash."""
EMPTY_MATTERS = 10
"""Known files from which on an empty root, or a large part that is gone, is taken for one that is not mounted."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that reading gave: a change, or the end of a file."""

    file: File
    change: Change | None = None
    whole: bool = True
    """At the end of a file: everything in it could be read."""


class Account:
    """Keeps the state up to date as files are read; a file may be spread over several pages."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._file: File | None = None
        self._ids: set[str] = set()
        """What the file at hand has given so far."""

    def note(self, page: Iterable[Step]) -> int:
        """The number of files that ended on this page."""
        ended = 0
        for step in page:
            if step.file is not self._file:
                self._file, self._ids = step.file, set()
            if isinstance(step.change, Upsert):
                self._ids.add(step.change.document_id)
            if step.change is None:
                ids = self._ids if step.file.holds_records else None
                self._state.read(step.file.key, step.file.signature, ids, whole=step.whole)
                ended += 1
        return ended


class Filesystem:
    """Pulls what was added, edited or removed since the last scan, and lists what is there."""

    def __init__(self, config: FilesystemConfig, context: Context) -> None:
        self._tree = Tree(config)
        self._prefix = f"{context.name}/" if config.prefix is None else config.prefix
        self._context = context

    async def check(self) -> Health:
        health: Health = await self._context.run_blocking(self._tree.check)
        return health

    async def aclose(self) -> None:
        """Holds nothing open."""

    async def pull(
        self, since: FilesystemCheckpoint | None, window: Window
    ) -> AsyncIterator[Batch[FilesystemCheckpoint]]:
        """Raises NotReady when a root is not there, has become empty, or misses more than the hub lets one pull take
        for gone; then what was added and edited is read all the same."""
        run = self._context.run_blocking
        state: State = await run(State.unpack, since, self._prefix)
        known = len(state.files)
        listing = await self._scan(known)
        changed = [file for key, file in listing.files.items() if not _known(state, file, key)]
        steps = self._read(changed)
        account = Account(state)
        unsaved = 0
        while page := await run(_page, steps, window.page_size):
            unsaved += account.note(page)
            save = unsaved >= max(SAVE_EVERY, len(state.files) // 4)
            yield Batch([step.change for step in page if step.change], await run(state.pack) if save else None)
            unsaved = 0 if save else unsaved
        gone = [key for key in state.files if key not in listing.files and not listing.hides(key)]
        if len(gone) >= EMPTY_MATTERS and len(gone) > window.prune_limit * known:
            raise NotReady(
                f"{len(gone)} of {known} files are gone, more than prune_limit ({window.prune_limit:.0%}): is all"
                " of it mounted? Run with force to delete their documents"
            )
        state.remove(gone)
        departed = state.departed()
        final: FilesystemCheckpoint = await run(state.pack)
        if final != since:
            yield Batch([Delete(document_id) for document_id in departed], final)

    async def list_ids(self) -> AsyncIterator[str]:
        """Raises NotReady when not everything can be seen."""
        listing = await self._scan(0)
        if listing.unreadable:
            raise NotReady(f"{listing.unreadable[0]} cannot be read, so the listing is not complete")
        for file in listing.files.values():
            if not file.holds_records:
                yield self._prefix + file.key
                continue
            steps = self._read([file])
            while page := await self._context.run_blocking(_page, steps, 1000):
                for step in page:
                    if isinstance(step.change, Upsert):
                        yield step.change.document_id
                    elif not step.whole:
                        raise NotReady(f"{file.key} cannot be read as a whole, so the listing is not complete")

    async def _scan(self, known: int) -> Listing:
        listing: Listing = await self._context.run_blocking(self._tree.scan)
        if listing.empty and known >= EMPTY_MATTERS:
            raise NotReady(f"the folder is empty, though {known} files were there: is it mounted?")
        if listing.unreadable:
            self._context.log.warning(
                "folders not readable", folders=listing.unreadable[:10], number=len(listing.unreadable)
            )
        return listing

    def _read(self, files: Iterable[File]) -> Iterator[Step]:
        """Blocking: the files' documents, each file followed by its end."""
        for file in files:
            document_id = self._prefix + file.key
            whole = True
            for record in self._tree.read(file, document_id):
                if record.fields is None and not Path(file.path).exists():
                    break  # it went while it was read; the next scan misses it
                change = change_of(record, file, document_id)
                whole = whole and isinstance(change, Upsert)
                yield Step(file, change)
            else:
                yield Step(file, whole=whole)


def _known(state: State, file: File, key: str) -> bool:
    known = state.files.get(key)
    return known is not None and known.signature == file.signature


def _page(steps: Iterator[Step], size: int) -> list[Step]:
    """Blocking: the next steps, with at most `size` changes and not much more than `BATCH_CHARS` of text."""
    page: list[Step] = []
    changes = chars = 0
    for step in steps:
        page.append(step)
        if step.change is not None:
            changes += 1
            chars += len(step.change.document.content) if isinstance(step.change, Upsert) else 0
        if changes >= size or chars >= BATCH_CHARS or len(page) >= 4 * size:
            break
    return page


@hookimpl
def hub_connectors() -> Iterable[ConnectorSpec]:
    yield ConnectorSpec(
        kind="filesystem",
        summary="Reads Markdown, HTML, text and NDJSON files below a folder, and follows edits, renames and removals.",
        config=FilesystemConfig,
        checkpoint=FilesystemCheckpoint,
        create=create,
    )


def create(config: FilesystemConfig, context: Context) -> Connector:
    return Filesystem(config, context)
