"""A connector of the tests: it answers in a form of its own, and fails in every way that it is told to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput
from hub.sdk import (
    Ask,
    AuthFailed,
    Change,
    ConnectorSpec,
    Context,
    Health,
    InboundRequest,
    NotReady,
    PermanentDocumentError,
    RateLimited,
    VerificationFailed,
    hookimpl,
)
from hub.sdk.contract import Core

FAILURES: dict[str, Exception] = {
    "verify": VerificationFailed("the signature does not match"),
    "read": InvalidInput("is no event", field="type"),
    "down": NotReady("the oracle sleeps", retry_after=7),
    "limit": RateLimited("the oracle is tired", retry_after=9),
    "account": AuthFailed("the oracle does not know us"),
    "poison": PermanentDocumentError("riddle", "cannot be read"),
    "defect": RuntimeError("a secret of the oracle"),
}


class Prophecy(BaseModel):
    prophecy: str
    asked_for: str | None = None


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Oracle:
    async def check(self) -> Health:
        return Health(ok=True)

    async def aclose(self) -> None:
        return None

    async def receive(self, request: InboundRequest) -> Sequence[Change]:
        raise FAILURES[request.body.decode()]

    async def answer(self, ask: Ask, core: Core) -> Prophecy:
        if ask.query in FAILURES:
            raise FAILURES[ask.query]
        found = await core.query(ask.query)
        extra: dict[str, Any] = ask.model_extra or {}
        return Prophecy(prophecy=found.answer or "nothing", asked_for=extra.get("who"))


def create(_config: Config, _context: Context) -> Oracle:
    return Oracle()


@hookimpl
def hub_connectors() -> Iterable[ConnectorSpec]:
    return [ConnectorSpec(kind="oracle", summary="Answers.", config=Config, create=create)]
