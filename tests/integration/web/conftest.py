"""A real hub on a real store, served on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from core.service import ServiceOptions, create_graph_service
from hub.config import Config, load_config
from hub.plugins import Plugins
from hub.runtime import Hub
from hub.web import serve
from tests.integration.web.rig import OpenSite, Site


@pytest.fixture
def open_site(tmp_path: Path) -> OpenSite:
    """Opens a site on the store of this test: on `plugins.toml`'s text, if one is given."""

    @asynccontextmanager
    async def open_(
        config: str | None = None,
        *,
        options: ServiceOptions | None = None,
        listen: str = "127.0.0.1:0",
        plugins: Plugins | None = None,
    ) -> AsyncIterator[Site]:
        settings = Config()
        if config is not None:
            path = tmp_path / "plugins.toml"
            path.write_text(config)
            settings = load_config(path)
        async with (
            await create_graph_service(
                f"sqlite:{tmp_path / 'test.db'}", options=options or ServiceOptions()
            ) as service,
            Hub(settings, service=service, plugins=plugins) as hub,
            await serve(hub, listen) as server,
            aiohttp.ClientSession() as session,
        ):
            yield Site(hub, server, session)

    return open_


@pytest.fixture
async def site(open_site: OpenSite) -> AsyncIterator[Site]:
    async with open_site() as opened:
        yield opened
