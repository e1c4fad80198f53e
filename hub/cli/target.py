"""What a command speaks to: a store that it opened itself, or a running hub over HTTP. Commands cannot tell which."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from core.model import ProcessResult
from core.views import Answer, EntitySummary, EntityView, Paths
from hub.export import ExportFormat

Json = dict[str, Any]


class Target(Protocol):
    """What commands can do. Lists are newest first, in the shapes of the HTTP API."""

    def ingest(self, documents: AsyncIterable[Mapping[str, Any]]) -> AsyncGenerator[ProcessResult, None]:
        """Results in order, one for each document; memory is bounded."""
        ...

    async def refuse(self, where: str, error: str) -> ProcessResult:
        """Note that what stands at `where` is no document at all."""
        ...

    async def query(
        self,
        text: str,
        *,
        filters: Mapping[str, Any] | None,
        top_k: int,
        as_of: int | None = None,
        newest: bool | None = None,
    ) -> Answer: ...

    async def entities(self, text: str, limit: int) -> list[EntitySummary]: ...

    async def entity(self, entity_id: int) -> EntityView: ...

    async def paths(self, first: int, last: int, *, max_length: int, limit: int) -> Paths: ...

    async def head(self) -> int: ...

    async def keys(self) -> list[Json]: ...

    async def create_key(
        self, name: str, *, scopes: list[str], principals: list[str], expires_at: datetime | None
    ) -> Json:
        """The key with its `secret`, which is never shown again."""
        ...

    async def revoke_key(self, key_id: str) -> None: ...

    async def audit(self, *, action: str | None, actor: str | None, limit: int) -> list[Json]: ...

    async def deliveries(self, *, endpoint: str | None, state: str | None, limit: int) -> list[Json]: ...

    async def replay(self, delivery_id: str) -> str:
        """The endpoint that it goes to."""
        ...

    async def endpoints(self) -> list[Json]:
        """What waits: of each endpoint `name`, `disabled` (why, or null), and how many are `pending` and `dead`."""
        ...

    async def gc(self, before: int) -> int:
        """The number of document versions that were dropped."""
        ...

    def export(self, form: ExportFormat) -> AsyncIterator[bytes]: ...
