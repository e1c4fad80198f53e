"""Where analysis runs: a thread beside the event loop, or a pool of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from multiprocessing import get_context

import structlog

from core.analysis.analyse import analyse
from core.model import ChunkDraft, Document

log = structlog.stdlib.get_logger(__name__)

INLINE_CHARS = 50_000
"""A batch of less text takes a few milliseconds: less than handing it over costs while other threads are busy."""

Task = tuple[Document, frozenset[bytes]]
"""A document and the hashes of the chunks already stored of it."""
Result = tuple[ChunkDraft, ...] | Exception


class AnalysisPool:
    """`workers` 0 analyses in one thread of this process; more, in as many processes of their own."""

    def __init__(self, workers: int = 0) -> None:
        self._parts = max(workers, 1)
        self._executor: Executor = (
            # Not fork: a forked child would inherit the locks that other threads hold at that moment.
            ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
            if workers
            else ThreadPoolExecutor(1, thread_name_prefix="analysis")
        )

    async def analyse(self, batch: Sequence[Task]) -> list[Result]:
        """One result for each, in order; what goes wrong with a document is its result, and stays with it."""
        if sum(len(document.content) for document, _ in batch) < INLINE_CHARS:
            return _analyse_part(batch)
        loop = asyncio.get_running_loop()
        size = -(-len(batch) // self._parts)
        parts = [batch[at : at + size] for at in range(0, len(batch), size)]
        done = await asyncio.gather(*(loop.run_in_executor(self._executor, _analyse_part, part) for part in parts))
        return list(chain.from_iterable(done))

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


def _analyse_part(part: Sequence[Task]) -> list[Result]:
    return [_analyse_one(document, known) for document, known in part]


def _analyse_one(document: Document, known: frozenset[bytes]) -> Result:
    try:
        return analyse(document, known)
    except Exception as error:  # one document that breaks the analyser must not take its group along
        log.exception("analysis failed", document_id=document.document_id)
        return error
