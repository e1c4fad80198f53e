"""What every runner does with a connector's changes before they are submitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from core.model import Change, Failure, ProcessResult, Upsert
from core.service import GraphService
from core.store.base import ChangeSet, Fences
from hub.instance import Instance
from hub.quarantine import Quarantine

PIECE = 256
"""Changes of one transaction. What a connector hands over in one batch may be larger; its checkpoint is saved with the
last piece."""


class Intake:
    """The way from one instance into the core."""

    def __init__(
        self, instance: Instance, service: GraphService, quarantine: Quarantine, *, fences: Fences = tuple
    ) -> None:
        self._instance = instance
        self._service = service
        self._quarantine = quarantine
        self._fences = fences

    async def submit(
        self, changes: Sequence[Change], *, actor: str | None = None, also: ChangeSet | None = None, wait: bool = True
    ) -> list[ProcessResult]:
        """Commit the changes; `also` stands in the transaction of the last of them. Refused documents are set aside.

        Raises StoreError (LeaseLost, where another node drives the instance by now), and Busy when `wait` is false and
        there is no room.
        """
        name = self._instance.name
        pieces = [changes[at : at + PIECE] for at in range(0, len(changes), PIECE)] or [changes]
        results: list[ProcessResult] = []
        for number, piece in enumerate(pieces, start=1):
            ready = list(self._ready(piece))
            records = dict(self._quarantine.records(name, ready))
            rest = also if also is not None and number == len(pieces) else ChangeSet()
            settled = await self._service.submit(
                ready,
                origin=name,
                actor=actor or name,
                also=ChangeSet(
                    records={**records, **rest.records},
                    journal_done=rest.journal_done,
                    deliveries=rest.deliveries,
                    fences=self._fences(),
                ),
                wait=wait,
                refused=partial(self._quarantine.refused, name),
            )
            self._instance.served(settled)
            results.extend(settled)
        return results

    async def set_aside(self, changes: Sequence[Change], reason: str) -> None:
        """Quarantine what a poison message holds, as far as it names documents; it is audited in any case."""
        named = [change.document_id for change in changes if isinstance(change, Change)]
        await self.submit([Failure(reason, document_id) for document_id in named] or [Failure(reason)])

    async def keep(self, message: bytes, reason: str) -> bool:
        """Quarantine a message as it came; False where there is no room for it. Raises StoreError."""
        return await self._quarantine.keep(self._instance.name, message, reason)

    def _ready(self, changes: Iterable[Change]) -> Iterator[Change]:
        """With the instance's source where a document names none, and within the cap on content."""
        cap = self._service.options.max_content_bytes
        for change in changes:
            if isinstance(change, Failure):
                yield Failure(_storable(change.error), change.document_id and _storable(change.document_id))
                continue
            if not isinstance(change, Upsert):
                yield change
                continue
            document = change.document
            if len(document.content) * 4 > cap and (size := len(document.content.encode())) > cap:
                yield Failure(
                    f"content is {size:,} bytes; the cap is {cap:,} (hub.max_content_bytes)", document.document_id
                )
            elif document.metadata.source is None:
                metadata = document.metadata.model_copy(update={"source": self._instance.settings.document_source})
                yield Upsert(document.model_copy(update={"metadata": metadata}))
            else:
                yield change


def _storable(text: str) -> str:
    """A connector names what it could not read as it found it; a lone surrogate in it must not break the record."""
    return text[:1000].encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
