"""The way of files into the graph: found, read, handed over, and told what became of each."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import ConfigError, Forbidden
from core.model import Problem, ProcessResult, Status
from hub.cli.opening import open_target
from hub.cli.options import Place
from hub.cli.output import warn
from hub.cli.target import Target
from hub.sdk.files import RECORDS, FileRecord, find_files, read_documents

Files = list[tuple[Path, str]]
"""Paths, each with the id that its text has as a document."""

AHEAD_DOCUMENTS = 64
AHEAD_CHARS = 1024 * 1024
"""What is read from files in one turn of a thread: so many documents, or so much text."""


@dataclass(slots=True)
class Tally:
    """What became of the documents."""

    counts: Counter[Status] = field(default_factory=Counter)
    graph_version: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, result: ProcessResult) -> None:
        self.counts[result.status] += 1
        self.graph_version = max(self.graph_version, result.graph_version)

    def as_json(self) -> dict[str, Any]:
        named = (Status.PROCESSED, Status.UNCHANGED, Status.REJECTED)
        return {
            "documents": self.counts.total(),
            **{status.value: self.counts[status] for status in named},
            "graph_version": self.graph_version,
            "seconds": round(time.monotonic() - self.started, 3),
        }


def named_files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Every file with the id that it has as a document: `docs/a.md` for a.md in the folder /anywhere/docs."""
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} is not there")
        name = Path(path.resolve().name)
        try:
            for file in find_files(path):
                yield file, (name / file.relative_to(path)).as_posix() if path.is_dir() else file.name
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from None


Defaults = Mapping[str, str | None]
"""Metadata of documents that say nothing else; None says nothing."""


async def intake(place: Place, files: Files, defaults: Defaults) -> dict[str, Any]:
    """Feed the files to what `place` names; names each document that was rejected on stderr, and counts the others."""
    tally = Tally()
    # Where each document that is on its way was found: results come in the same order.
    places: deque[str] = deque()
    with progress_of(files) as progress:
        task = progress.add_task("documents", total=count_documents(files) if progress.live.is_started else None)
        async with (
            open_target(place, create=True) as target,
            aclosing(records_of(files, defaults, place.max_content_bytes)) as records,
        ):
            documents = _documents(records, places, target, tally)
            async with aclosing(target.ingest(documents)) as results:
                async for result in results:
                    # A batch that breaks off ends with a result for no document at all.
                    where = places.popleft() if places else "the batch"
                    tally.add(result)
                    progress.update(task, completed=tally.counts.total())
                    if result.error is not None:
                        warn(f"{where}: {_reason(result.document_id, result.error)}")
            tally.graph_version = max(tally.graph_version, await _version(target))
    return tally.as_json()


async def _version(target: Target) -> int:
    """Where the graph stands; 0 for a key that may write and not read, which knows no more than its results."""
    try:
        return await target.head()
    except Forbidden:
        return 0


def _reason(document_id: str | None, problem: Problem) -> str:
    named = f"document {document_id}: " if document_id else ""
    return f"{named}{problem.field}: {problem.message}" if problem.field else f"{named}{problem.message}"


async def _documents(
    records: AsyncIterable[FileRecord], places: deque[str], target: Target, tally: Tally
) -> AsyncIterator[dict[str, Any]]:
    """What the files hold, less what could not be read: that is refused here and now."""
    async for record in records:
        if record.error is not None:
            warn(f"{record.where}: {record.error}")
            tally.add(await target.refuse(record.where, record.error))
        elif record.fields is not None:
            places.append(record.where)
            yield record.fields


async def records_of(files: Files, defaults: Defaults, max_bytes: int) -> AsyncGenerator[FileRecord, None]:
    """What the files hold, not validated yet. Read in a thread, a few at a time."""
    found = (record for file, name in files for record in read_documents(file, name, max_content_bytes=max_bytes))
    while batch := await asyncio.to_thread(_next_batch, found):
        for record in batch:
            if record.fields is not None:
                _complete(record.fields, defaults)
            yield record


def _next_batch(found: Iterator[FileRecord]) -> list[FileRecord]:
    batch: list[FileRecord] = []
    held = 0
    for record in found:
        batch.append(record)
        held += len(str(record.fields["content"])) if record.fields and "content" in record.fields else 0
        if len(batch) == AHEAD_DOCUMENTS or held >= AHEAD_CHARS:
            break
    return batch


def _complete(fields: dict[str, Any], defaults: Defaults) -> None:
    metadata = fields.setdefault("metadata", {})
    if isinstance(metadata, dict):
        for key, value in defaults.items():
            if value is not None and metadata.get(key) is None:
                metadata[key] = value


# ---------------------------------------------------------------- progress


def progress_of(files: Files) -> Progress:
    """A bar on a terminal, nothing elsewhere."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty() or not files,
        transient=True,
    )


def count_documents(files: Files) -> int:
    """About how many documents there are: the lines of NDJSON files, and one for each other file."""
    return sum(_lines(path) if path.suffix.lower() in RECORDS else 1 for path, _ in files)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
