"""`aime gc`: drop history that nobody reads any more."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json


@at_place
def gc(
    before: Annotated[
        int | None,
        typer.Option(min=0, metavar="VERSION", help="The oldest version that stays readable; the newest if not given."),
    ] = None,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Drop document versions that were replaced or deleted before a version. The documents of today are not touched."""
    version, dropped = asyncio.run(_collect(place, before))
    if as_json:
        print_json({"before": version, "dropped": dropped})
    else:
        typer.echo(f"{dropped:,} document versions dropped. The graph can be read as of version {version:,} and later.")


async def _collect(place: Place, before: int | None) -> tuple[int, int]:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        version = await target.head() if before is None else before
        return version, await target.gc(version)
