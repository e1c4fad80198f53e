"""`aime migrate`: bring a store's schema up to date ahead of the hubs that will open it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from core.store.dsn import shown
from core.store.schema import SchemaState
from hub.cli.options import ConfigOption, JsonOption, Place, StoreOption
from hub.cli.output import print_json


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 where something is to be done.")
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the store's schema up to date, as a hub does when it opens it, and say from which version to which.

    Hubs on a PostgreSQL store may go on meanwhile; a SQLite store must not be open.
    """
    place = Place.of(store=store, url=None, api_key=None, config=config)
    if place.url is not None:
        raise typer.BadParameter("needs a store, and AIME_URL names a hub: give --store")
    before = asyncio.run(_migrate(place.store, check=check))
    after = before.version if check else before.newest
    if as_json:
        print_json({"from": before.version, "to": after, "newest": before.newest})
    else:
        typer.echo(_sentence(shown(place.store), before, check=check))
    if check and not before.is_current:
        raise typer.Exit(1)


def _sentence(name: str, before: SchemaState, *, check: bool) -> str:
    if before.is_current:
        return f"{name}: schema {before.version}, up to date."
    made = "an empty store" if not before.version else f"schema {before.version}"
    if check:
        return f"{name}: {made}; this release brings it to {before.newest}."
    return f"{name}: brought from {made} to schema {before.newest}."


async def _migrate(url: str, *, check: bool) -> SchemaState:
    from core.store.opening import schema_of, store_of

    before = await schema_of(url)
    before.check(shown(url))
    if not check and not before.is_current:
        opened = store_of(url)
        await opened.open()
        await opened.close()
    return before
