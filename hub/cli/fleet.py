"""The connectors that a command looks after: the running hub's, or the configuration's where none runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from core.errors import ConfigError
from core.model import OPERATOR
from hub.cli.local import ACTOR
from hub.cli.opening import open_place
from hub.cli.options import Place
from hub.cli.remote import RemoteTarget
from hub.config import load_config
from hub.runtime import Hub
from hub.web.admin.connectors import ConnectorItem
from hub.web.body import validate

Json = dict[str, Any]


class Fleet(Protocol):
    """What `aime connectors` does, in the shapes of the HTTP API."""

    async def list(self) -> list[Json]: ...

    async def check(self, name: str) -> Json:
        """`ok` and `detail`."""
        ...

    async def run(self, name: str, *, force: bool) -> Json:
        """How many documents were `processed`, `unchanged`, `deleted`, `rejected`; `error` says why it ended early."""
        ...

    async def pause(self, name: str) -> Json: ...

    async def resume(self, name: str) -> Json: ...

    async def ask(self, name: str, asked: Json) -> Json:
        """What the connector answers to what `POST /ask/{connector}` takes."""
        ...


@asynccontextmanager
async def open_fleet(place: Place, *, drive: str | None = None) -> AsyncIterator[Fleet]:
    """The connectors at `place`; where no hub runs, `drive` names the one that may read its source.

    Raises ConfigError for a configuration that is not there or not right.
    """
    if place.url is not None:
        async with open_place(place) as opened:
            if isinstance(opened, RemoteTarget):
                yield RemoteFleet(opened)
        return
    if place.config is None:
        raise ConfigError("there is no plugins.toml here; name the configuration with --config")
    settings = load_config(place.config).override(store=place.store)
    async with open_place(place) as opened:
        if isinstance(opened, RemoteTarget):
            yield RemoteFleet(opened)
            return
        async with Hub(settings, service=opened, drive=[drive] if drive else []) as hub:
            yield LocalFleet(hub)


class LocalFleet:
    """`Fleet` in this process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def list(self) -> list[Json]:
        return [self._item(name) for name in self._hub.instances]

    async def check(self, name: str) -> Json:
        return asdict(await self._hub.check(name))

    async def run(self, name: str, *, force: bool) -> Json:
        return asdict(await (await self._hub.run_now(name, force=force, actor=ACTOR)))

    async def pause(self, name: str) -> Json:
        await self._hub.pause(name, actor=ACTOR)
        return self._item(name)

    async def resume(self, name: str) -> Json:
        await self._hub.resume(name, actor=ACTOR)
        return self._item(name)

    async def ask(self, name: str, asked: Json) -> Json:
        asking = self._hub.asking
        answer = await asking.ask(name, validate(asking.form(name), asked), viewer=OPERATOR, actor=ACTOR)
        return answer.model_dump(mode="json")

    def _item(self, name: str) -> Json:
        return ConnectorItem.of(self._hub.instances[name]).model_dump(mode="json")


class RemoteFleet:
    """`Fleet` of a running hub."""

    def __init__(self, hub: RemoteTarget) -> None:
        self._hub = hub

    async def list(self) -> list[Json]:
        found: list[Json] = (await self._hub.json("GET", "/admin/connectors"))["connectors"]
        return found

    async def check(self, name: str) -> Json:
        return await self._do(name, "check")

    async def run(self, name: str, *, force: bool) -> Json:
        # However long the run takes, the hub answers when it has ended.
        unhurried = aiohttp.ClientTimeout(total=None, sock_read=None)
        return await self._do(name, "run", params={"wait": "true", "force": str(force).lower()}, timeout=unhurried)

    async def pause(self, name: str) -> Json:
        return await self._do(name, "pause")

    async def resume(self, name: str) -> Json:
        return await self._do(name, "resume")

    async def ask(self, name: str, asked: Json) -> Json:
        answer: Json = await self._hub.json("POST", f"/ask/{quote(name, safe='')}", json=asked)
        return answer

    async def _do(self, name: str, action: str, **options: Any) -> Json:
        done: Json = await self._hub.json("POST", f"/admin/connectors/{quote(name, safe='')}/{action}", **options)
        return done
