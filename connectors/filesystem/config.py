"""The `[connectors.NAME]` table of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from hub.sdk import ConnectorConfig

DEFAULT_EXCLUDE = (".*", "node_modules", "__pycache__")
DEFAULT_MAX_BYTES = 32 * 1024 * 1024

Several = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)


class FilesystemConfig(ConnectorConfig):
    """Which files, and what their documents are called.

    A pattern without a slash is matched against the name of each file and folder; one with a slash against the path
    below the root, where `**` stands for any number of folders. What is excluded wins.
    """

    path: Annotated[tuple[str, ...], Several, Field(min_length=1)]
    """Folders or files; relative ones begin at the working directory of the hub."""
    include: Annotated[tuple[str, ...], Several] = ("*",)
    """Of the files that can be read: .md, .markdown, .html, .htm, .xhtml, .txt, .text, .ndjson and .jsonl."""
    exclude: Annotated[tuple[str, ...], Several] = DEFAULT_EXCLUDE
    follow_symlinks: bool = False
    max_bytes: Annotated[int, Field(ge=1)] = DEFAULT_MAX_BYTES
    """Larger files, or larger contents of a line, are refused."""
    prefix: Annotated[str, Field(max_length=200)] | None = None
    """Put before the path to make a document's id; the instance's name and a slash unless set. The lines of NDJSON have
    ids of their own."""

    @field_validator("path")
    @classmethod
    def _names_differ(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        names = [Path(path).expanduser().resolve().name for path in paths]
        if len(set(names)) < len(names):
            raise ValueError("two of them have the same last name, so their documents could have the same id")
        return paths

    def roots(self) -> list[Path]:
        return [Path(path).expanduser().resolve() for path in self.path]
