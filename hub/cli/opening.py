"""Finding what a command speaks to.

The embedded store has one process at a time. A command that finds it held by a running hub goes to that hub's address,
with the token that the hub left beside the store for those who may read its files. A shared store has any number, so a
command opens it beside the hubs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.errors import ConfigError, StoreLocked
from core.service import GraphService, ServiceOptions, create_graph_service
from core.store.dsn import is_postgres, shown
from core.store.opening import schema_of, store_of
from core.store.sqlite import SqliteStore
from core.store.sqlite.connection import resolve
from core.store.sqlite.lock import read_holder
from hub.cli.local import LocalTarget
from hub.cli.options import Place
from hub.cli.remote import HubUnreachable, RemoteTarget, connect
from hub.cli.target import Target
from hub.config import load_config
from hub.model import answering


@asynccontextmanager
async def open_target(place: Place, *, create: bool = False, worded: bool = False) -> AsyncIterator[Target]:
    """What `place` names. A store that is not there is made when `create` says so. Where its questions may be put to a
    language model, `worded` says so: a hub does as it is configured to.

    Raises ConfigError for a store that is not there, and what `open_place` raises.
    """
    if place.url is None and not create:
        await check_exists(place.store)
    async with open_place(place) as opened:
        if isinstance(opened, RemoteTarget):
            yield opened
        elif worded and place.config is not None:
            async with answering(opened, load_config(place.config).model):
                yield LocalTarget(opened)
        else:
            yield LocalTarget(opened)


@asynccontextmanager
async def open_place(place: Place) -> AsyncIterator[GraphService | RemoteTarget]:
    """The store's service, or the hub that has the store.

    Raises StoreLocked when another process holds the store and serves no HTTP, and what opening a store raises.
    """
    if place.url is not None:
        async with connect(place.url, place.api_key) as hub:
            yield hub
        return
    try:
        service = await open_store(place)
    except StoreLocked:
        holder = read_holder(Path(resolve(place.store)))
        if holder is None or holder.url is None:
            raise
        async with connect(holder.url, holder.token) as hub:
            yield hub
        return
    async with service:
        yield service


async def open_store(place: Place, store: str | None = None) -> GraphService:
    """The service on the place's store, or on another with the same options. Raises what opening a store raises."""
    options = ServiceOptions(
        max_content_bytes=place.max_content_bytes,
        analysis_workers=place.analysis_workers,
        language=place.language,
    )
    return await create_graph_service(store or place.store, options=options)


@asynccontextmanager
async def open_hub(place: Place) -> AsyncIterator[RemoteTarget]:
    """The running hub that `place` names, or that has its store. Raises HubUnreachable where none runs."""
    if place.url is not None:
        async with connect(place.url, place.api_key) as hub:
            yield hub
        return
    holder = None if is_postgres(place.store) else read_holder(Path(resolve(place.store)))
    advice = "this needs a running hub: start one with `aime run`, or name one with --url"
    if holder is None or holder.url is None:
        raise HubUnreachable(f"no hub is known to run on {shown(place.store)}; {advice}")
    async with connect(holder.url, holder.token) as hub:
        try:
            yield hub
        except HubUnreachable as error:  # it was killed, and what it left beside the store is old
            raise HubUnreachable(f"{error.message}; {advice}") from None


async def check_exists(store: str) -> None:
    """A command that reads should not make a store by a slip of the pen. Raises ConfigError, StoreError."""
    opened = store_of(store)
    if isinstance(opened, SqliteStore):
        there, name = opened.exists(), opened.path
    else:
        there, name = (await schema_of(store)).version > 0, opened.name
    if not there:
        raise ConfigError(f"there is no store {name}; `aime ingest` or `aime run` makes one")
