"""`aime config`: check the configuration, and print its JSON Schema."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import AimeError, ConfigError
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Place
from hub.cli.output import print_json, warn

if TYPE_CHECKING:
    from hub.config import Config
    from hub.plugins import Plugins

app = typer.Typer(help="Check plugins.toml, or print its JSON Schema.", no_args_is_help=True)

FileArgument = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The same as --config.")]


@app.command()
def check(file: FileArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read the whole configuration, with the keys of every enabled connector. Exit code 2 when something is wrong.

    Warnings are of what is right as it is written, and will hardly work on this machine as it is now.
    """
    if file is not None and config is not None:
        raise typer.BadParameter("give either FILE or --config, not both")
    path = file or config or DEFAULT_CONFIG
    settings, errors, warnings = inspect(path)
    connectors = {name: each.kind for name, each in settings.connectors.items() if each.enabled}
    if as_json:
        said = {"errors": errors, "warnings": warnings}
        found = {name: [{"where": one.where, "message": one.reason} for one in each] for name, each in said.items()}
        print_json({"ok": not errors, "connectors": connectors, **found})
    else:
        for error in errors:
            warn(error.message)
        for warning in warnings:
            warn(f"warning: {warning.message}")
    if errors:
        raise typer.Exit(2)
    if not as_json:
        enabled = ", ".join(f"{name} ({kind})" for name, kind in connectors.items())
        typer.echo(f"{path} is right. Enabled connectors: {enabled or 'none'}.")


def inspect(path: Path) -> tuple[Config, list[ConfigError], list[ConfigError]]:
    """The configuration as far as it can be read, everything that is wrong with it, and what to warn of."""
    from hub.config import in_order, read_config
    from hub.plugins import Plugins

    plugins = Plugins()
    config, errors = read_config(path)
    errors = in_order([*errors, *plugins.check(config)])
    return config, errors, [] if errors else in_order(_doubts(config, plugins))


def _doubts(config: Config, plugins: Plugins) -> Iterator[ConfigError]:
    from hub.config import check_exposure

    try:
        check_exposure(config.hub.listen, keys=0)
    except ConfigError as error:
        if not _has_keys(config.hub.store):
            yield ConfigError(f"hub.listen: {error.reason}", where=str(config.path))
    yield from _missing_extras(config)
    for settings in config.connectors.values():
        if settings.enabled and settings.kind == "filesystem":
            for root in plugins.configure(settings)[1].model_dump()["path"]:
                if not Path(root).expanduser().exists():
                    yield settings.table.error(f"names {root}, which is not there", "path")
    known = {settings.document_source for settings in config.connectors.values()}
    for settings in config.connectors.values():
        for source in settings.answers.sources if settings.answers else ():
            if source not in known:
                yield settings.table.error(f"names the source {source!r}, which no connector here brings", "answers")


def _missing_extras(config: Config) -> Iterator[ConfigError]:
    from hub.extras import NEEDED, require

    for table in NEEDED:
        if getattr(config, table) is not None:
            try:
                require(table)
            except ConfigError as error:
                yield ConfigError(error.reason, where=str(config.path))


def _has_keys(store: str) -> bool:
    """Whether there is a key that is not revoked. A store that cannot be opened is no matter of the configuration."""
    from hub.cli.opening import open_target

    async def look() -> bool:
        async with open_target(Place(store=store)) as target:
            return any(key["revoked_at"] is None for key in await target.keys())

    try:
        return asyncio.run(look())
    except AimeError:
        return False


@app.command()
def schema(as_json: JsonOption = False) -> None:
    """Print the JSON Schema of plugins.toml for the installed connectors. It is JSON with or without --json."""
    del as_json
    from hub.config import config_schema
    from hub.plugins import Plugins

    plugins = Plugins()
    print_json(config_schema(plugins.specs()))
    for kind, error in plugins.broken.items():
        warn(f"left out: {kind}: {error.message}")
