"""What the disk and a lexical index alone allow: the measure that taking a corpus in stands beside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import apsw
import tantivy

from benchmarks.corpus import Json, read_documents

GROUP = 64


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
