"""`aime projection`: the graph on the TinkerPop server that `[projection]` names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError, GraphServerError
from hub.cli.options import ConfigOption, JsonOption, Place, StoreOption, at_place, config_path
from hub.cli.output import print_json, warn

if TYPE_CHECKING:
    from core.projection.gremlin import GremlinGraph
    from core.projection.verify import Report
    from hub.config import ProjectionSettings

app = typer.Typer(no_args_is_help=True, help="Look at, compare and rebuild the graph on a Gremlin server or Neptune.")


@app.command()
@at_place
def status(*, place: Place, as_json: JsonOption = False) -> None:
    """Say up to which graph version the server is written, and how far that is behind the log."""
    version, head = asyncio.run(lag_of(place, settings_of(place.config)))
    lag = None if version is None else max(0, head - version)
    if as_json:
        print_json({"graph_version": version, "head": head, "lag": lag})
    elif version is None:
        typer.echo(f"The server holds no projection yet. The log is at graph version {head:,}.")
    else:
        typer.echo(f"The server is at graph version {version:,} of {head:,}: {lag:,} behind.")


@app.command()
def verify(
    sample: Annotated[
        int, typer.Option(min=0, metavar="N", help="About how many documents to compare value by value.")
    ] = 100,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the server with the store: counts of both sides, and a sample. Exit code 1 where they differ.

    It reads the embedded store itself, so no hub may be running on it.
    """
    place = Place.of(store=store, url=None, api_key=None, config=config)
    report = asyncio.run(_verify(place, settings_of(config), sample))
    if as_json:
        print_json({**report.model_dump(mode="json"), "equal": report.equal})
    else:
        for name, count in report.counts.items():
            typer.echo(f"{name:<10} store {count.store:>12,}  server {count.server:>12,}")
        typer.echo(f"{report.sampled_documents:,} documents compared at graph version {report.graph_version:,}.")
        for id_ in report.differing[:20]:
            warn(f"differs: {id_}")
    if not report.equal:
        raise typer.Exit(1)


@app.command()
def rebuild(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have everything written anew: by the running hub within 15 seconds, or by the next one that starts."""
    asyncio.run(_unmark(settings_of(config)))
    if as_json:
        print_json({"rebuild": "asked"})
    else:
        typer.echo("Asked for: the hub writes everything anew. `aime projection status` says how far it is.")


def settings_of(config: Path | None) -> ProjectionSettings:
    """What the configuration says of the projection. Raises ConfigError where it says nothing."""
    from hub.config import load_config

    path = config_path(config)
    settings = load_config(path).projection if path is not None else None
    if settings is None:
        where = str(path) if path is not None else "plugins.toml"
        raise ConfigError(f'{where} has no [projection] table; it needs at least: url = "ws://HOST:8182/gremlin"')
    return settings


@asynccontextmanager
async def open_graph(settings: ProjectionSettings) -> AsyncIterator[GremlinGraph]:
    """The graph server. Raises ConfigError where the extra is not installed."""
    from hub.projection import graph_client

    async with graph_client(settings) as client:
        from core.projection.gremlin import GremlinGraph

        yield GremlinGraph(client)


async def lag_of(place: Place, settings: ProjectionSettings) -> tuple[int | None, int]:
    """The graph version of the server, None where it holds no projection, and the head of the log."""
    from hub.cli.opening import open_target

    async with open_graph(settings) as graph, open_target(place) as target:
        marker = await graph.marker()
        return None if marker is None else marker[1], await target.head()


async def _verify(place: Place, settings: ProjectionSettings, sample: int) -> Report:
    from hub.cli.opening import check_exists, open_store

    if place.url is not None:
        raise GraphServerError("verify reads a store on this machine; name it with --store")
    await check_exists(place.store)
    async with open_graph(settings) as graph, await open_store(place) as service:
        from core.projection.projection import Projection
        from core.projection.verify import verify as compare

        return await compare(service, graph, Projection(service, graph, with_chunks=settings.chunks), sample=sample)


async def _unmark(settings: ProjectionSettings) -> None:
    async with open_graph(settings) as graph:
        await graph.unmark()
