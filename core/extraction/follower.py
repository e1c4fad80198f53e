"""Follows the log, has a language model read each new text once, and puts what it found into the graph.

No commit waits for it. What the model says of a text is stored before anything is made of it, so a text is never asked
about again: not after a restart, not for another document that holds it. Then the documents are enriched, which is a
change of the graph like another. At least once, with a durable cursor: a step that broke off is done again, and finds
what it had stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict

from core.completion import LanguageModel, Usage
from core.enrichment import SCOPE, Extraction, key_of
from core.errors import (
    AimeError,
    ModelAccessDenied,
    ModelAnswerInvalid,
    ModelError,
    ModelUnavailable,
    VersionUnavailable,
)
from core.extraction.asking import MAX_TOKENS, SYSTEM, extraction_of, prompt_of
from core.model import LogEntry
from core.records import model_used
from core.service import GraphService
from core.store.base import ChangeSet, Fences, RecordScope

PAGE = 16
"""Log entries in a step."""
AT_ONCE = 4
TRIES = 3
"""Of a text that the model's service refuses while it takes others: then the text is what is wrong."""
PROBE = "Say yes."
PROBE_TOKENS = 16
CURSOR: Final[tuple[RecordScope, str]] = ("cursor", "extraction")
NOTHING = Usage(0, 0)

log = structlog.stdlib.get_logger(__name__)


class Cursor(BaseModel):
    """How far the log has been followed; `began` is the floor that stood when it was followed from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    began: int


class ExtractionFollower:
    """Every method raises ModelError while the model does not work, and what the store raises; whatever was half done
    then is done at the next call. `outcomes` counts texts: `extracted`, and `rejected` where the answer was of no use.

    One at a time may follow a store: what it writes carries `fences`."""

    def __init__(self, service: GraphService, model: LanguageModel, *, fences: Fences = tuple) -> None:
        self.outcomes: Counter[str] = Counter()
        self._service = service
        self._model = model
        self._fences = fences
        self._cursor: Cursor | None = None
        self._refusals: Counter[str] = Counter()

    def begin(self) -> None:
        """Go on from where the store says, which another process may have moved."""
        self._cursor = None

    @property
    def version(self) -> int:
        """Up to which graph version the model has read the texts; 0 before the first step."""
        return self._cursor.version if self._cursor is not None else 0

    async def step(self) -> bool:
        """Have the next page of the log read; whether there was one."""
        store = self._service.store
        cursor = self._cursor or await self._read()
        try:
            page = await store.changes(cursor.version, PAGE, content=True, began=cursor.began)
        except VersionUnavailable:
            # What was collected is gone, and what is left is read again from the beginning: no text is asked twice.
            cursor = Cursor(version=0, began=await store.floor())
            page = await store.changes(0, PAGE, content=True, began=cursor.began)
        self._cursor = cursor
        if not page:
            return False
        texts = await self._current(page)
        keys = {key_of(text) for held in texts.values() for text in held}
        known = await store.records(SCOPE, keys)
        await self._ask_all({key_of(t): t for held in texts.values() for t in held if key_of(t) not in known})
        await self._service.enrich(texts)
        await self._write(Cursor(version=page[-1].version, began=cursor.began))
        return True

    async def wait(self, patience: float) -> None:
        """Wait up to `patience` seconds for the log to grow past the cursor."""
        if self._cursor is not None:
            await self._service.changes(self._cursor.version, limit=1, wait=patience)

    async def forget(self) -> int:
        """Drop the extractions of texts that no document holds any more; how many. It reads the whole store."""
        store = self._service.store
        gone = set(await store.records(SCOPE))
        after, floor = "", await store.floor()
        while page := await store.scan(after=after):
            after = page[-1].document_id
            chunks = await store.chunks({id_ for document in page for id_ in document.chunk_ids})
            gone -= {key_of(chunk.text) for chunk in chunks.values()}
        if await store.floor() != floor or not gone:
            return 0
        await self._service.write(ChangeSet(records=dict.fromkeys((SCOPE, key) for key in gone), fences=self._fences()))
        return len(gone)

    # -- a step

    async def _current(self, page: Iterable[LogEntry]) -> Mapping[str, list[str]]:
        """The texts of the chunks that the page created and that stand today, by document."""
        created = {chunk.id: (entry.document_id, chunk.text) for entry in page for chunk in entry.chunks}
        documents = await self._service.store.documents({id_ for id_, _ in created.values()})
        standing = {id_ for document in documents.values() for id_ in document.chunk_ids}
        texts: dict[str, list[str]] = {}
        for id_, (document_id, text) in created.items():
            if id_ in standing and not text.isspace():
                texts.setdefault(document_id, []).append(text)
        return texts

    async def _ask_all(self, texts: Mapping[str, str]) -> None:
        """Ask about each text, by key. When one cannot be answered now, those under way are finished, and kept."""
        waiting = deque(texts.items())
        trouble: list[AimeError] = []

        async def work() -> None:
            while waiting and not trouble:
                key, text = waiting.popleft()
                try:
                    await self._ask(key, text)
                except AimeError as error:
                    trouble.append(error)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_ONCE, len(texts))):
                tasks.create_task(work())
        if trouble:
            raise trouble[0]

    async def _ask(self, key: str, text: str) -> None:
        model_id, usage = self._model.model_id, NOTHING
        try:
            completion = await self._model.complete(prompt_of(text), SYSTEM, MAX_TOKENS, 0.0)
        except (ModelUnavailable, ModelAccessDenied):
            raise
        except ModelError as error:
            if not await self._is_the_texts_fault(key):
                raise
            extraction = Extraction(model=model_id, rejected=error.message)
        else:
            usage = completion.usage
            try:
                extraction = extraction_of(text, completion, model_id)
            except ModelAnswerInvalid as error:
                extraction = Extraction(model=model_id, rejected=error.message)
        outcome = "extracted" if extraction.rejected is None else "rejected"
        if extraction.rejected is not None:
            log.warning("a text was read in vain", key=key, error=extraction.rejected)
        audit = model_used(model_id, "extraction", usage, outcome)
        records = {(SCOPE, key): extraction.model_dump_json()}
        await self._service.write(ChangeSet(records=records, audit=(audit,), fences=self._fences()))
        self.outcomes[outcome] += 1

    async def _is_the_texts_fault(self, key: str) -> bool:
        """Whether the service fails on this text time and again, and takes a word that nobody could refuse."""
        self._refusals[key] += 1
        if self._refusals[key] < TRIES:
            return False
        try:
            await self._model.complete(PROBE, "", PROBE_TOKENS, 0.0)
        except ModelError:
            return False
        del self._refusals[key]
        return True

    # -- the record

    async def _read(self) -> Cursor:
        stored = await self._service.store.record(*CURSOR)
        if stored is None:
            return Cursor(version=0, began=await self._service.store.floor())
        cursor = Cursor.model_validate_json(stored)
        # A store that was restored from a backup may be behind what was written elsewhere.
        head = await self._service.head()
        return cursor if cursor.version <= head else Cursor(version=0, began=await self._service.store.floor())

    async def _write(self, cursor: Cursor) -> None:
        await self._service.write(ChangeSet(records={CURSOR: cursor.model_dump_json()}, fences=self._fences()))
        self._cursor = cursor
