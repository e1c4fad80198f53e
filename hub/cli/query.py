"""`aime query`: a question, and the answer with its quotations."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json

if TYPE_CHECKING:
    from core.model import Answer


@at_place
def query(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The question.")],
    filters: Annotated[
        str | None, typer.Option(metavar="JSON", help='What counts, such as \'{"source": "support_docs"}\'.')
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="The most documents that the answer quotes.")] = 5,
    as_of: Annotated[
        int | None,
        typer.Option("--as-of", min=0, metavar="VERSION", help="Answer from the graph as it was at this version."),
    ] = None,
    newest: Annotated[
        bool | None,
        typer.Option(
            "--newest/--any-age",
            help="Prefer the newest of equally relevant documents. [if the question asks for the latest]",
        ),
    ] = None,
    *,
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Ask the graph. Prints the answer, how well it is grounded, and the sentences that it stands on.

    An abstention is an answer too: the exit code is 0.
    """
    wanted = _parse_filters(filters)
    answer = asyncio.run(_ask(place, text, {"filters": wanted, "top_k": top_k, "as_of": as_of, "newest": newest}))
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        print_answer(answer)


async def _ask(place: Place, text: str, options: dict[str, Any]) -> Answer:
    from hub.cli.opening import open_target

    async with open_target(place) as target:
        return await target.query(text, **options)


def _parse_filters(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        filters = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is not JSON: {error}", param_hint="--filters") from None
    if not isinstance(filters, dict):
        raise typer.BadParameter('must be a JSON object, such as {"source": "support_docs"}', param_hint="--filters")
    return filters


def print_answer(answer: Answer) -> None:
    """The answer for people: the text, its groundedness, and each source with its score, quotation and place."""
    if answer.abstained:
        typer.secho(f"No answer: {answer.reason}", fg="yellow")
    else:
        typer.secho(answer.answer or "", bold=True)
    grounded = answer.validation
    typer.echo(f"groundedness {grounded.groundedness_score:.2f}, graph version {answer.graph_version}")
    for claim in grounded.unsupported_claims:
        typer.secho(f"unsupported: {claim}", fg="yellow")
    for number, source in enumerate(answer.sources, 1):
        title = f"{source.title} " if source.title else ""
        typer.echo(f"\n[{number}] {title}({source.document_id}, {source.start}-{source.end})  score {source.score:.3f}")
        typer.echo(f"    “{' '.join(source.quote.split())}”")
        if source.url:
            typer.secho(f"    {source.url}", dim=True)
