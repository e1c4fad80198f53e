"""Asking questions of a store in process."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.corpus import read_questions
from core.memory import keep_little
from core.service import create_graph_service
from hub.cli.interpreter import collect_rarely, switch_often

WARM_UP = 10


async def ask(store: str, questions: str) -> list[float]:
    """Milliseconds of each question, one after the other, after a few that warm up."""
    collect_rarely()  # as every `aime` command does
    switch_often()
    keep_little()
    texts = read_questions(Path(questions))
    latencies = []
    async with await create_graph_service(f"sqlite:{store}") as service:
        for text in texts[:WARM_UP]:
            await service.query(text, top_k=1)  # another question than those that are timed, whose answers are kept
        for text in texts:
            begun = time.perf_counter()
            await service.query(text)
            latencies.append((time.perf_counter() - begun) * 1000)
    return latencies
