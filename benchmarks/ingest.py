"""Taking a corpus in: the hub's whole durable path."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TypedDict

from benchmarks.corpus import read_documents
from benchmarks.process import memory
from core.memory import keep_little
from core.service import create_graph_service
from hub.cli.interpreter import collect_rarely, switch_often

TICK_SECONDS = 0.005


class Ingested(TypedDict):
    """`seconds` from the first document to an index that has caught up; `peak_mb` over the whole life of the process;
    `longest_hold_ms`: the longest that the event loop was late for a tick."""

    seconds: float
    peak_mb: float
    longest_hold_ms: float


async def hub(documents: str, url: str) -> Ingested:
    """Everything that a hub that is ready does with a document, until the last one is durable and can be asked for."""
    collect_rarely()  # as every `aime` command does
    switch_often()
    keep_little()
    async with await create_graph_service(url) as service:
        await service.catch_up()
        held = Holds()
        watch = asyncio.create_task(held.watch())
        begun = time.perf_counter()
        async for result in service.process_documents(read_documents(Path(documents))):
            if result.error is not None:
                raise RuntimeError(f"{result.document_id}: {result.error.message}")
        await service.catch_up()
        seconds = time.perf_counter() - begun
        watch.cancel()
        return {"seconds": seconds, "peak_mb": memory(peak=True), "longest_hold_ms": held.longest * 1000}


class Holds:
    """How late the event loop comes to a timer."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - due)
