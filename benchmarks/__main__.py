"""`python -m benchmarks`: prints the table, writes the JSON, and fails when a promise is broken."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.corpus import choose
from benchmarks.figures import FIGURES, Bench, Figure, Unmeasured
from benchmarks.process import BUILD

QUICK_PASSAGES = 400
ROUNDS = 3
SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (100, 200)


def main() -> int:
    options = _options()
    figures = options.figure or list(FIGURES)
    # Under build/, since a temporary folder may be in memory, where nothing that is durable costs anything.
    BUILD.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=BUILD) as folder:
        corpus = choose(options.corpus, Path(folder), most=QUICK_PASSAGES if options.quick else None)
        bench = Bench(
            corpus,
            Path(folder),
            rounds=1 if options.quick else ROUNDS,
            sizes=QUICK_SIZES if options.quick else SIZES,
            plot=options.output.with_name("growth-quick.svg" if options.quick else "growth.svg"),
        )
        console = Console(stderr=True)
        console.print(f"corpus: {corpus.name}, {corpus.size:,} passages; {bench.rounds} round(s)")
        found = []
        for figure in figures:
            with console.status(figure.__name__.replace("_", " ")):
                try:
                    found.append(figure(bench))
                except Unmeasured as reason:
                    console.print(f"skipped: {figure.__name__}: {reason}")
    return report(found, options.output, judged=not options.quick)


def _options() -> argparse.Namespace:
    names = {figure.__name__: figure for figure in FIGURES}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, metavar="FILE", help="a BEIR corpus.jsonl; queries.jsonl beside it is used"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: few passages, one round, nothing is judged")
    parser.add_argument(
        "--figure", action="append", metavar="NAME", type=lambda name: names[name], help=", ".join(names)
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: build/bench.json, quick: build/bench-quick.json"
    )
    options = parser.parse_args()
    options.output = options.output or BUILD / ("bench-quick.json" if options.quick else "bench.json")
    return options


def report(figures: Sequence[Figure], output: Path, *, judged: bool) -> int:
    """Write and print them; the exit code."""
    output.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n", encoding="utf-8")
    table = Table()
    table.add_column("figure")
    for column in ("value", "limit", "ratio", "floor"):
        table.add_column(column, justify="right")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{_number(figure.value)} {figure.unit}",
            "" if figure.limit is None else f"{_number(figure.limit)} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.3f}",
            "" if figure.floor is None else f"{'≤' if figure.is_ceiling else '≥'} {figure.floor:g}",
            style="bold red" if judged and figure.is_broken else None,
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    broken = [figure for figure in figures if judged and figure.is_broken]
    for figure in broken:
        bound = "above" if figure.is_ceiling else "below"
        print(f"broken: {figure.name}: {figure.ratio:.3f} is {bound} {figure.floor:g}", file=sys.stderr)
    return 1 if broken else 0


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
