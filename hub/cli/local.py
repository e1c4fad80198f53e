"""A store that the command opened itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from core.errors import NotFound
from core.model import Failure, ProcessResult
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, DeliveryState
from core.views import Answer, EntitySummary, EntityView, Paths
from hub.cli.target import Json
from hub.export import ExportFormat, export_graph
from hub.keys import create_key, list_keys, revoke_key

ACTOR = "cli"


class LocalTarget:
    """`hub.cli.target.Target` on a graph service of its own."""

    def __init__(self, service: GraphService) -> None:
        self._service = service

    async def ingest(self, documents: AsyncIterable[Mapping[str, Any]]) -> AsyncGenerator[ProcessResult, None]:
        async for result in self._service.process_documents(documents, origin=ACTOR, actor=ACTOR):
            yield result

    async def refuse(self, where: str, error: str) -> ProcessResult:
        [result] = await self._service.submit([Failure(f"{where}: {error}")], origin=ACTOR, actor=ACTOR)
        return result

    async def query(
        self,
        text: str,
        *,
        filters: Mapping[str, Any] | None,
        top_k: int,
        as_of: int | None = None,
        newest: bool | None = None,
    ) -> Answer:
        return await self._service.query(
            text, filters=filters, top_k=top_k, as_of_version=as_of, newest=newest, actor=ACTOR
        )

    async def entities(self, text: str, limit: int) -> list[EntitySummary]:
        return await self._service.entities(text=text, limit=limit)

    async def entity(self, entity_id: int) -> EntityView:
        return await self._service.entity(entity_id)

    async def paths(self, first: int, last: int, *, max_length: int, limit: int) -> Paths:
        return await self._service.paths(first, last, max_length=max_length, limit=limit)

    async def head(self) -> int:
        return await self._service.head()

    async def keys(self) -> list[Json]:
        return [info.model_dump(mode="json") for info in await list_keys(self._service)]

    async def create_key(
        self, name: str, *, scopes: list[str], principals: list[str], expires_at: datetime | None
    ) -> Json:
        info, secret = await create_key(self._service, name, scopes, principals, expires_at, actor=ACTOR)
        return {**info.model_dump(mode="json"), "secret": secret.get_secret_value()}

    async def revoke_key(self, key_id: str) -> None:
        await revoke_key(self._service, key_id, actor=ACTOR)

    async def audit(self, *, action: str | None, actor: str | None, limit: int) -> list[Json]:
        from hub.web.admin.records import AuditItem

        found = await self._service.store.audit(action=action, actor=actor, limit=limit)
        return [AuditItem.of(record).model_dump(mode="json") for record in found]

    async def deliveries(self, *, endpoint: str | None, state: str | None, limit: int) -> list[Json]:
        from hub.web.admin.notifications import DeliveryItem

        wanted = None if state is None else DeliveryState(state)
        found = await self._service.store.deliveries(endpoint=endpoint, state=wanted, limit=limit)
        return [DeliveryItem(**DeliveryItem.fields(delivery)).model_dump(mode="json") for delivery in found]

    async def replay(self, delivery_id: str) -> str:
        delivery = await self._service.store.delivery(delivery_id)
        if delivery is None:
            raise NotFound(f"there is no delivery {delivery_id[:64]!r}")
        audit = AuditRecord(ACTOR, "delivery.replayed", delivery_id)
        await self._service.write(ChangeSet(replays=(delivery_id,), audit=(audit,)))
        return delivery.endpoint

    async def endpoints(self) -> list[Json]:
        from hub.notify.endpoint import EndpointState

        counts = await self._service.store.undelivered()
        records = await self._service.store.records("endpoint")
        return [
            {
                "name": name,
                "disabled": EndpointState.model_validate_json(records[name]).disabled if name in records else None,
                "pending": counts.get((name, DeliveryState.PENDING), 0),
                "dead": counts.get((name, DeliveryState.DEAD), 0),
            }
            for name in sorted({*records, *(name for name, _ in counts)})
        ]

    async def gc(self, before: int) -> int:
        return await self._service.gc(before)

    async def export(self, form: ExportFormat) -> AsyncIterator[bytes]:
        async for piece in export_graph(self._service.store, form):
            yield piece.encode()
