"""The benchmarks run, and write what scripts read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import report
from benchmarks.figures import Figure

ROOT = Path(__file__).parents[2]
KEYS = {"name", "value", "unit", "limit", "ratio", "floor"}


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_a_quick_run_measures_every_figure_and_writes_them_as_a_list(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    done = bench("--quick", "--output", str(output))
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text(encoding="utf-8"))
    assert all(figure.keys() == KEYS for figure in figures)
    assert all(figure["value"] > 0 for figure in figures)
    assert all(
        figure["ratio"] is None or abs(figure["ratio"] - figure["value"] / figure["limit"]) < 1e-9 for figure in figures
    )
    promised = {figure["name"]: figure["floor"] for figure in figures if figure["floor"] is not None}
    # What needs a server is measured where there is one, and says so where there is none.
    for name, figure, floor in (
        ("projection, edges written", "projected", 0.7),
        ("ingest on PostgreSQL (of the same on SQLite)", "postgres_ingest", 0.8),
        ("RabbitMQ, consumed, durable and acked (of a bare loop)", "rabbitmq_consumed", 0.15),
        ("SQS, received, durable and deleted (of a bare loop)", "sqs_consumed", 0.5),
        ("two nodes of one process that share a queue and a database (of one)", "nodes_consume", 1.4),
    ):
        assert promised.pop(name, None) == (None if f"skipped: {figure}" in done.stderr else floor)
    assert {floor for name, floor in promised.items() if "(at most)" not in name} == {0.12, 0.4}
    assert len(promised) == 12
    for figure in figures:
        assert figure["name"] in done.stdout
    plot = ET.parse(tmp_path / "growth-quick.svg").getroot()
    assert {"100", "200", "p50", "p99", "resident"} <= set(plot.itertext())


@pytest.mark.parametrize(
    ("figure", "code"),
    [
        (Figure("fast enough", 12.0, "passages/s", 100, 0.12), 0),
        (Figure("too slow", 11.9, "passages/s", 100, 0.12), 1),
        (Figure("small enough (at most)", 500.0, "MB", 500, 1.0, is_ceiling=True), 0),
        (Figure("too large (at most)", 501.0, "MB", 500, 1.0, is_ceiling=True), 1),
        (Figure("too large, whatever its name", 501.0, "MB", 500, 1.0, is_ceiling=True), 1),
        (Figure("told only", 1000.0, "ms"), 0),
    ],
)
def test_a_broken_promise_ends_the_run_with_an_error_that_names_it(
    figure: Figure, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([figure], tmp_path / "bench.json", judged=True) == code
    assert (f"broken: {figure.name}" in capsys.readouterr().err) == bool(code)
    assert report([figure], tmp_path / "bench.json", judged=False) == 0
