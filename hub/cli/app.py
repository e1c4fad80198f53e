"""All commands under one name, and how the process ends."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from core.errors import AimeError, ConfigError, InvalidInput, PluginError
from core.memory import keep_little
from hub.cli import (
    ask,
    audit,
    config,
    connectors,
    deliveries,
    doctor,
    endpoints,
    entities,
    evaluate,
    export,
    gc,
    ingest,
    keys,
    migrate,
    projection,
    query,
    run,
    store,
)
from hub.cli.interpreter import collect_rarely, switch_often
from hub.telemetry import configure_logging

FAILED = 1
WRONG_USAGE = 2

app = typer.Typer(
    name="aime",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aime-hub {version('aime-hub')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """AI.me Hub: a knowledge graph in step with the systems you already run, answers with cited sentences."""


app.command(name="run")(run.run)
app.command(name="ingest")(ingest.ingest)
app.command(name="query")(query.query)
app.command(name="ask")(ask.ask)
app.command(name="eval")(evaluate.evaluate)
app.command(name="export")(export.export)
app.command(name="audit")(audit.audit)
app.command(name="gc")(gc.gc)
app.command(name="doctor")(doctor.doctor)
app.command(name="migrate")(migrate.migrate)
app.add_typer(entities.app, name="entities")
app.add_typer(connectors.app, name="connectors")
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(projection.app, name="projection")
app.add_typer(store.app, name="store")


def main() -> NoReturn:
    """The entry point. Ends the process with the exit code."""
    # A command says in one sentence what went wrong; its log, with the tracebacks, is for who asks for it.
    configure_logging(os.environ.get("AIME_LOG", "critical"))
    collect_rarely()
    switch_often()
    keep_little()
    try:
        app(prog_name="aime")
    except (ConfigError, InvalidInput, PluginError) as error:
        _fail(error.message, WRONG_USAGE)
    except AimeError as error:
        _fail(error.message, FAILED)
    except Exception as error:
        if os.environ.get("AIME_TRACEBACK"):
            raise
        text = " ".join(str(error).split())
        _fail(f"internal error: {type(error).__name__}: {text} (AIME_TRACEBACK=1 shows where)", FAILED)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"aime: {message}", err=True)
    sys.exit(code)
