"""Documents as lines of JSON: our own form, and that of the BEIR data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydantic_core import from_json

from core.errors import InvalidDocument

BEIR_FIELDS = frozenset({"_id", "title", "text", "metadata"})


def read_lines(file: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are not blank, with their numbers from 1; None stands for a line over `max_bytes`.

    Holds at most one line, and never more than `max_bytes` of it.
    """
    number = 0
    while line := file.readline(max_bytes + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > max_bytes:
            while line and not line.endswith(b"\n"):
                line = file.readline(max_bytes)
            yield number, None
        elif line.strip():
            yield number, line


def parse_object(line: bytes) -> dict[str, Any]:
    """One line as a JSON object. Raises InvalidDocument."""
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        value = _reparse(line, error)
    if not isinstance(value, dict):
        raise InvalidDocument(f"must be a JSON object, not a {type(value).__name__}")
    return value


def _reparse(line: bytes, error: ValueError) -> Any:
    """A lone surrogate is JSON that the quick parser refuses; it passes here, so that the model can name its field."""
    if b"\\u" not in line:
        raise InvalidDocument(f"is not JSON: {error}") from None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidDocument(f"is not JSON: {error}") from None


def parse_document(line: bytes) -> dict[str, Any]:
    """A line as the fields of a document, not validated yet: `{document_id, content, metadata}`, or BEIR's
    `{_id, title, text, metadata}`. Raises InvalidDocument."""
    record = parse_object(line)
    if "_id" not in record:
        return record
    unknown = sorted(record.keys() - BEIR_FIELDS)
    if unknown:
        raise InvalidDocument("is not a field of a BEIR document", field=unknown[0][:200])
    if "text" not in record:
        raise InvalidDocument("is missing", field="text")
    metadata = {} if record.get("metadata") is None else record["metadata"]
    if not isinstance(metadata, dict):
        raise InvalidDocument("must be a JSON object", field="metadata")
    if record.get("title"):
        metadata = {**metadata, "title": record["title"]}
    return {"document_id": record["_id"], "content": record["text"], "metadata": metadata}
