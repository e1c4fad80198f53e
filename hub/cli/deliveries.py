"""`aime deliveries`: what was sent to whom, and sending it again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json, print_table, warn, when

app = typer.Typer(help="Look at notifications, and send them again.", no_args_is_help=True)


@app.command(name="list")
@at_place
def list_(
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    state: Annotated[str | None, typer.Option(help="Only pending, delivered or dead ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, the newest first."""
    if state not in {None, "pending", "delivered", "dead"}:
        raise typer.BadParameter("must be pending, delivered or dead", param_hint="--state")
    found = asyncio.run(_list(place, endpoint, state, limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "endpoint", "event", "subject", "state", "attempts", "next attempt", "error"),
        (
            (
                each["id"],
                each["endpoint"],
                each["event"],
                each["subject"],
                each["state"],
                each["attempts"],
                when(each["next_attempt_at"]) if each["state"] == "pending" else None,
                each["error"],
            )
            for each in found
        ),
        empty="There are no deliveries.",
    )


@app.command()
@at_place
def replay(
    delivery_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids that `aime deliveries list` shows.")],
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Send deliveries again, with the same webhook-id. A hub that does not run sends them when it starts."""
    disabled = asyncio.run(_replay(place, delivery_ids))
    if as_json:
        print_json({"replayed": delivery_ids, "disabled": disabled})
    else:
        typer.echo(f"{len(delivery_ids)} will be sent again.")
    for name, reason in disabled.items():
        warn(f"{name} is disabled ({reason}): what goes there waits until `aime endpoints enable {name}`.")


async def _list(place: Place, endpoint: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        return await target.deliveries(endpoint=endpoint, state=state, limit=limit)


async def _replay(place: Place, delivery_ids: list[str]) -> dict[str, str]:
    """Those endpoints of the deliveries that are disabled, and why."""
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        names = {await target.replay(delivery_id) for delivery_id in delivery_ids}
        found = {each["name"]: each["disabled"] for each in await target.endpoints()}
    return {name: found[name] for name in sorted(names) if found.get(name)}
