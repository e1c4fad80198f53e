"""What the disk, a lexical index and an HTTP server alone allow: the measures that the hub's figures stand beside."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

import apsw
import tantivy
from aiohttp import web

from benchmarks.corpus import Json, read_documents

GROUP = 64
HEAP_BYTES = 32 * 1024 * 1024


def ingest(documents: str, folder: str) -> float:
    """Seconds for the same records in SQLite at FULL in groups, and in tantivy, and nothing else."""
    db = rows_database(Path(folder) / "limit.db")
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", tokenizer_name="raw")
    builder.add_text_field("text", tokenizer_name="en_stem")
    index = tantivy.Index(builder.build(), str(_made(Path(folder) / "limit-index")))
    writer = index.writer(32 * 1024 * 1024, 1)
    begun = time.perf_counter()
    for group in _groups(read_documents(Path(documents))):
        write_rows(db, group)
        for document in group:
            text = f"{document['metadata']['title']}\n{document['content']}"
            writer.add_document(tantivy.Document(id=document["document_id"], text=text))
    writer.commit()
    return time.perf_counter() - begun


def rows_database(path: Path) -> apsw.Connection:
    """A database as durable as the hub's, with one table of documents."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE documents (document_id TEXT PRIMARY KEY, content TEXT NOT NULL, metadata TEXT NOT NULL)")
    return db


def write_rows(db: apsw.Connection, group: list[Json]) -> None:
    """One durable transaction."""
    rows = [(each["document_id"], each["content"], json.dumps(each["metadata"])) for each in group]
    with db:
        db.executemany("INSERT INTO documents VALUES (?, ?, ?)", rows)


def _groups(documents: Iterator[Json]) -> Iterator[list[Json]]:
    while group := list(islice(documents, GROUP)):
        yield group


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# ---------------------------------------------------------------- HTTP


class BareServer:
    """`POST /documents` that commits what arrives, in groups, and does nothing else."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._waiting: asyncio.Queue[tuple[Json, asyncio.Future[None]]] = asyncio.Queue()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/documents", self._post)
        app.cleanup_ctx.append(self._committing)
        return app

    async def _post(self, request: web.Request) -> web.Response:
        document = await request.json()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((document, done))
        await done
        return web.json_response({"document_id": document["document_id"], "status": "processed"})

    async def _committing(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._commit())
        yield
        task.cancel()

    async def _commit(self) -> None:
        while True:
            group = [await self._waiting.get()]
            while len(group) < GROUP and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await asyncio.to_thread(write_rows, self._db, [document for document, _ in group])
            for _, done in group:
                done.set_result(None)


async def serve(folder: str) -> None:
    """Write the address to `folder/url`, then serve until ended."""
    runner = web.AppRunner(BareServer(rows_database(Path(folder) / "bare.db")).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    (Path(folder) / "url").write_text(f"http://{host}:{port}", encoding="ascii")
    await asyncio.Event().wait()
