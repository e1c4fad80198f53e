"""Connections to the shared database: a pool, what is tried again, and PostgreSQL's errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
import stamina

from core.errors import AimeError, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from core.store.dsn import shown

POOL_SIZE = 8
"""Connections of one process; it commits one group at a time, and the rest read."""
CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 60.0
LOCK_SECONDS = 30
"""How long a statement waits for a lock: longer than a transaction that was left idle keeps one."""
IDLE_SECONDS = 10
"""How long the server lets a transaction idle: a node that was cut off holds the head row no longer."""
RETRY_SECONDS = 15.0
"""How long work is tried again while the server cannot be reached: a restart takes a few seconds."""
SETTINGS = {
    "application_name": "aime",
    "jit": "off",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A plan that was made while a table was small is kept although the table grows, until statistics are gathered.
    "plan_cache_mode": "force_custom_plan",
}

P = ParamSpec("P")
R = TypeVar("R")
Connection = Any
"""An `asyncpg.Connection`; the library has no annotations."""

CUT = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it shuts down, starts up, or ended this session
    asyncpg.InternalClientError,  # the connection went away between two steps of a call
)
"""After these a statement may have been executed, or not."""
LOST = (
    *CUT,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,  # a deadlock: nothing was written
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is about to take over, or was taken over from
)
REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password is one, too
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)
SOUND = (AimeError, asyncpg.PostgresError, asyncpg.DataError)
"""After these a connection can be used again, unless they are among LOST."""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise PostgreSQL's errors as the store's. Server messages hold no password."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise StoreFull(f"{name}: no space left for the database; free some, work resumes by itself") from error
    except REFUSED as error:
        raise StoreError(f"{name}: refused: {_reason(error)}") from error
    except asyncpg.DataCorruptedError as error:
        raise StoreCorrupt(f"{name}: the database is damaged: {_reason(error)}") from error
    except LOST as error:
        raise StoreUnavailable(f"{name}: {_reason(error)}") from error
    except asyncpg.DataError as error:
        raise StoreError(f"{name}: {_reason(error)}") from error
    except asyncpg.InterfaceError as error:  # the connection was closed under our hands
        raise StoreUnavailable(f"{name}: {_reason(error)}") from error
    except asyncpg.PostgresError as error:
        raise StoreError(f"{name}: {type(error).__name__}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    return str(error).partition("\n")[0] or type(error).__name__


class Database:
    """A pool of connections to one database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = shown(url)
        self._pool: Any = None

    async def open(self) -> None:
        """Raises StoreUnavailable when the server cannot be reached, StoreError when it refuses."""
        with translated(self.name):
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=POOL_SIZE,
                timeout=CONNECT_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                server_settings=SETTINGS,
                init=_durable,
                reset=_roll_back,
            )
        async with self.connection():
            pass

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
            except (*LOST, asyncpg.InterfaceError):
                pool.terminate()

    async def alone(self) -> Connection:
        """A connection of its own, outside the pool; whoever asked closes it."""
        with translated(self.name):
            settings = SETTINGS | {"application_name": "aime: listen"}
            return await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, server_settings=settings)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One of the pool's connections. One that fails is closed, and what it had not committed with it."""
        if self._pool is None:
            raise StoreUnavailable(f"{self.name}: the store is closed")
        with translated(self.name):
            held = await self._pool.acquire(timeout=CONNECT_SECONDS)
            try:
                yield held
            except BaseException as error:
                if isinstance(error, LOST) or not isinstance(error, SOUND):
                    _drop(held)
                raise
            finally:
                with suppress(*LOST, asyncpg.InterfaceError):  # what it was used for is done, or has failed already
                    await self._pool.release(held, timeout=CONNECT_SECONDS)

    async def run(
        self, work: Callable[Concatenate[Connection, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`await work(connection, …)`, again while the server cannot be reached. For what may be done twice."""

        async def once() -> R:
            async with self.connection() as held:
                return await work(held, *args, **kwargs)

        return await persistently(once, RETRY_SECONDS)


def _drop(held: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # the pool has let go of it already
        held.terminate()


async def persistently(work: Callable[[], Awaitable[R]], seconds: float) -> R:
    """Try again, with growing pauses, what fails because the server cannot be reached."""
    async for attempt in stamina.retry_context(
        on=StoreUnavailable, attempts=None, timeout=seconds, wait_initial=0.05, wait_max=1.0, wait_jitter=0.05
    ):
        with attempt:
            return await work()
    raise AssertionError("the last attempt returns or raises")


async def _durable(connection: Connection) -> None:
    """A commit that returned survives a crash, which is what "accepted" means here; a stricter setting stays."""
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )


async def _roll_back(connection: Connection) -> None:
    """The pool's own reset costs a round trip for each use. What is left here to reset is an open transaction."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")
