"""Files as documents: Markdown, HTML and text are one document each, NDJSON is one for each line.

Shared by `aime ingest` and the filesystem connector. Reading is blocking: call it in a thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from core.errors import InvalidDocument
from core.model import DEFAULT_MAX_CONTENT_BYTES
from core.ndjson import parse_document, read_lines

CONTENT_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".txt": "text/plain",
    ".text": "text/plain",
}
"""By suffix, in lower case."""
RECORDS = frozenset({".ndjson", ".jsonl"})
"""The suffixes of files that hold a document on each line."""

_HTML_TITLE = re.compile(r"<title[^<>]*>([^<]*)</title>", re.IGNORECASE)
TITLE_CHARS = 300
HEAD_CHARS = 4096
"""How much of a file is looked at for its title."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One document as it was found, not validated yet; or `error` says why there is none."""

    where: str
    """`notes/a.md`, or `corpus.jsonl:17` for a line."""
    fields: dict[str, Any] | None = None
    """`document_id`, `content`, `metadata`."""
    error: str | None = None


def find_files(root: Path) -> Iterator[Path]:
    """The files below a folder that can be read as documents, in the order of their names; a file gives itself.

    Hidden files and folders are left out, and so are links to folders, which could lead in circles. Raises OSError.
    """
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in CONTENT_TYPES.keys() | RECORDS:
                yield Path(folder, name)


def _raise(error: OSError) -> None:
    raise error


def read_documents(
    path: Path, document_id: str, *, max_content_bytes: int = DEFAULT_MAX_CONTENT_BYTES
) -> Iterator[FileRecord]:
    """The documents of one file. A text becomes the document `document_id`; the lines of NDJSON have ids of their own.

    What cannot be read is a record with an error; the rest of the file goes on.
    """
    try:
        if path.suffix.lower() in RECORDS:
            yield from _read_lines(path, max_content_bytes)
        else:
            yield _read_text(path, document_id, max_content_bytes)
    except OSError as error:
        yield FileRecord(str(path), error=f"cannot be read: {error.strerror}")


def _read_lines(path: Path, max_content_bytes: int) -> Iterator[FileRecord]:
    # A character of content may take six bytes of JSON; metadata comes on top.
    with path.open("rb") as file:
        for number, line in read_lines(file, 6 * max_content_bytes + 1024 * 1024):
            where = f"{path}:{number}"
            if line is None:
                yield FileRecord(where, error=f"the line is too long for {max_content_bytes:,} bytes of content")
                continue
            try:
                yield FileRecord(where, parse_document(line))
            except InvalidDocument as error:
                yield FileRecord(where, error=error.message)


def _read_text(path: Path, document_id: str, max_content_bytes: int) -> FileRecord:
    content_type = CONTENT_TYPES.get(path.suffix.lower())
    if content_type is None:
        known = ", ".join(sorted(CONTENT_TYPES.keys() | RECORDS))
        return FileRecord(str(path), error=f"is none of the files that can be read: {known}")
    with path.open("rb") as file:
        # One byte more than fits, and the file is seen to be too large without being read whole.
        raw = file.read(max_content_bytes + 1)
    if len(raw) > max_content_bytes:
        return FileRecord(str(path), error=f"is larger than {max_content_bytes:,} bytes (hub.max_content_bytes)")
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return FileRecord(str(path), error=f"is not UTF-8 at byte {error.start}")
    metadata = {"title": _title(content, content_type) or path.stem, "content_type": content_type}
    return FileRecord(str(path), {"document_id": document_id, "content": content, "metadata": metadata})


def _title(content: str, content_type: str) -> str | None:
    head = content[:HEAD_CHARS].replace("\r\n", "\n")
    match content_type:
        case "text/markdown":
            title = _markdown_title(head)
        case "text/html":
            title = unescape(found[1]) if (found := _HTML_TITLE.search(head)) else ""
        case _:
            return None
    return " ".join(title.split())[:TITLE_CHARS] or None


def _markdown_title(head: str) -> str:
    """The first heading, before which there may be front matter or blank lines."""
    if head.startswith("---\n") and (end := head.find("\n---\n", 3)) >= 0:
        head = head[end + len("\n---\n") :]
    line = head.lstrip().partition("\n")[0]
    return line[1:].rstrip().rstrip("#") if line.startswith("# ") else ""
