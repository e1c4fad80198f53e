"""`aime ingest`: files and folders into the graph."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import count, print_json

TERMINATED = 128 + signal.SIGTERM
"""The exit code that a shell tells of a process which SIGTERM has ended; Ctrl-C makes it 130."""


@at_place
def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Markdown, HTML, text or NDJSON files, or folders of them.")
    ],
    source: Annotated[str | None, typer.Option(metavar="NAME", help="The source of documents that name none.")] = None,
    language: Annotated[
        str | None, typer.Option(metavar="TAG", help="The language of documents that name none, such as de or pt-BR.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="QUEUE",
            help="Put them into a queue for the hubs that consume it: amqp://HOST/VHOST?queue=NAME or"
            " sqs://sqs.REGION.amazonaws.com/ACCOUNT/NAME.",
        ),
    ] = None,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Add documents from files and folders; what is there already in the same form is left as it is.

    A line of a NDJSON file is {document_id, content, metadata}, or BEIR's {_id, title, text, metadata}. A text is named
    by its path from the folder that was given. Exit code 1 if any document was rejected; each is named on stderr.
    """
    from hub.cli.feed import feed
    from hub.cli.intake import intake, named_files

    files = list(named_files(paths))
    defaults = {"source": source, "language": language}
    if to is not None:
        try:
            summary = asyncio.run(feed(to, files, defaults, place.max_content_bytes))
        except asyncio.CancelledError:
            raise typer.Exit(TERMINATED) from None
        done = f"{summary['published']:,} published, {summary['rejected']:,} rejected."
    else:
        summary = asyncio.run(intake(place, files, defaults))
        done = (
            f"{summary['processed']:,} processed, {summary['unchanged']:,} unchanged,"
            f" {summary['rejected']:,} rejected. The graph is at version {summary['graph_version']:,}."
        )
    if as_json:
        print_json(summary)
    else:
        rate = summary["documents"] / max(summary["seconds"], 0.001)
        documents = count(summary["documents"], "document", "documents")
        typer.echo(f"{documents} in {summary['seconds']:.1f} s ({rate:,.0f}/s): {done}")
    if summary["rejected"]:
        raise typer.Exit(1)
