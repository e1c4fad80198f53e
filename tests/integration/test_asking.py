"""What an asker is told of a connector that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic import BaseModel

import hub.asking
from core.errors import AimeError, Busy, ConnectorError, RateLimited
from core.model import EVERYONE
from core.service import GraphService, create_graph_service
from hub.asking import Asking
from hub.sdk import Ask, Core


@pytest.fixture
async def service() -> AsyncIterator[GraphService]:
    async with await create_graph_service("sqlite::memory:") as service:
        yield service


class Deaf:
    """Does something else than to answer."""

    def __init__(self, does: Callable[[], Awaitable[BaseModel]]) -> None:
        self._does = does

    async def answer(self, ask: Ask, core: Core) -> BaseModel:
        return await self._does()


async def told(service: GraphService, does: Callable[[], Awaitable[BaseModel]]) -> AimeError:
    asking = Asking(service, lambda name: Deaf(does))
    with pytest.raises(AimeError) as raised:
        await asking.ask("delphi", Ask(query="Who wins?"), viewer=EVERYONE, actor="test")
    return raised.value


def raising(error: Exception) -> Callable[[], Awaitable[BaseModel]]:
    async def does() -> BaseModel:
        raise error

    return does


@pytest.mark.parametrize("defect", [ZeroDivisionError("hush"), TimeoutError("hush")])
async def test_a_defect_of_the_connector_is_told_as_one_and_shows_nothing_of_it(
    service: GraphService, defect: Exception
) -> None:
    error = await told(service, raising(defect))
    assert isinstance(error, ConnectorError)
    assert error.message == "connector 'delphi' failed on this question"


async def test_what_the_connector_says_itself_is_passed_on(service: GraphService) -> None:
    said = RateLimited("delphi is full", retry_after=7)
    assert await told(service, raising(said)) is said


async def test_a_connector_that_takes_too_long_is_busy(service: GraphService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.asking, "ASK_SECONDS", 0.01)
    forever: asyncio.Future[BaseModel] = asyncio.get_running_loop().create_future()
    error = await told(service, lambda: forever)
    assert isinstance(error, Busy)
    assert "took longer" in error.message
