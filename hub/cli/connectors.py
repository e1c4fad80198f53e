"""`aime connectors`: the instances of `plugins.toml`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json, print_table, warn, when

if TYPE_CHECKING:
    from hub.cli.fleet import Fleet

app = typer.Typer(help="Look after the connectors of plugins.toml.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of its [connectors.NAME] table.")]
Json = dict[str, Any]
T = TypeVar("T")


@app.command(name="list")
@at_place
def list_(*, place: Place, as_json: JsonOption = False) -> None:
    """List the connectors: their state in the running hub, or what the configuration says where none runs."""
    found = _with_fleet(place, lambda fleet: fleet.list())
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "kind", "state", "last run", "next run", "processed", "last error"),
        (
            (
                each["name"],
                each["kind"],
                each["state"],
                when(each["last_run"]),
                when(each["next_run"]),
                each["documents"]["processed"],
                each["last_error"],
            )
            for each in found
        ),
        empty="The configuration has no connectors.",
    )


@app.command()
@at_place
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="All if none is named.")] = None,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Ask each outside system whether it answers, with the address and credentials of the configuration."""

    async def check_all(fleet: Fleet) -> list[Json]:
        wanted = names or [each["name"] for each in await fleet.list()]
        return [{"name": name, **await fleet.check(name)} for name in wanted]

    found = _with_fleet(place, check_all)
    if as_json:
        print_json(found)
    else:
        rows = ((each["name"], "ok" if each["ok"] else "FAILED", each["detail"]) for each in found)
        print_table(("name", "check", "detail"), rows, empty="The configuration has no connectors.")
    if not all(each["ok"] for each in found):
        raise typer.Exit(1)


@app.command()
@at_place
def run(
    name: NameArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also delete what is gone at the source, however much it is.")
    ] = False,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Let one connector read its source now, and wait until it has. Exit code 1 when the run ends early."""
    report = _with_fleet(place, lambda fleet: fleet.run(name, force=force), drive=name)
    if as_json:
        print_json(report)
    else:
        counts = {what: report[what] for what in ("processed", "unchanged", "deleted", "rejected")}
        if any(counts.values()):
            typer.echo(f"{name}: {', '.join(f'{number:,} {what}' for what, number in counts.items())}.")
        elif not report["error"]:
            typer.echo(f"{name}: its source has nothing new since the last run.")
        if report["error"]:
            warn(f"{name}: ended early: {report['error']}")
    if report["error"] or report["rejected"]:
        raise typer.Exit(1)


@app.command()
@at_place
def pause(name: NameArgument, *, place: Place, as_json: JsonOption = False) -> None:
    """Stop one connector until it is resumed; the pause outlives restarts."""
    _show_state(_with_fleet(place, lambda fleet: fleet.pause(name)), as_json=as_json)


@app.command()
@at_place
def resume(name: NameArgument, *, place: Place, as_json: JsonOption = False) -> None:
    """Let a paused or failed connector work again."""
    _show_state(_with_fleet(place, lambda fleet: fleet.resume(name)), as_json=as_json)


def _with_fleet(place: Place, work: Callable[[Fleet], Awaitable[T]], *, drive: str | None = None) -> T:
    async def _work() -> T:
        from hub.cli.fleet import open_fleet

        async with open_fleet(place, drive=drive) as fleet:
            return await work(fleet)

    return asyncio.run(_work())


def _show_state(found: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found['name']} ({found['kind']}) is {found['state']}.")
