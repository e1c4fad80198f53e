"""`aime audit`: who did what, to what, with what outcome."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json, print_table, when


@at_place
def audit(
    action: Annotated[str | None, typer.Option(help="Only this action, such as document.rejected.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only this actor: a key's id, a connector, cli or hub.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Show the audit trail, the newest record first. It never holds a secret."""
    records = asyncio.run(_read(place, action, actor, limit))
    if as_json:
        print_json(records)
        return
    print_table(
        ("at", "actor", "action", "subject", "detail"),
        (
            (when(record["at"]), record["actor"], record["action"], record["subject"], _detail(record["detail"]))
            for record in records
        ),
        empty="Nothing is recorded.",
    )


def _detail(detail: dict[str, Any]) -> str:
    return " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in detail.items())


async def _read(place: Place, action: str | None, actor: str | None, limit: int) -> list[dict[str, Any]]:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        return await target.audit(action=action, actor=actor, limit=limit)
