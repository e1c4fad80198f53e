"""A database for one measurement on the PostgreSQL server of `make services`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

SERVER = Path(__file__).parents[1] / "build" / "services" / "postgres" / "address"


@contextmanager
def database() -> Iterator[str | None]:
    """Its URL; None where no server answers."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    try:
        base = f"postgresql://postgres@{SERVER.read_text(encoding='utf-8').strip()}"
        asyncio.run(_execute(base, f"CREATE DATABASE {name}"))
    except OSError:
        yield None
        return
    try:
        yield f"{base}/{name}"
    finally:
        asyncio.run(_execute(base, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(base: str, statement: str) -> None:
    connection = await asyncpg.connect(f"{base}/postgres", timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
