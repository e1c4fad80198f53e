"""Connections to the embedded database: settings, migrations, and SQLite's errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import apsw

from core.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from core.store.schema import SchemaState, migrations

APPLICATION_ID = 0x41694D65  # "AiMe": https://www.sqlite.org/pragma.html#pragma_application_id

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise SQLite's errors as the store's."""
    try:
        yield
    except apsw.FullError as error:
        raise StoreFull(f"{path}: no space left for the store; free some, work resumes by itself") from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreCorrupt(f"{path}: not a store of AI.me Hub, or damaged ({error})") from error
    except apsw.ReadOnlyError as error:
        raise StoreUnavailable(f"{path}: the store is read-only") from error
    except (apsw.IOError, apsw.CantOpenError, apsw.BusyError, apsw.LockedError, apsw.PermissionsError) as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except apsw.Error as error:
        raise StoreError(f"{path}: {type(error).__name__}: {error}") from error


class Connection:
    """One SQLite connection with its own thread; work is a plain function run there with the connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._db: apsw.AsyncConnection | None = None

    async def open(self) -> None:
        with translated(self.path):
            self._db = await apsw.Connection.as_async(self.path, statementcachesize=400)
            await self._db.async_run(_configure, self._db)

    async def close(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            await db.aclose()

    async def run(self, work: Callable[..., R], *args: Any) -> R:
        """`work(connection, *args)` in the connection's thread."""
        if self._db is None:
            raise StoreUnavailable(f"{self.path}: the store is closed")
        with translated(self.path):
            result: R = await self._db.async_run(work, self._db, *args)
            return result


def _configure(db: apsw.Connection) -> None:
    db.set_busy_timeout(5_000)
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    # FULL: a commit that returned survives the loss of power, which is what "accepted" means here.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA cache_size = -16384")
    # Checkpoints cost a random write for each page once; rarer ones fold more commits into that.
    db.execute("PRAGMA wal_autocheckpoint = 4000").fetchall()


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT; anything raised rolls back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back after some errors (a full disk, an I/O error).
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def migrate(db: apsw.Connection, path: str) -> None:
    """Bring the schema up to date, each migration in a transaction of its own.

    Raises:
        StoreTooNew: a newer release wrote it.
        StoreCorrupt: the file is a database of something else.
    """
    application = db.execute("PRAGMA application_id").get
    version = db.execute("PRAGMA user_version").get
    if application != APPLICATION_ID and (application or db.execute("SELECT count(*) FROM sqlite_schema").get):
        raise StoreCorrupt(f"{path}: a SQLite database, but not a store of AI.me Hub")
    steps = migrations("sqlite")
    SchemaState(version, steps[-1][0]).check(path)
    for number, sql in steps:
        if number > version:
            with transaction(db):
                db.execute(sql)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {number}")


def resolve(url: str) -> str:
    """The file of a `sqlite:PATH` URL. Raises StoreError."""
    path = url.removeprefix("sqlite:").removeprefix("//")
    if not path:
        raise StoreError(f"{url!r} names no file; write sqlite:PATH, such as sqlite:aime.db")
    return path if path == ":memory:" else str(Path(path).expanduser())
