"""The PostgreSQL server of `make services`, and servers that a test ends and starts again."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

SERVICE = Path(__file__).parents[1] / "build" / "services" / "postgres"


async def new_database(server: str | None = None, **options: str) -> str:
    """The URL of a database made for one test, on the shared server or on `server`; skips where none answers."""
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not there: `make venv` installs it")
    base = server or address()
    name = f"test_{uuid.uuid4().hex[:12]}"
    extra = " ".join(f"{key} {value}" for key, value in options.items())
    try:
        admin = await asyncpg.connect(f"{base}/postgres", timeout=5)
    except OSError:
        pytest.skip("there is no PostgreSQL: `make services` installs and starts it")
    try:
        await admin.execute(f"CREATE DATABASE {name} {extra}")
    finally:
        await admin.close()
    return f"{base}/{name}"


async def drop_database(url: str) -> None:
    import asyncpg

    name = urlsplit(url).path.strip("/")
    admin = await asyncpg.connect(url.replace(f"/{name}", "/postgres"), timeout=5)
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await admin.close()


def address() -> str:
    """The shared server's URL, without a database."""
    try:
        return f"postgresql://postgres@{(SERVICE / 'address').read_text(encoding='utf-8').strip()}"
    except OSError:
        pytest.skip("there is no PostgreSQL: `make services` installs and starts it")


async def execute(url: str, *statements: str) -> None:
    """Run statements on a database, outside the store."""
    import asyncpg

    connection = await asyncpg.connect(url, timeout=5)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await asyncio.wait_for(connection.close(), 5)
