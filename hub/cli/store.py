"""`aime store`: what is done with a store as a whole."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from core.errors import InvalidInput
from core.store.dsn import shown
from hub.cli.options import JsonOption
from hub.cli.output import count, print_json

app = typer.Typer(no_args_is_help=True, help="Copy a store.")


@app.callback()
def _store() -> None:
    """Copy a store."""


@app.command(name="copy")
def copy_store(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy, such as sqlite:aime.db.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty one, such as postgresql://USER@HOST/DATABASE.")],
    as_json: JsonOption = False,
) -> None:
    """Copy everything that a store holds into an empty one: documents, history, log, checkpoints, deliveries, audit.

    No hub may write to either meanwhile. A copy that is broken off leaves the target empty, and can be made again.
    """
    if source == target:
        raise InvalidInput("FROM and TO are the same store")
    copied = asyncio.run(_copy(source, target))
    if as_json:
        print_json(copied)
    else:
        typer.echo(
            f"{shown(target)} holds what {shown(source)} does:"
            f" {count(copied['log'], 'log entry', 'log entries')},"
            f" {count(copied['documents'], 'document version', 'document versions')},"
            f" {count(copied['chunks'], 'chunk', 'chunks')},"
            f" {count(copied['audit'], 'audit record', 'audit records')}."
        )


async def _copy(source: str, target: str) -> dict[str, int]:
    from core.store.opening import store_of
    from core.store.transfer import copy
    from hub.cli.opening import check_exists

    await check_exists(source)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn())
    async with AsyncExitStack() as stack:
        opened = [store_of(url) for url in (source, target)]
        for store in opened:
            await store.open()
            stack.push_async_callback(store.close)
        bar = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal, transient=True))
        task = bar.add_task("copying", total=None)
        return await copy(opened[0], opened[1], lambda table, rows: bar.update(task, description=table, advance=rows))
