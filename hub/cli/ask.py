"""`aime ask`: a question in a connector's own form."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json
from hub.cli.query import parse_object, print_quotation, print_text
from hub.cli.target import Json


@at_place
def ask(
    connector: Annotated[str, typer.Argument(metavar="CONNECTOR", help="The name of its [connectors.NAME] table.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The question.")],
    fields: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="What else the form takes, such as '{\"min_groundedness\": 0.5}'."),
    ] = None,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Ask a connector that answers questions: as a help desk does, for research, or in a form of its own.

    An abstention is an answer too: the exit code is 0.
    """
    others = parse_object(fields, "--fields") or {}
    if taken := {"query", "callback_url"} & others.keys():
        raise typer.BadParameter(f"may not have {min(taken)!r}", param_hint="--fields")
    answer = asyncio.run(_ask(place, connector, {"query": text, **others}))
    if as_json:
        print_json(answer)
    else:
        print_answer(answer)


async def _ask(place: Place, connector: str, asked: Json) -> Json:
    from hub.cli.fleet import open_fleet

    async with open_fleet(place) as fleet:
        return await fleet.ask(connector, asked)


def print_answer(answer: Json) -> None:
    """The answer for people, where its form is one of the hub's own; another one as it is."""
    from pydantic import TypeAdapter, ValidationError

    from hub.sdk.integrations import ResearchAnswer, SupportAnswer

    forms: TypeAdapter[SupportAnswer | ResearchAnswer] = TypeAdapter(SupportAnswer | ResearchAnswer)
    try:
        found = forms.validate_python(answer)
    except ValidationError:
        print_json(answer)
        return
    print_text(found.answer, found.reason)
    if isinstance(found, SupportAnswer):
        typer.echo(f"confidence {found.confidence:.2f}")
        for number, source in enumerate(found.sources, 1):
            print_quotation(number, source.title, source.document_id, source.url, source.quote)
    else:
        typer.echo(f"groundedness {found.validation.groundedness_score:.2f}")
        for number, paper in enumerate(found.papers, 1):
            print_quotation(number, paper.title, paper.document_id, paper.url, *paper.quotes)
