"""Where analysis runs: a thread beside the event loop, or a pool of processes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

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
        self._workers = workers
        self._executor = self._start()

    def _start(self) -> Executor:
        if self._workers:
            # Not fork: a forked child would inherit the locks that other threads hold at that moment.
            return ProcessPoolExecutor(self._workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
        return ThreadPoolExecutor(1, thread_name_prefix="analysis")

    async def analyse(self, batch: Sequence[Task]) -> list[Result]:
        """One result for each, in order; what goes wrong with a document is its result, and stays with it."""
        if sum(len(document.content) for document, _ in batch) < INLINE_CHARS:
            return _analyse_part(batch)
        size = -(-len(batch) // max(self._workers, 1))
        parts = [batch[at : at + size] for at in range(0, len(batch), size)]
        try:
            done = await asyncio.gather(*(self._run(part) for part in parts))
        except BrokenProcessPool:
            log.warning("an analysis process ended; its documents are tried one by one", documents=len(batch))
            done = [[await self._run_alone(task)] for task in batch]
        return list(chain.from_iterable(done))

    async def _run(self, part: Sequence[Task]) -> list[Result]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, _analyse_part, part)

    async def _run_alone(self, task: Task) -> Result:
        """In a pool that may have just broken, and that this document may break again."""
        for _ in range(2):
            try:
                return (await self._run([task]))[0]
            except BrokenProcessPool as error:
                broken = error
                self._executor.shutdown(wait=False)
                self._executor = self._start()
        return broken

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the hub's does, however that ends: a killed parent closes no queue."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _analyse_part(part: Sequence[Task]) -> list[Result]:
    return [_analyse_one(document, known) for document, known in part]


def _analyse_one(document: Document, known: frozenset[bytes]) -> Result:
    try:
        return analyse(document, known)
    except Exception as error:  # one document that breaks the analyser must not take its group along
        log.exception("analysis failed", document_id=document.document_id)
        return error
