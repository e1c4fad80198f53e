"""Two hubs on one PostgreSQL database, and a model that reads for both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from core.enrichment import SCOPE
from core.service import create_graph_service
from hub.config import load_config
from hub.runtime import Hub
from tests.bedrock_rig import MODEL, replies, scripted
from tests.integration.hub.rig import until
from tests.postgres_rig import drop_database, new_database


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_KEY", "AKIDEXAMPLE")
    monkeypatch.setenv("MODEL_SECRET", "secret")
    url = await new_database()
    yield url
    await drop_database(url)


@asynccontextmanager
async def node(folder: Path, url: str, bedrock: str) -> AsyncIterator[Hub]:
    folder.mkdir(exist_ok=True)
    file = folder / "plugins.toml"
    file.write_text(
        f'[model]\nkind = "bedrock"\nregion = "eu-central-1"\nmodel_id = "{MODEL}"\nuse = ["extraction"]\n'
        f'endpoint_url = "{bedrock}"\naccess_key_id = "${{MODEL_KEY}}"\nsecret_access_key = "${{MODEL_SECRET}}"\n'
    )
    async with await create_graph_service(url) as service, Hub(load_config(file), service=service) as hub:
        yield hub


async def test_one_node_reads_and_another_goes_on_when_it_ends(tmp_path: Path, url: str) -> None:
    async with scripted(replies(lambda _: json.dumps({"entities": ["kiln"]}))) as server, AsyncExitStack() as stack:
        leader = await stack.enter_async_context(node(tmp_path / "one", url, server.url))
        async with node(tmp_path / "two", url, server.url) as other:

            async def read(documents: int) -> None:
                async def is_read() -> bool:
                    return [each.documents for each in await other.service.entities(text="kiln")] == [documents]

                await until(is_read)

            for number, hub in enumerate((leader, other)):
                await hub.service.process_document(
                    document_id=f"d{number}", content=f"The kiln has the number {number}."
                )
            await read(2)
            assert leader.model is not None
            assert leader.model.extraction is not None
            assert leader.model.extraction.running
            await stack.aclose()
            await other.service.process_document(document_id="d2", content="The kiln has the number 2.")
            await read(3)
            assert len(await other.service.store.records(SCOPE)) == len(server.requests) == 3
