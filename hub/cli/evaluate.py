"""`aime eval`: how good the rankings are, on judged questions."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import InvalidInput
from hub.cli.options import ConfigOption, JsonOption, Place, StoreOption
from hub.cli.output import count, print_json

if TYPE_CHECKING:
    from core.service import GraphService


def evaluate(
    queries: Annotated[Path, typer.Option(metavar="FILE", help="BEIR's queries.jsonl.")],
    qrels: Annotated[Path, typer.Option(metavar="FILE", help="BEIR's qrels: question, document, grade.")],
    corpus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Documents to ask, in a store made for this run alone.")
    ] = None,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure recall@2, @5, @10, nDCG@10 and latency, on documents: a document's best chunk counts.

    The store is opened by this command itself, so no hub may run on it.
    """
    if corpus is not None and store is not None:
        raise typer.BadParameter("give either --corpus or --store, not both")
    figures = asyncio.run(_evaluate(queries, qrels, corpus, _place(store, config, corpus)))
    if as_json:
        print_json(figures)
        return
    asked = count(figures["questions"], "question", "questions")
    typer.echo(f"{count(figures['documents'], 'document', 'documents')}, {asked}")
    for name in ("recall@2", "recall@5", "recall@10", "ndcg@10"):
        typer.echo(f"{name:<10} {figures[name]:.4f}")
    latency = figures["latency_ms"]
    typer.echo(f"latency    p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms")


def _place(store: str | None, config: Path | None, corpus: Path | None) -> Place:
    """Its store matters when there is no corpus, its options in any case."""
    place = Place.of(store=store or ("sqlite::memory:" if corpus else None), url=None, api_key=None, config=config)
    if place.url is not None:
        raise typer.BadParameter("needs a store, and AIME_URL names a hub: give --store or --corpus")
    return place


async def _evaluate(queries: Path, qrels: Path, corpus: Path | None, place: Place) -> dict[str, Any]:
    from core.evaluation import evaluate as measure
    from core.evaluation import read_questions
    from hub.cli.opening import check_exists, open_store

    questions = read_questions(queries, qrels)
    if corpus is None:
        check_exists(place.store)
        async with await open_store(place) as service:
            return await measure(service, questions)
    with tempfile.TemporaryDirectory(prefix="aime-eval-") as folder:
        async with await open_store(place, f"sqlite:{folder}/corpus.db") as service:
            await _add(service, corpus)
            return await measure(service, questions)


async def _add(service: GraphService, corpus: Path) -> None:
    """Raises InvalidInput for a document that is refused: figures over a part of the corpus would mislead."""
    async for result in service.process_documents(_documents(corpus), origin="cli", actor="cli"):
        if result.error is not None:
            named = result.document_id or "a document"
            raise InvalidInput(f"{corpus}: {named} was refused: {result.error.message}", field=result.error.field)


def _documents(corpus: Path) -> Iterator[dict[str, Any]]:
    from hub.sdk.files import read_documents

    for record in read_documents(corpus, corpus.name):
        if record.fields is None:
            raise InvalidInput(f"{record.where}: {record.error}")
        yield record.fields
