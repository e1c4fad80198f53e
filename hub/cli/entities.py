"""`aime entities`: who and what the graph knows, and how two of them are connected."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import InvalidInput, NotFound
from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import count, print_json, print_table, shortened

if TYPE_CHECKING:
    from core.views import EntitySummary, EntityView, Paths
    from hub.cli.target import Target

app = typer.Typer(help="Look at entities, and find the paths between two.", no_args_is_help=True)

EntityArgument = Annotated[str, typer.Argument(metavar="ENTITY", help="Its name, or its id of 16 hexadecimal digits.")]
_ID = re.compile(r"[0-9a-f]{16}")
_PLACES = 10
"""Places that are quoted on an entity's page."""
_NAMED = 20
"""Documents, relations and neighbours that are named there."""
_ALIKE = 20
"""Entities whose names contain what was asked for, among which the one of exactly that name is looked for."""


@app.command(name="list")
@at_place
def list_(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="What the name begins with or contains.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most that are listed.")] = 50,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """List entities by name, the most mentioned first."""
    found = asyncio.run(_list(place, text, limit))
    if as_json:
        print_json([entity.model_dump(mode="json") for entity in found])
        return
    print_table(
        ("id", "type", "name", "documents", "chunks"),
        ((each.id, each.type.value, each.name, each.documents, each.chunks) for each in found),
        empty="No entity has such a name.",
    )


async def _list(place: Place, text: str, limit: int) -> list[EntitySummary]:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        return await target.entities(text, limit)


@app.command()
@at_place
def show(
    entity: EntityArgument,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Show an entity: where it is named, what beside, and what is stated of it."""
    found = asyncio.run(_show(place, entity))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_entity(found)


async def _show(place: Place, entity: str) -> EntityView:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        return await target.entity(await _resolve(target, entity))


@app.command()
@at_place
def paths(
    from_: Annotated[str, typer.Argument(metavar="FROM", help="An entity: its name, or its id.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="Another.")],
    max_length: Annotated[int, typer.Option(min=1, max=5, help="Steps of the longest path.")] = 3,
    limit: Annotated[int, typer.Option(min=1, max=50, help="The most that are printed.")] = 10,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Find the shortest paths from one entity to another, each step with a quotation. None is an answer, too: the exit
    code is 0."""
    found = asyncio.run(_paths(place, from_, to, max_length, limit))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_paths(found, max_length)


async def _paths(place: Place, from_: str, to: str, max_length: int, limit: int) -> Paths:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        ends = await _resolve(target, from_), await _resolve(target, to)
        return await target.paths(*ends, max_length=max_length, limit=limit)


async def _resolve(target: Target, entity: str) -> int:
    """The id of the entity of this id or name. Raises NotFound that lists what comes near, InvalidInput for no name."""
    if _ID.fullmatch(entity):
        return int(entity, 16)
    if not entity.strip():
        raise InvalidInput("must not be empty", field="entity")
    found = await target.entities(entity, _ALIKE)
    sought = " ".join(entity.split()).casefold()
    for each in found:
        if each.name.casefold() == sought:
            return int(each.id, 16)
    near = ", ".join(each.name for each in found[:5])
    raise NotFound(f"there is no entity {entity[:80]!r}" + (f"; there are {near}" if near else ""))


def print_entity(view: EntityView) -> None:
    """The page of an entity, for people."""
    typer.secho(view.name, bold=True)
    documents = count(view.documents, "document", "documents")
    typer.echo(f"{view.type.value} {view.id}, in {documents} and {count(view.chunks, 'chunk', 'chunks')}")
    for mention in view.mentions[:_PLACES]:
        typer.echo(f"\n({mention.document_id}, {mention.start}-{mention.end})")
        typer.echo(f"    “{shortened(mention.sentence)}”")
    quoted = {mention.document_id for mention in view.mentions[:_PLACES]}
    if others := [each for each in view.named_in if each.document_id not in quoted]:
        named = ", ".join(f"{each.document_id} ({each.chunks})" for each in others[:_NAMED])
        typer.echo(f"\nalso in {named}{', …' if view.documents > len(quoted) + len(others[:_NAMED]) else ''}")
    if view.relations:
        typer.echo()
    for relation in view.relations[:_NAMED]:
        typer.echo(f"{relation.subject.name} - {relation.predicate} - {relation.object.name} ({relation.documents})")
    if view.neighbours:
        typer.echo("\nbeside " + ", ".join(f"{each.name} ({each.chunks})" for each in view.neighbours[:_NAMED]))


def print_paths(found: Paths, max_length: int) -> None:
    """Every path, for people."""
    if not found.paths:
        typer.secho(f"No path of at most {max_length} steps.", fg="yellow")
    for number, path in enumerate(found.paths, 1):
        names = [path[0].first.name, *(step.second.name for step in path)]
        typer.secho(f"[{number}] {' - '.join(names)}", bold=True)
        for step in path:
            typer.echo(f"    {step.title or ''} ({step.document_id}, {step.start}-{step.end})".replace("  (", " ("))
            typer.echo(f"        “{shortened(step.quote)}”")
