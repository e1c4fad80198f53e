"""Statements and their bindings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import apsw


def select(db: apsw.Connection, statement: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows; columns have the types that the schema's STRICT tables guarantee."""
    return db.execute(statement, bindings).fetchall()


def as_list(values: Iterable[int | str]) -> str:
    """Values for `IN (SELECT value FROM json_each(?))`: one bound parameter, however many there are."""
    return json.dumps(list(values))
