from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.service import GraphService, create_graph_service
from hub.net import Network
from tests.integration.notify.rig import (
    patient,
)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(breaker=patient) as network:
        yield network


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[GraphService]:
    async with await create_graph_service(f"sqlite:{tmp_path}/notify.db") as service:
        yield service
