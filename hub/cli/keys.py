"""`aime keys`: the API keys of the HTTP interface."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json, print_table, warn, when

app = typer.Typer(help="Make, list and end API keys.", no_args_is_help=True)


@app.command()
@at_place
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for, or who has it.")],
    scope: Annotated[list[str], typer.Option(help="read, write or admin; may be repeated.")] = ["read"],  # noqa: B006 - typer's form of a repeated option; it copies it
    principal: Annotated[
        list[str] | None, typer.Option(help="Whose documents it may see beside the public ones; may be repeated.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A duration such as 90d, or a date such as 2027-01-31.")
    ] = None,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is printed once and kept as a hash: nobody can show it again."""
    made = asyncio.run(_create(place, name, scope, principal or [], _expiry(expires)))
    if as_json:
        print_json(made)
    else:
        typer.echo(made["secret"])
        warn(f"This is the key {made['id']} ({made['name']}: {', '.join(made['scopes'])}). It is not shown again.")


@app.command(name="list")
@at_place
def list_(*, place: Place, as_json: JsonOption = False) -> None:
    """List every key, the revoked ones too; never the keys themselves."""
    keys = asyncio.run(_list(place))
    if as_json:
        print_json(keys)
        return
    print_table(
        ("id", "name", "scopes", "principals", "created", "expires", "revoked"),
        (
            (
                key["id"],
                key["name"],
                ", ".join(key["scopes"]),
                ", ".join(key["principals"]),
                when(key["created_at"]),
                when(key["expires_at"]),
                when(key["revoked_at"]),
            )
            for key in keys
        ),
        empty="There is no key yet; `aime keys create NAME` makes one.",
    )


@app.command()
@at_place
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `aime keys list` shows.")],
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """End a key now."""
    asyncio.run(_revoke(place, key_id))
    if as_json:
        print_json({"revoked": key_id})
    else:
        typer.echo(f"The key {key_id} is revoked.")


def _expiry(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    from core.model import parse_instant
    from hub.sdk.fields import parse_duration

    try:
        return datetime.now(UTC) + parse_duration(expires)
    except (ValueError, OverflowError):
        pass  # it is no duration; the message below names both forms
    try:
        return parse_instant(expires)
    except ValueError:
        message = "must be a duration such as 90d, or a date such as 2027-01-31"
        raise typer.BadParameter(message, param_hint="--expires") from None


async def _create(
    place: Place, name: str, scopes: list[str], principals: list[str], expires: datetime | None
) -> dict[str, Any]:
    from hub.cli.opening import open_target

    async with open_target(place, create=True) as target:
        return await target.create_key(name, scopes=scopes, principals=principals, expires_at=expires)


async def _list(place: Place) -> list[dict[str, Any]]:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        return await target.keys()


async def _revoke(place: Place, key_id: str) -> None:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        await target.revoke_key(key_id)
