"""The numbered migrations of each store's schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from core.errors import StoreTooNew


def migrations(store: Literal["sqlite", "postgres"]) -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order."""
    folder = resources.files("core.store") / "migrations" / store
    found = [(int(m[1]), item) for item in folder.iterdir() if (m := re.match(r"(\d{4})_\w+\.sql$", item.name))]
    return [(number, item.read_text(encoding="utf-8")) for number, item in sorted(found, key=lambda pair: pair[0])]


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The schema that a store has (0: it is empty), and the newest one that this release knows."""

    version: int
    newest: int

    def check(self, name: str) -> None:
        """Raises StoreTooNew for a schema that this release does not know."""
        if self.version > self.newest:
            raise StoreTooNew(
                f"{name}: written by a newer release (schema {self.version}; this one knows {self.newest}); upgrade"
            )

    @property
    def is_current(self) -> bool:
        return self.version == self.newest
