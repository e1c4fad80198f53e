"""`POST /documents/batch`: NDJSON in, NDJSON out, in step.

One task reads lines and hands documents to the core, the other writes a result for each line, in order, as soon as it
is durable. What is between them is bounded in number and in bytes, so either side slows the other down.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web
from pydantic import Field
from pydantic_core import to_json

from core.errors import AimeError, Busy, ContentTooLarge, InvalidDocument, InvalidInput
from core.model import Document, Problem, ProcessResult, Status
from core.ndjson import parse_document
from hub.web.body import BodyBudget, lines, pieces, require_media_type
from hub.web.documents import TAG, document_fields, rejection
from hub.web.problems import printable
from hub.web.routes import JSON, NDJSON, Call, Reply, Route

LINES_IN_FLIGHT = 256
BYTES_IN_FLIGHT = 8 * 1024 * 1024
"""Lines are read on while those on their way are below this; a longer line goes alone."""
UNREAD_BYTES = 8 * 1024 * 1024
"""Results that wait for a caller who sends everything before reading anything: about 50,000 lines."""
STALL_SECONDS = 60.0
"""How long a caller may leave results unread, once that is full."""


class BatchResult(ProcessResult):
    """The outcome of one line; `line` counts from 1, blank lines included. A batch that breaks off ends with a rejected
    result that says at which line and why; what came before it stands."""

    line: int = Field(ge=1)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A line on its way: its number, its size in bytes, and its result to be."""

    line: int
    size: int
    result: asyncio.Future[list[ProcessResult]]


class _Window:
    """The lines on their way, bounded in number and in bytes. The bytes count against the budget of all bodies."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._queue: asyncio.Queue[_Pending | None] = asyncio.Queue()
        self._lines = 0
        self._bytes = 0
        self._moved = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait for room for a line. Raises Busy when all calls together hold too much."""
        while self._lines and (self._lines >= LINES_IN_FLIGHT or self._bytes + size > BYTES_IN_FLIGHT):
            self._moved.clear()
            await self._moved.wait()
        self._budget.take(size)
        self._lines += 1
        self._bytes += size

    def put(self, pending: _Pending) -> None:
        self._queue.put_nowait(pending)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def get(self) -> _Pending | None:
        """The next line in order; None after the last."""
        return await self._queue.get()

    def leave(self, size: int) -> None:
        self._budget.release(size)
        self._lines -= 1
        self._bytes -= size
        self._moved.set()

    def abandon(self) -> None:
        """Give back what never left."""
        self._budget.release(self._bytes)
        self._bytes = 0


async def post_batch(call: Call) -> web.StreamResponse:
    require_media_type(call.request, NDJSON, "application/jsonl", "application/ndjson", JSON)
    # Most clients send the whole body before they read; without room for results, each side would wait for the other.
    response = await call.stream(NDJSON, unread_bytes=UNREAD_BYTES)
    window = _Window(call.site.budget)
    try:
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(_read(call, window), name="batch: read")
            try:
                await _write(window, response, reader)
            except (ConnectionError, TimeoutError):
                # The caller is gone, or does not read. What was taken is committed all the same.
                call.abort()
            reader.cancel()
    finally:
        window.abandon()
    return response


async def _write(window: _Window, response: web.StreamResponse, reader: asyncio.Task[None]) -> None:
    while (pending := await window.get()) is not None:
        try:
            (result,) = await pending.result
        except AimeError as error:
            # The store takes nothing at the moment. What is on its way still gets its line; nothing more is read.
            result = _broken(error)
            reader.cancel()
        window.leave(pending.size)
        async with asyncio.timeout(STALL_SECONDS):
            await response.write(b'{"line":%d,' % pending.line + to_json(result)[1:] + b"\n")


async def _read(call: Call, window: _Window) -> None:
    """Feed the window until the body ends or breaks; a line that is bad is answered and left behind."""
    number = 0
    try:
        async with aclosing(lines(pieces(call.request), call.site.body_cap)) as numbered:
            async for number, line in numbered:
                if call.ending:
                    raise Busy("the hub is shutting down", retry_after=10)
                size = len(line or b"")
                await window.enter(size)
                window.put(_Pending(number, size, await _take(call, line)))
    except ConnectionError:
        return  # The caller is gone: nobody is there to be told. What was taken is committed.
    except AimeError as error:
        await window.enter(0)
        window.put(_Pending(number + 1, 0, _done(_broken(error))))
    finally:
        window.end()


async def _take(call: Call, line: bytes | None) -> asyncio.Future[list[ProcessResult]]:
    try:
        return await call.service.take(_parse(call, line), "api", call.caller.actor)
    except InvalidInput as error:
        call.service.audit_soon(rejection(error, call.caller.actor))
        return _done(_rejected(error))


def _parse(call: Call, line: bytes | None) -> Document:
    if line is None:
        raise ContentTooLarge(f"the line is longer than {call.site.body_cap:,} bytes", field="content")
    return call.service.parse(document_fields(parse_document(line)))


def _rejected(error: InvalidInput) -> ProcessResult:
    document_id = error.document_id if isinstance(error, InvalidDocument) else None
    return ProcessResult(
        document_id=None if document_id is None else printable(document_id, 512),
        status=Status.REJECTED,
        error=Problem(code=error.code, field=printable(error.field, 500), message=printable(error.reason, 2000)),
    )


def _broken(error: AimeError) -> ProcessResult:
    """The last line of a batch that cannot go on."""
    problem = Problem(code=error.code, message=printable(f"the batch breaks off here: {error.message}", 2000))
    return ProcessResult(document_id=None, status=Status.REJECTED, error=problem)


def _done(result: ProcessResult) -> asyncio.Future[list[ProcessResult]]:
    future: asyncio.Future[list[ProcessResult]] = asyncio.get_running_loop().create_future()
    future.set_result([result])
    return future


ROUTES = (
    Route(
        "POST",
        "/documents/batch",
        post_batch,
        "Add or replace many documents",
        TAG,
        "write",
        {200: Reply("A result for each line, in order, each written when it is durable.", BatchResult, (NDJSON,))},
        description="Both ways are streamed: a line is a document, an answer line its result. Read while you write; a"
        " caller that does not may leave about 50,000 results unread.",
        body=Document,
        body_media=NDJSON,
        problems=(415,),
    ),
)
