"""`aime eval`: how good the rankings are, on judged questions."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import InvalidInput
from hub.cli.options import ConfigOption, JsonOption, Place, StoreOption
from hub.cli.output import count, print_json

if TYPE_CHECKING:
    from core.evaluation import JudgedQuestion
    from core.service import GraphService


def evaluate(
    queries: Annotated[Path, typer.Option(metavar="FILE", help="BEIR's queries.jsonl.")],
    qrels: Annotated[Path, typer.Option(metavar="FILE", help="BEIR's qrels: question, document, grade.")],
    corpus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Documents to ask, in a store made for this run alone.")
    ] = None,
    abstention: Annotated[
        bool, typer.Option("--abstention", help="Ask again without the relevant documents. Needs --corpus.")
    ] = False,
    answers: Annotated[
        bool, typer.Option("--answers", help="Compare answers with the queries' own. Needs a text `answer` in them.")
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure recall@2, @5, @10, nDCG@10 and latency, on documents: a document's best chunk counts.

    With --abstention every question is asked of the whole corpus and, once more, after its relevant documents were
    deleted: what share gets an answer, how well the groundedness score tells the two apart, and what is risked at each
    coverage.

    With --answers every question that has a reference answer is asked, and the answer's words are compared with it:
    token F1, and where it is low, whether the document was missed, another one or another passage was quoted, or only a
    part.

    The store is opened by this command itself, so no hub may run on it.
    """
    if corpus is not None and store is not None:
        raise typer.BadParameter("give either --corpus or --store, not both")
    if abstention and corpus is None:
        raise typer.BadParameter("--abstention deletes documents, so it needs --corpus")
    place = _place(store, config, corpus)
    figures = asyncio.run(_evaluate(queries, qrels, corpus, place, abstention=abstention, answers=answers))
    if as_json:
        print_json(figures)
        return
    asked = count(figures["questions"], "question", "questions")
    typer.echo(f"{count(figures['documents'], 'document', 'documents')}, {asked}")
    for name in ("recall@2", "recall@5", "recall@10", "ndcg@10"):
        typer.echo(f"{name:<10} {figures[name]:.4f}")
    latency = figures["latency_ms"]
    typer.echo(f"latency    p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms")
    if abstention:
        _print_abstention(figures["abstention"])
    if answers:
        _print_answers(figures["answers"])


def _print_answers(figures: dict[str, Any]) -> None:
    typer.echo(
        f"answers    token F1 {figures['token_f1']:.3f} over {count(figures['questions'], 'question', 'questions')}; "
        f"{figures['answered']:.1%} answered, with {figures['answered_token_f1']:.3f}"
    )
    typer.echo(f"good       {figures['good']:.1%}")
    for kind, number in figures["failures"].items():
        typer.echo(f"{kind:<16} {number}")


def _print_abstention(figures: dict[str, Any]) -> None:
    answered = figures["answered"]
    typer.echo(
        f"answered   {answered['answerable']:.1%} of the answerable, {answered['all_present']:.1%} of all whose "
        f"documents are there, {answered['unanswerable']:.1%} of the unanswerable"
    )
    typer.echo(f"score      AUROC {figures['auroc']:.3f}, expected calibration error {figures['ece']:.3f}")
    typer.echo("coverage   risk   from a groundedness of")
    for point in figures["risk_coverage"]:
        typer.echo(f"{point['coverage']:8.0%} {point['risk']:6.1%}   {point['groundedness']:.3f}")


def _place(store: str | None, config: Path | None, corpus: Path | None) -> Place:
    """Its store matters when there is no corpus, its options in any case."""
    place = Place.of(store=store or ("sqlite::memory:" if corpus else None), url=None, api_key=None, config=config)
    if place.url is not None:
        raise typer.BadParameter("needs a store, and AIME_URL names a hub: give --store or --corpus")
    return place


async def _evaluate(
    queries: Path, qrels: Path, corpus: Path | None, place: Place, *, abstention: bool, answers: bool
) -> dict[str, Any]:
    from core.abstention import abstention as figures_of
    from core.abstention import ask_twice
    from core.evaluation import read_questions
    from hub.cli.opening import check_exists, open_store

    questions = read_questions(queries, qrels)
    if corpus is None:
        await check_exists(place.store)
        async with await open_store(place) as service:
            return await _measure(service, questions, answers=answers)
    with tempfile.TemporaryDirectory(prefix="aime-eval-") as folder:
        async with await open_store(place, f"sqlite:{folder}/corpus.db") as service:
            await _add(service, corpus)
            figures = await _measure(service, questions, answers=answers)
            if abstention:
                documents = {fields["document_id"]: fields for fields in _documents(corpus)}
                figures["abstention"] = figures_of(await ask_twice(service, questions, documents))
            return figures


async def _measure(service: GraphService, questions: Sequence[JudgedQuestion], *, answers: bool) -> dict[str, Any]:
    from core.answer_overlap import answer_overlap
    from core.evaluation import evaluate as measure

    await service.catch_up()
    figures: dict[str, Any] = dict(await measure(service, questions))
    if answers:
        figures["answers"] = await answer_overlap(service, questions)
    return figures


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
