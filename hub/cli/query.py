"""`aime query`: a question, and the answer with its quotations."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.options import JsonOption, Place, at_place
from hub.cli.output import print_json
from hub.cli.target import Json

if TYPE_CHECKING:
    from core.views import Answer


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
    wanted = parse_object(filters, "--filters")
    answer = asyncio.run(_ask(place, text, {"filters": wanted, "top_k": top_k, "as_of": as_of, "newest": newest}))
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        print_answer(answer)


async def _ask(place: Place, text: str, options: dict[str, Any]) -> Answer:
    from hub.cli.opening import open_target

    async with open_target(place, worded=True) as target:
        return await target.query(text, **options)


def parse_object(text: str | None, option: str) -> Json | None:
    """The JSON object that an option was given. Raises BadParameter."""
    if text is None:
        return None
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is not JSON: {error}", param_hint=option) from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter('must be a JSON object, such as {"source": "support_docs"}', param_hint=option)
    return parsed


def print_answer(answer: Answer) -> None:
    """The answer for people: the text, its groundedness, and each source with its score, quotation and place."""
    print_text(answer.answer, answer.reason)
    grounded = answer.validation
    typer.echo(f"groundedness {grounded.groundedness_score:.2f}, graph version {answer.graph_version}")
    if (how := answer.composition) is not None:
        typer.echo(f"worded by {how.model}" if how.fallback is None else f"not worded by {how.model}: {how.reason}")
    for claim in grounded.unsupported_claims:
        typer.secho(f"unsupported: {claim}", fg="yellow")
    for number, source in enumerate(answer.sources, 1):
        place = f"{source.document_id}, {source.start}-{source.end}"
        print_quotation(number, source.title, place, source.url, source.quote, note=f"score {source.score:.3f}")


def print_text(answer: str | None, reason: str | None) -> None:
    """What is answered, or why nothing is."""
    if answer is None:
        typer.secho(f"No answer: {reason}", fg="yellow")
    else:
        typer.secho(answer, bold=True)


def print_quotation(number: int, title: str | None, place: str, url: str | None, *quotes: str, note: str = "") -> None:
    """A source, by its number: where it is, and what is quoted of it."""
    typer.echo(f"\n[{number}] {f'{title} ' if title else ''}({place})  {note}".rstrip())
    for quote in quotes:
        typer.echo(f"    “{' '.join(quote.split())}”")
    if url:
        typer.secho(f"    {url}", dim=True)
