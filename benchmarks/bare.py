"""A bare aiohttp handler that commits the rows of each posted document in groups, and does nothing else: the measure
that `POST /documents` stands beside.

The rows are those that the hub itself writes for the document: chunks, mentions, log, audit and all. They are read from
a store that the hub made before, so that here they cost no more than being written.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
from aiohttp import web

from benchmarks.limits import GROUP

ROWS = {
    "documents": "SELECT document_id, * FROM documents",
    "chunks": "SELECT document_id, * FROM chunks",
    "log": "SELECT document_id, * FROM log",
    "audit": "SELECT subject, * FROM audit",
}
"""For each table its rows, each after the document that it belongs to."""

ROWS_AT_ONCE = 100
"""Rows in one statement, as the hub's own store writes them."""

Rows = dict[str, list[tuple[Any, ...]]]


class Server:
    """`POST /documents`."""

    def __init__(self, db: apsw.Connection, rows: dict[str, Rows]) -> None:
        self._db = db
        self._rows = rows
        self._waiting: asyncio.Queue[tuple[str, asyncio.Future[None]]] = asyncio.Queue()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/documents", self._post)
        app.cleanup_ctx.append(self._committing)
        return app

    async def _post(self, request: web.Request) -> web.Response:
        document_id = (await request.json())["document_id"]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((document_id, done))
        await done
        return web.json_response({"document_id": document_id, "status": "processed"})

    async def _committing(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._commit_groups())
        yield
        task.cancel()

    async def _commit_groups(self) -> None:
        while True:
            group = [await self._waiting.get()]
            while len(group) < GROUP and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await asyncio.to_thread(self._commit, [document_id for document_id, _ in group])
            for _, done in group:
                done.set_result(None)

    def _commit(self, document_ids: list[str]) -> None:
        """One durable transaction."""
        with self._db as db:
            for table in ROWS:
                rows = [row for document_id in document_ids for row in self._rows[document_id].get(table, ())]
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    some = rows[start : start + ROWS_AT_ONCE]
                    row = f"({', '.join('?' * len(some[0]))})"
                    db.execute(f"INSERT INTO {table} VALUES {', '.join([row] * len(some))}", tuple(chain(*some)))


async def serve(folder: str, store: str) -> None:
    """Write the address to `folder/url`, then serve until ended."""
    made = apsw.Connection(store, flags=apsw.SQLITE_OPEN_READONLY)
    server = Server(_empty_copy(made, Path(folder) / "bare.db"), _rows_by_document(made))
    made.close()
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    (Path(folder) / "url").write_text(f"http://{host}:{port}", encoding="ascii")
    await asyncio.Event().wait()


def _empty_copy(made: apsw.Connection, path: Path) -> apsw.Connection:
    """A database of the same tables and indexes, as durable as the hub's."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute("PRAGMA synchronous = FULL")
    for (statement,) in made.execute(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    ):
        db.execute(statement)
    return db


def _rows_by_document(made: apsw.Connection) -> dict[str, Rows]:
    found: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    for table, statement in ROWS.items():
        for document_id, *row in made.execute(statement):
            found[document_id][table].append(tuple(row))
    return found
