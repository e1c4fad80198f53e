"""How answering grows with the corpus."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TypedDict

from benchmarks.corpus import read_questions
from benchmarks.ingest import Holds
from benchmarks.process import memory
from core.memory import keep_little
from core.service import create_graph_service
from hub.cli.interpreter import collect_rarely, switch_often


class Grown(TypedDict):
    """`latencies_ms` of each question; `memory_mb`: by how much the process grew for holding the store's index;
    `longest_hold_ms`: the longest that the event loop was late for a tick while it answered."""

    latencies_ms: list[float]
    memory_mb: float
    longest_hold_ms: float


async def ask(store: str, questions: str) -> Grown:
    """Open a store that is filled, and ask its questions one after the other."""
    collect_rarely()  # as every `aime` command does
    switch_often()
    keep_little()
    before = memory()
    texts = read_questions(Path(questions))
    async with await create_graph_service(f"sqlite:{store}") as service:
        await service.catch_up()
        await service.query(texts[0], top_k=1)
        held = Holds()
        watch = asyncio.create_task(held.watch())
        latencies = []
        for text in texts:
            begun = time.perf_counter()
            await service.query(text)
            latencies.append((time.perf_counter() - begun) * 1000)
        watch.cancel()
        return {
            "latencies_ms": latencies,
            "memory_mb": memory() - before,
            "longest_hold_ms": held.longest * 1000,
        }
