"""Fixtures of the fault tests. Every process that they start is ended by its id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.rig import SECRET, HubProcess, Receiver, receiving


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.faults)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def make_hub(tmp_path: Path) -> AsyncIterator[Callable[..., HubProcess]]:
    """Makes a hub of a configuration's text; what was started is ended when the test is over."""
    (tmp_path / "secret").write_text(SECRET, encoding="ascii")
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=30)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))

        def make(config: str, *, folder: Path = tmp_path, **options: Any) -> HubProcess:
            hub = HubProcess(folder, config, session, **options)
            stack.push_async_callback(hub.end)
            return hub

        yield make
