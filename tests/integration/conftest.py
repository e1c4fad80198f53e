"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from core.service import GraphService, create_graph_service


@pytest.fixture
async def nodes(database: str) -> AsyncIterator[tuple[GraphService, GraphService]]:
    """Two services on one PostgreSQL database."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(await create_graph_service(database)),
            await stack.enter_async_context(await create_graph_service(database)),
        )
