"""`aime endpoints`: where a running hub sends notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import count, print_json, print_table, warn
from hub.cli.target import Json

if TYPE_CHECKING:
    from hub.cli.remote import RemoteTarget

app = typer.Typer(help="Look after the endpoints of notifications. The hub has to be running.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The connector that notifies, by its name.")]
T = TypeVar("T")


@app.command(name="list")
@at_place
def list_(*, place: Place, as_json: JsonOption = False) -> None:
    """List the endpoints of the running hub: what they ask for, their state, and what waits for them."""
    found = _with_hub(place, lambda hub: hub.json("GET", "/admin/endpoints"))["endpoints"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "state", "pending", "dead", "events", "reason"),
        (
            (each["name"], each["state"], each["pending"], each["dead"], ", ".join(each["events"]), each["reason"])
            for each in found
        ),
        empty="No connector of the hub notifies.",
    )


@app.command(name="test")
@at_place
def send_test(name: NameArgument, *, place: Place, as_json: JsonOption = False) -> None:
    """Send an endpoint a test notification now, once. Exit code 1 when it does not arrive."""
    outcome: Json = _with_hub(place, lambda hub: hub.json("POST", _path(name, "test")))
    if as_json:
        print_json(outcome)
    elif outcome["delivered"]:
        typer.echo(f"{name} took it.")
    else:
        warn(f"{name} did not take it: {outcome['error']}")
    if not outcome["delivered"]:
        raise typer.Exit(1)


@app.command()
@at_place
def enable(name: NameArgument, *, place: Place, as_json: JsonOption = False) -> None:
    """Send to a disabled endpoint again; what has waited for it goes out first."""
    _switch(place, name, "enable", as_json=as_json)


@app.command()
@at_place
def disable(name: NameArgument, *, place: Place, as_json: JsonOption = False) -> None:
    """Send nothing more to an endpoint until it is enabled; its deliveries wait."""
    _switch(place, name, "disable", as_json=as_json)


def _switch(place: Place, name: str, action: str, *, as_json: bool) -> None:
    found = _with_hub(place, lambda hub: hub.json("POST", _path(name, action)))["endpoints"]
    [endpoint] = [each for each in found if each["name"] == name]
    if as_json:
        print_json(endpoint)
    else:
        waiting = count(endpoint["pending"], "delivery", "deliveries")
        typer.echo(f"{name} is {'disabled' if endpoint['state'] == 'disabled' else 'enabled'}; {waiting} pending.")


def _path(name: str, action: str) -> str:
    return f"/admin/endpoints/{quote(name, safe='')}/{action}"


def _with_hub(place: Place, work: Callable[[RemoteTarget], Awaitable[T]]) -> T:
    async def _work() -> T:
        from hub.cli.opening import open_hub

        async with open_hub(place) as hub:
            return await work(hub)

    return asyncio.run(_work())
