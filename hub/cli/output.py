"""How commands print: JSON for programs on request, else text for people. Stdout has the result, stderr the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

import typer

QUOTE_CHARS = 400


def print_json(value: object) -> None:
    """One JSON value, with a newline."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Columns that line up, each as wide as its content; or the sentence `empty`. None and "" print as a dash."""
    cells = [["-" if cell in (None, "") else str(cell) for cell in row] for row in rows]
    if not cells:
        typer.echo(empty)
        return
    table = [[column.upper() for column in columns], *cells]
    widths = [max(len(row[place]) for row in table) for place in range(len(columns))]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def count(number: int, one: str, many: str) -> str:
    """`1 document`, `2,000 documents`."""
    return f"{number:,} {one if number == 1 else many}"


def shortened(text: str) -> str:
    """A quotation on one line, with its middle left out where it is long: its ends are what it is about."""
    line = " ".join(text.split())
    return (
        line
        if len(line) <= QUOTE_CHARS
        else f"{line[: QUOTE_CHARS // 2].rstrip()} … {line[-QUOTE_CHARS // 2 :].lstrip()}"
    )


def when(instant: str | None) -> str | None:
    """An instant of the API, to the second."""
    return None if instant is None else f"{instant[:19]}Z"


def warn(message: str) -> None:
    """A line on stderr."""
    typer.echo(message, err=True)
