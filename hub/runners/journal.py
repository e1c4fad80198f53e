"""The worker of the durable journal: documents posted with `wait=false`, questions with a `callback_url`.

An item leaves the journal in the transaction that does its work, so whenever the process ends, it is done once. One
that fails again and again is set aside; its neighbours go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_core import from_json

from core.errors import AimeError, InvalidDocument, InvalidInput, NotFound, StoreError, VersionUnavailable
from core.model import Document, Problem, ProcessResult, Status, Upsert
from core.pulse import Pulse
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, Fences, JournalItem
from core.wording import first_mistake
from hub.asking import Asking
from hub.callbacks import Callback, CallbackAsk, CallbackQuery, JournalStatus
from hub.instance import describe
from hub.notify.callbacks import callback_delivery
from hub.quarantine import Key, Quarantine, Records
from hub.runners.schedule import backoff

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub.journal")

AT_ONCE = 64
"""Items that are worked on at a time: enough to fill a group commit."""
TRIES = 5
IDLE_SECONDS = 5.0
"""Between looks at a journal that nobody said anything was put into."""
ORIGIN = "api"


class JournalWorker:
    """Empties the journal, oldest first. Items of one document are done in order, all others beside each other, so that
    a question that waits for its version holds up nobody."""

    def __init__(
        self,
        service: GraphService,
        quarantine: Quarantine,
        asking: Asking,
        *,
        now: Callable[[], datetime],
        written: Callable[[], None],
        fences: Fences = tuple,
    ) -> None:
        """`written` is called when deliveries were written."""
        self._service = service
        self._quarantine = quarantine
        self._asking = asking
        self._now = now
        self._written = written
        self._fences = fences
        self._changed = Pulse()
        self._busy: dict[str, str] = {}
        """The ids of the items under way, and what each is about."""
        self._stopped = asyncio.Event()

    def arrived(self) -> None:
        """Something was put into the journal."""
        self._changed.beat()

    def stop(self) -> None:
        """Begin nothing more. What is left waits for the next start."""
        self._stopped.set()
        self._changed.beat()

    async def run(self) -> None:
        """Until it is stopped, and what is under way is done."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stopped.is_set():
                try:
                    begun = await self._begin(tasks)
                except StoreError as error:
                    log.warning("journal cannot be read", error=describe(error))
                    begun = False
                if not begun and not self._stopped.is_set():
                    await self._changed.wait(IDLE_SECONDS)

    async def _begin(self, tasks: asyncio.TaskGroup) -> bool:
        """Start on the oldest items that nobody works on; whether there were any."""
        begun = False
        for item in await self._service.store.journal(AT_ONCE + len(self._busy)):
            if len(self._busy) >= AT_ONCE:
                break
            subject = _subject(item)
            if item.id not in self._busy and subject not in self._busy.values():
                self._busy[item.id] = subject
                tasks.create_task(self._work(item), name=f"journal {item.id}")
                begun = True
        return begun

    async def _work(self, item: JournalItem) -> None:
        try:
            await self._try(item)
        finally:
            del self._busy[item.id]
            self._changed.beat()

    async def _try(self, item: JournalItem) -> None:
        """Until it is done, set aside, or the worker is stopped. A store that cannot write is no fault of the item."""
        tries = 0
        problem: Problem | None = None
        while not self._stopped.is_set():
            try:
                if problem is None or tries < TRIES:
                    await self._do(item)
                else:
                    await self._set_aside(item, problem)
            except StoreError as error:
                log.warning("journal item waits for the store", item=item.id, error=describe(error))
            except Exception as error:
                log.exception("journal item failed", item=item.id, tries=tries)
                tries += 1
                problem = _problem(error)
            else:
                return
            await self._rest(backoff(tries))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return

    async def _do(self, item: JournalItem) -> None:
        if item.kind == "document":
            await self._document(item)
        elif item.kind == "query":
            await self._query(item)
        else:
            await self._ask(item)

    # -- documents

    async def _document(self, item: JournalItem) -> None:
        try:
            document = Document.model_validate_json(item.payload)
        except ValidationError as error:
            mistake = first_mistake(error)
            problem = Problem(code=InvalidDocument.code, message=mistake.reason, field=mistake.field)
            await self._set_aside(item, problem)
            return
        id_ = document.document_id
        own = await self._own_status(id_, item)
        records: Records = {own: None} if own else {}
        cleared = ChangeSet(journal_done=(item.id,), records=records, fences=self._fences())

        def refused(result: ProcessResult) -> ChangeSet:
            problem = result.error or Problem(code=InvalidDocument.code, message="was refused")
            return ChangeSet(records=self._refused(item, id_, problem))

        await self._service.submit([Upsert(document)], origin=ORIGIN, actor=item.actor, also=cleared, refused=refused)

    async def _own_status(self, document_id: str, item: JournalItem) -> Key | None:
        """The status record of this item's document, unless it speaks of a later item."""
        stored = await self._service.store.record(*_status_key(document_id))
        if stored is None or JournalStatus.model_validate_json(stored).journal_id != item.id:
            return None
        return _status_key(document_id)

    def _refused(self, item: JournalItem, document_id: str, problem: Problem) -> Records:
        """What is left of an accepted document that cannot be taken: itself, in quarantine, and why."""
        kept: Records = dict(self._quarantine.dead_letter(ORIGIN, document_id, problem.message, item.payload))
        kept[_status_key(document_id)] = self._refusal(item, problem)
        return kept

    def _refusal(self, item: JournalItem, problem: Problem) -> str:
        return JournalStatus(
            status=Status.REJECTED, journal_id=item.id, actor=item.actor, at=self._now(), error=problem
        ).model_dump_json()

    # -- questions

    async def _query(self, item: JournalItem) -> None:
        ask = CallbackQuery.model_validate_json(item.payload)
        try:
            answer = await self._service.query(
                ask.query,
                filters=ask.filters,
                top_k=ask.top_k,
                min_version=ask.min_version,
                newest=ask.newest,
                as_of_version=ask.as_of_version,
                viewer=ask.viewer(),
                actor=item.actor,
            )
        except (InvalidInput, VersionUnavailable) as error:
            await self._answer(item, ask, {"status": "failed", "error": _problem(error).model_dump(mode="json")})
        else:
            await self._answer(item, ask, answer.model_dump(mode="json"))

    async def _ask(self, item: JournalItem) -> None:
        callback = CallbackAsk.model_validate_json(item.payload)
        named = {"connector": callback.connector}
        try:
            ask = self._asking.form(callback.connector).model_validate(callback.ask)
            answer = await self._asking.ask(callback.connector, ask, viewer=callback.viewer(), actor=item.actor)
        except ValidationError:
            problem = Problem(code=InvalidInput.code, message="does not fit the connector's form any more")
        except (InvalidInput, NotFound) as error:
            problem = _problem(error)
        else:
            await self._answer(item, callback, {**answer.model_dump(mode="json"), **named})
            return
        await self._answer(item, callback, {**named, "status": "failed", "error": problem.model_dump(mode="json")})

    async def _answer(self, item: JournalItem, ask: Callback, carried: Mapping[str, Any]) -> None:
        delivery = callback_delivery(item.id, ask.callback_url, carried, now=self._now())
        done = ChangeSet(journal_done=(item.id,), deliveries=(delivery,), fences=self._fences())
        await self._service.write(done)
        self._written()

    # -- what cannot be done

    async def _set_aside(self, item: JournalItem, problem: Problem) -> None:
        """Tell whoever waits for it; a document goes into quarantine, whole."""
        log.error("journal item given up", item=item.id, kind=item.kind, error=problem.message)
        if (ask := _question(item)) is not None:
            await self._answer(item, ask, {"status": "failed", "error": problem.model_dump(mode="json")})
            return
        subject = _subject(item)
        if item.kind == "document":
            records = self._refused(item, subject, problem)
        else:
            records = dict(self._quarantine.dead_letter(ORIGIN, subject, problem.message, item.payload))
        detail = {"status": "rejected", "origin": ORIGIN, **problem.model_dump(mode="json")}
        audit = AuditRecord(item.actor, f"{item.kind}.rejected", subject=subject, detail=detail)
        done = ChangeSet(journal_done=(item.id,), records=records, audit=(audit,), fences=self._fences())
        await self._service.write(done)


def _question(item: JournalItem) -> Callback | None:
    """What was asked; None for a document, and for an item that another release wrote."""
    if item.kind == "document":
        return None
    try:
        return (CallbackQuery if item.kind == "query" else CallbackAsk).model_validate_json(item.payload)
    except ValidationError:
        return None


def _status_key(document_id: str) -> Key:
    return ("journal_status", document_id)


def _subject(item: JournalItem) -> str:
    """The document that an item is about, or the item itself."""
    if item.kind == "document":
        try:
            return str(from_json(item.payload)["document_id"])
        except (ValueError, KeyError, TypeError):
            log.warning("journal item not readable", item=item.id)
    return item.id


def _problem(error: Exception) -> Problem:
    code = error.code if isinstance(error, AimeError) else AimeError.code
    return Problem(code=code, field=getattr(error, "field", ""), message=describe(error))
