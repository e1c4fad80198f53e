"""`aime config`: check the configuration, and print its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import ConfigErrors
from hub.cli.options import DEFAULT_CONFIG, JsonOption
from hub.cli.output import print_json, warn

app = typer.Typer(help="Check plugins.toml, or print its JSON Schema.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="[FILE]", help="The configuration file.")]


@app.command()
def check(file: FileArgument = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Read the whole configuration, with the keys of every enabled connector. Exit code 2 when something is wrong."""
    from hub.config import load_config
    from hub.plugins import Plugins

    connectors: dict[str, str] = {}
    try:
        config = load_config(file)
        connectors = {name: settings.kind for name, settings in config.connectors.items() if settings.enabled}
        errors = Plugins().check(config)
    except ConfigErrors as several:
        errors = list(several.errors)
    if as_json:
        problems = [{"where": error.where, "message": error.reason} for error in errors]
        print_json({"ok": not errors, "connectors": connectors, "errors": problems})
    else:
        for error in errors:
            warn(error.message)
    if errors:
        raise typer.Exit(2)
    if not as_json:
        enabled = ", ".join(f"{name} ({kind})" for name, kind in connectors.items())
        typer.echo(f"{file} is right. Enabled connectors: {enabled or 'none'}.")


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
