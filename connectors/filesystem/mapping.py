"""A file's records as changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.filesystem.client import File, storable
from hub.sdk import Change, Document, Failure, InvalidDocument, Upsert
from hub.sdk.files import FileRecord


def change_of(record: FileRecord, file: File, document_id: str) -> Change:
    """A document, or a Failure that names the file, and the line within it."""
    named = None if file.holds_records else document_id
    where = _where(record, file)
    if record.fields is None:
        return Failure(f"{where}: {record.error}", named)
    fields = record.fields if file.holds_records else {**record.fields, "metadata": _metadata(record.fields, file)}
    try:
        return Upsert(Document.parse(fields))
    except InvalidDocument as error:
        return Failure(f"{where}: {error.message}", named or error.document_id)


def _metadata(fields: dict[str, Any], file: File) -> dict[str, Any]:
    """With the time of the last edit, and a title that can be stored though the file's name may not be."""
    metadata = {**fields["metadata"], "path": file.key, "title": storable(fields["metadata"]["title"])}
    try:
        metadata["updated_at"] = datetime.fromtimestamp(file.mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return metadata  # a time that no calendar has
    return metadata


def _where(record: FileRecord, file: File) -> str:
    """The path below the root, and the line."""
    return file.key + record.where.removeprefix(file.path)
