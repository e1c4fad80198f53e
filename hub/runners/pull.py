"""The runner of a pulling instance: on its schedule it reads from the last checkpoint to the end, batch by batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, ValidationError

from core.errors import (
    AuthFailed,
    Busy,
    InvalidInput,
    NotReady,
    NotSent,
    PermanentDocumentError,
    RateLimited,
    StoreError,
)
from core.model import Failure, ProcessResult
from core.service import GraphService
from core.store.base import ChangeSet
from hub.config import DEFAULT_EVERY
from hub.instance import Instance, InstanceState, RunReport, describe
from hub.runners.intake import Intake
from hub.runners.prune import Pruner
from hub.runners.schedule import Schedule, backoff
from hub.sdk import Batch, Lists, Pulls, Window

STALL_SECONDS = 1800.0
"""A source that gives no batch for so long is taken to hang."""
NAP_SECONDS = 60.0
"""The longest sleep before the clock is looked at again: a calendar follows the wall clock, which may be set."""
MAX_ASKED = 16
"""Runs that admins may have asked for at a time."""


@dataclass(slots=True)
class Turn:
    """One run. `asked` is set for one that an admin asked for; `force` confirms a prune."""

    force: bool = False
    asked: asyncio.Future[RunReport] | None = None

    def answer(self, report: RunReport) -> None:
        if self.asked is not None and not self.asked.done():
            self.asked.set_result(report)


class PullRunner:
    """Drives one instance that pulls, lists, or both, until the instance is stopped."""

    def __init__(self, instance: Instance, service: GraphService, intake: Intake) -> None:
        settings = instance.settings
        every = settings.every if settings.every or settings.cron else DEFAULT_EVERY
        self._instance = instance
        self._service = service
        self._intake = intake
        self._schedule = Schedule(every=every, cron=settings.cron, now=instance.now)
        self._pruner = Pruner(instance, service, intake)
        self._asked: list[Turn] = []
        self._due = 0.0

    def run_now(self, *, force: bool) -> asyncio.Future[RunReport]:
        """A run as soon as the one under way has ended; what it did. Raises InvalidInput for a paused instance, Busy
        for one that is stopping, or was asked too often."""
        if self._instance.status.state is InstanceState.PAUSED:
            raise InvalidInput(f"connector {self._instance.name!r} is paused; resume it first")
        if self._instance.stopping or len(self._asked) >= MAX_ASKED:
            raise Busy(f"connector {self._instance.name!r} takes no more runs")
        asked: asyncio.Future[RunReport] = asyncio.get_running_loop().create_future()
        self._asked.append(Turn(force, asked))
        self._instance.resume()
        return asked

    async def run(self) -> None:
        """Until the instance is stopped, or cut off."""
        self._begin_after(0.0 if self._schedule.at_once else self._schedule.delay())
        try:
            while (turn := await self._next_turn()) is not None:
                self._instance.running()
                report = RunReport(error="was cut off")
                try:
                    delay = await self._attempt(report, force=turn.force)
                finally:
                    turn.answer(report)
                self._begin_after(delay)
        finally:
            for turn in self._asked:
                turn.answer(RunReport(error="the connector was stopped"))
            self._asked.clear()
            if not self._instance.halted:
                self._instance.waiting(None)

    # -- one run

    async def _attempt(self, report: RunReport, *, force: bool) -> float:
        """Run to the end or to an error; the seconds until the next run."""
        instance = self._instance
        try:
            await self._read(report, force=force)
            if instance.stopping or instance.halted:
                report.error = "was stopped before it had read everything"
                return 0.0
            await self._pruner.run_if_due(report, force=force)
            report.error = None
        except StoreError as error:
            report.error = describe(error)
            instance.stumbled(error)
            return backoff(2)
        except (NotSent, RateLimited) as error:
            report.error = describe(error)
            instance.stumbled(error)
            return backoff(2, error.retry_after)
        except NotReady as error:
            report.error = describe(error)
            instance.failed(error)
            return backoff(instance.status.failures, error.retry_after)
        except AuthFailed as error:
            report.error = describe(error)
            instance.failed(error, for_good=True)
            return 0.0
        except Exception as error:
            instance.log.exception("run broke off")
            report.error = describe(error)
            instance.failed(error)
            return backoff(instance.status.failures)
        instance.status.runs += 1
        instance.succeeded()
        return self._schedule.delay()

    async def _read(self, report: RunReport, *, force: bool) -> None:
        connector: object = self._instance.connector
        if not isinstance(connector, Pulls):
            return
        settings = self._instance.settings
        window = Window(
            until=self._instance.now(),
            overlap=settings.overlap,
            page_size=settings.page_size,
            prune_limit=1.0 if force else settings.prune_limit,
        )
        async with AsyncExitStack() as stack:
            batches: AsyncIterator[Batch[BaseModel]] = connector.pull(await self._checkpoint(), window)
            if close := getattr(batches, "aclose", None):
                stack.push_async_callback(close)
            await self._commit_all(batches, report)

    async def _commit_all(self, batches: AsyncIterator[Batch[BaseModel]], report: RunReport) -> None:
        """Commit each batch while the next is being read. One is committed after the other, so a checkpoint is saved
        only when every batch before it has settled."""
        settling: asyncio.Task[list[ProcessResult]] | None = None
        try:
            while not (self._instance.stopping or self._instance.halted):
                batch = await self._next_batch(batches)
                if settling is not None:
                    report.count(await settling)
                    settling = None
                    self._instance.status.failures = 0
                if batch is None:
                    return
                settling = asyncio.create_task(self._commit(batch), name=f"{self._instance.name}: commit")
        finally:
            # Whatever ended the reading: what was read before it settles, and is counted.
            if settling is not None:
                report.count(await settling)

    async def _next_batch(self, batches: AsyncIterator[Batch[BaseModel]]) -> Batch[BaseModel] | None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                return await anext(batches, None)
        except TimeoutError:
            raise NotReady(f"gave nothing for {timedelta(seconds=STALL_SECONDS)}") from None
        except PermanentDocumentError as error:
            # A generator has ended with this; an iterator of another make goes on with the next document.
            return Batch([Failure(describe(error), error.document_id)])

    async def _commit(self, batch: Batch[BaseModel]) -> list[ProcessResult]:
        if batch.checkpoint is None:
            return await self._intake.submit(batch.changes) if batch.changes else []
        saved = ChangeSet(records={("checkpoint", self._instance.name): batch.checkpoint.model_dump_json()})
        return await self._intake.submit(batch.changes, also=saved)

    async def _checkpoint(self) -> BaseModel | None:
        model = self._instance.spec.checkpoint if self._instance.spec else None
        text = await self._service.store.record("checkpoint", self._instance.name)
        if model is None or text is None:
            return None
        try:
            return model.model_validate_json(text)
        except ValidationError:
            # Written by another release, or by another kind of that name. Reading anew only costs time.
            self._instance.log.warning("checkpoint not readable; starting from the beginning")
            return None

    # -- between runs

    def _begin_after(self, seconds: float) -> None:
        self._due = asyncio.get_running_loop().time() + seconds
        if not self._instance.halted:
            self._instance.waiting(self._instance.now() + timedelta(seconds=seconds))

    async def _next_turn(self) -> Turn | None:
        """The next run, once it is due or asked for; None when the instance is stopping."""
        instance = self._instance
        while not instance.stopping:
            left = self._due - asyncio.get_running_loop().time()
            if not instance.halted:
                if self._asked:
                    return self._asked.pop(0)
                if left <= 0:
                    return Turn()
            await instance.changed.wait(NAP_SECONDS if instance.halted else min(left, NAP_SECONDS))
        return None


def drives(instance: Instance) -> bool:
    """Whether an instance is one that this runner drives."""
    connector: object = instance.connector
    return isinstance(connector, Pulls) or (isinstance(connector, Lists) and instance.settings.prune is not None)
