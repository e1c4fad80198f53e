"""Where analysis runs: a thread beside the event loop, or processes of their own."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from itertools import chain
from math import inf
from typing import Final

import structlog

from core.analysis.source import Source
from core.analysis.worker import LENGTH_BYTES, READY, Result, Task, analyse_batch, request
from core.model import Document

log = structlog.stdlib.get_logger(__name__)

INLINE_CHARS: Final = 1_000
"""A batch of less text takes half a millisecond: less than handing it over costs while other threads are busy."""
START_SECONDS: Final = 60.0
END_SECONDS: Final = 5.0
ALONE_TRIES: Final = 2
REST_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 300.0
"""The largest document takes about ten on one core."""

NOT_STARTED: Final = "no analysis process; documents are analysed in a thread"

DEFAULT_WORKERS: Final = 1
"""More is more than the one process that writes can take in."""


class ProcessEnded(Exception):
    """An analysis process ended before it answered."""


class AnalysisPool:
    """`workers` 0 analyses in one thread of this process; more, in as many processes of their own, which start beside
    the first batch that is worth it and take over once they are ready. One that does not answer within `patience`
    seconds is ended, and counts as one that has ended."""

    def __init__(self, workers: int = 0, *, patience: float = PATIENCE_SECONDS) -> None:
        self._workers = [Worker(patience) for _ in range(workers)]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="analysis")

    @property
    def saturated(self) -> bool:
        """Whether the processes have more than they can do, so that this one has time for other work."""
        return bool(self._workers) and all(worker.waiting > 1 for worker in self._workers)

    async def analyse(self, batch: Sequence[tuple[Document, frozenset[bytes]]]) -> list[Result]:
        """One result for each document, which comes with the hashes of the chunks already stored of it, in order; what
        goes wrong with a document is its result, and stays with it."""
        results = await self._analyse([(Source.of(document), known) for document, known in batch])
        for (document, _), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                notes = getattr(result, "__notes__", ())
                log.error("analysis failed", document_id=document.document_id, error=str(result), trace="".join(notes))
        return results

    async def _analyse(self, batch: Sequence[Task]) -> list[Result]:
        if sum(len(source.content) for source, _ in batch) < INLINE_CHARS:
            return analyse_batch(batch)
        for worker in self._workers:
            worker.start()
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            return await asyncio.get_running_loop().run_in_executor(self._thread, analyse_batch, batch)
        size = -(-len(batch) // len(ready))
        parts = [batch[at : at + size] for at in range(0, len(batch), size)]
        done = await asyncio.gather(*(self._run(worker, part) for worker, part in zip(ready, parts, strict=False)))
        return list(chain.from_iterable(done))

    async def _run(self, worker: Worker, part: Sequence[Task]) -> list[Result]:
        try:
            return await worker.analyse(part)
        except ProcessEnded:
            log.warning("an analysis process ended; its documents are tried one by one", documents=len(part))
        return [await self._run_alone(worker, task) for task in part]

    async def _run_alone(self, worker: Worker, task: Task) -> Result:
        """What ends two processes is rejected; where none starts, that is not the document's fault."""
        for _ in range(ALONE_TRIES):
            try:
                results = await worker.analyse_anew([task])
            except ProcessEnded as error:
                ended = error
                continue
            if results is None:
                results = await asyncio.get_running_loop().run_in_executor(self._thread, analyse_batch, [task])
            return results[0]
        return ended

    async def ready(self) -> None:
        """Wait until those that are being started can take work, or have failed to start."""
        await asyncio.gather(*(worker.started() for worker in self._workers))

    async def close(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))
        self._thread.shutdown(cancel_futures=True)


class Worker:
    """One `core.analysis.worker`, and the pipes to it: it is asked for one batch at a time."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._rests_until = 0.0
        self.ready = False
        self.waiting = 0
        """Batches that it has, or is to get."""

    def start(self) -> None:
        """Have it started, or started again if it has ended; this does not wait for it. One that does not start is
        left alone for a while."""
        resting = asyncio.get_running_loop().time() < self._rests_until
        if not self.ready and not resting and (self._starting is None or self._starting.done()):
            self._starting = asyncio.create_task(self._start(), name="analysis: start a process")

    async def started(self) -> None:
        """Wait until it is ready, or has failed to start."""
        if self._starting is not None:
            await asyncio.wait([self._starting])

    async def _start(self) -> None:
        process: Process | None = None
        try:
            # It imports what this process does, from where this one does and never from the current directory; and it
            # must outlive a Ctrl-C.
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "core.analysis.worker"),
                stdin=PIPE,
                stdout=PIPE,
                # An answer is held whole anyway, and Python 3.11 does not see a process end whose reader pauses.
                limit=sys.maxsize,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
            async with asyncio.timeout(START_SECONDS):
                self.ready = await _received(process) == READY
        except TimeoutError:
            log.warning(NOT_STARTED, reason=f"it did not start within {START_SECONDS:g} seconds")
        except (OSError, ProcessEnded) as error:
            log.warning(NOT_STARTED, reason=str(error))
        if not self.ready:
            self._rests_until = asyncio.get_running_loop().time() + REST_SECONDS
            if process is not None:
                await self._end(process)

    async def analyse(self, batch: Sequence[Task]) -> list[Result]:
        """Raises ProcessEnded."""
        async with self._taking_turns():
            return await self._answered(batch)

    async def analyse_anew(self, batch: Sequence[Task]) -> list[Result] | None:
        """By a process that is started again if one before has ended it; None where none starts. Raises ProcessEnded,
        for which there is nothing to blame but this batch."""
        async with self._taking_turns():
            self.start()
            await self.started()
            return await self._answered(batch) if self.ready else None

    @asynccontextmanager
    async def _taking_turns(self) -> AsyncIterator[None]:
        self.waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self.waiting -= 1

    async def _answered(self, batch: Sequence[Task]) -> list[Result]:
        process = self._process
        if not self.ready or process is None:
            raise ProcessEnded("the analysis process is not there")
        try:
            async with asyncio.timeout(self._patience):
                await _send(process, request(batch))
                answer = await _received(process)
        except BaseException as error:
            # Whatever it is: the next answer would be that of this request.
            await self._end(process)
            if isinstance(error, TimeoutError):
                raise ProcessEnded(f"analysis took longer than {self._patience:g} seconds") from None
            raise
        results: list[Result] = pickle.loads(answer)  # noqa: S301  # our own process's
        return results

    async def _end(self, process: Process) -> None:
        if process is self._process:
            self._process, self.ready = None, False
        if process.returncode is None:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        self._rests_until = inf
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        process = self._process
        if process is not None:
            _pipes(process)[0].close()
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
            await self._end(process)


def _pipes(process: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise ProcessEnded("the analysis process has no pipes")
    return process.stdin, process.stdout


async def _send(process: Process, payload: bytes) -> None:
    """Raises ProcessEnded."""
    requests, _ = _pipes(process)
    try:
        requests.write(len(payload).to_bytes(LENGTH_BYTES, "big"))
        requests.write(payload)
        await requests.drain()
    except OSError as error:
        raise ProcessEnded("the analysis process ended") from error


async def _received(process: Process) -> bytes:
    """Raises ProcessEnded."""
    _, answers = _pipes(process)
    try:
        length = int.from_bytes(await answers.readexactly(LENGTH_BYTES), "big")
        return await answers.readexactly(length)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise ProcessEnded("the analysis process ended") from error
