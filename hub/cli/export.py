"""`aime export`: the whole graph as one file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from core.errors import ConfigError
from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json
from hub.export import ExportFormat


@at_place
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Stdout if not given.")] = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="GraphML is for graph tools such as Gephi or networkx.")
    ] = "json",
    graphml: Annotated[bool, typer.Option("--graphml", help="The same as --format graphml.")] = False,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Write documents, chunks, entities, mentions and relations. The same documents give the same bytes, whatever the
    order in which they came. With --output, --json prints what was written."""
    if graphml:
        form = "graphml"
    if as_json and output is None and form == "graphml":
        raise typer.BadParameter("GraphML and --json exclude each other on stdout; name a file with --output")
    if output is None:
        asyncio.run(_write(place, form, sys.stdout.buffer))
        return
    # Beside the target first: a run that breaks off leaves what was there before.
    partial = output.with_name(output.name + ".partial")
    try:
        with partial.open("wb") as file:
            written = asyncio.run(_write(place, form, file))
        partial.replace(output)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json({"output": str(output), "format": form, "bytes": written})
    else:
        typer.echo(f"{output}: {written:,} bytes.")


async def _write(place: Place, form: ExportFormat, file: BinaryIO) -> int:
    from hub.cli.opening import open_target

    written = 0
    async with open_target(place) as target:
        async for piece in target.export(form):
            written += file.write(piece)
    file.flush()
    return written
