"""Questions in a connector's own form: asked over HTTP, or left in the journal for a `callback_url`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog
from pydantic import BaseModel

from core.errors import AimeError, Busy, ConnectorError
from core.model import Metadata, Viewer
from core.service import GraphService
from core.views import Answer
from hub.sdk import Answers, Ask, HasForm

ASK_SECONDS = 60.0
"""How long a connector may take over a question."""

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class ViewerCore:
    """The graph as a connector may ask it on a caller's behalf: it sees what the caller may see."""

    def __init__(self, service: GraphService, viewer: Viewer, actor: str) -> None:
        self._service = service
        self._viewer = viewer
        self._actor = actor

    async def query(self, text: str, *, filters: Mapping[str, Any] | None = None, top_k: int = 5) -> Answer:
        return await self._service.query(text, filters=filters, top_k=top_k, viewer=self._viewer, actor=self._actor)

    async def metadata(
        self, document_ids: Collection[str], *, as_of_version: int | None = None
    ) -> Mapping[str, Metadata]:
        return await self._service.metadata(document_ids, as_of_version=as_of_version, viewer=self._viewer)


class Asking:
    """Asks connectors. `answering` finds the one of a name, or raises NotFound or Busy."""

    def __init__(self, service: GraphService, answering: Callable[[str], Answers]) -> None:
        self._service = service
        self._answering = answering

    def form(self, name: str) -> type[Ask]:
        """What an ask of this connector has to look like. Raises NotFound, Busy."""
        connector: object = self._answering(name)
        return connector.asks if isinstance(connector, HasForm) else Ask

    async def ask(self, name: str, ask: Ask, *, viewer: Viewer, actor: str) -> BaseModel:
        """What the connector answers, in time; a defect of its own is told as one, since the asker did nothing wrong.
        Raises NotFound, Busy, and what the connector raises."""
        connector = self._answering(name)
        limit = asyncio.timeout(ASK_SECONDS)
        try:
            async with limit:
                return await connector.answer(ask, ViewerCore(self._service, viewer, actor))
        except AimeError:
            raise
        except Exception as error:
            if limit.expired():
                raise Busy(f"connector {name!r} took longer than {ASK_SECONDS:.0f} s") from None
            log.exception("question not answered", connector=name)
            raise ConnectorError(f"connector {name!r} failed on this question") from error
