"""A hub to be hurt: `aime run` as a process of its own, somebody who posts to it, and a receiver of its webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

from core.store.sqlite import SqliteStore
from core.store.sqlite.lock import read_holder
from tests.postgres_rig import lasting_port

BYTECODE = Path(__file__).parents[2] / "build" / "test-bytecode"
AIME = str(Path(sys.executable).with_name("aime"))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
POLL_SECONDS = 0.01

Json = dict[str, Any]


def environment() -> dict[str, str]:
    """Ours, and a place for bytecode that every hub of this machine's test runs shares: most of a start is imports."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPYCACHEPREFIX": str(BYTECODE)}


async def until(
    look: Callable[[], bool | Awaitable[bool]],
    *,
    within: float,
    what: str,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Ask again and again, until `look` says yes. Fails after `within` seconds in which there was no `progress`."""
    deadline, reached = time.monotonic() + within, progress()
    while True:
        if reached != (now := progress()):
            deadline, reached = time.monotonic() + within, now
        seen = look()
        if seen if isinstance(seen, bool) else await seen:
            return
        assert time.monotonic() < deadline, f"{what}: not within {within:g} seconds"
        await asyncio.sleep(POLL_SECONDS)


class HubProcess:
    """`aime run` with `folder/plugins.toml`. Start it again after a kill: it is the same hub.

    `store` is `folder/aime.db` unless given, or unless `database` is the URL of a shared one. `wrapper` is a command
    that ends by executing its arguments, such as one that mounts a disk which only the hub sees.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        session: aiohttp.ClientSession,
        *,
        store: Path | None = None,
        database: str | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.store = store or folder / "aime.db"
        self.store_url = database or f"sqlite:{self.store}"
        self.log = folder / "hub.log"
        self.up = asyncio.Event()
        """Set while the hub takes work."""
        self._session = session
        self._wrapper = wrapper
        self._shared = database is not None
        self._url = f"http://127.0.0.1:{lasting_port()}" if self._shared else ""
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(exist_ok=True)
        self.config = folder / "plugins.toml"
        self.config.write_text(config, encoding="utf-8")

    async def start(self, *options: str) -> None:
        """Start, and wait until it takes work."""
        await self.launch(*options)
        await self.ready()

    async def launch(self, *options: str) -> None:
        """Start, and wait for nothing."""
        command = [*self._wrapper, AIME, "run", "--config", str(self.config), "--store", self.store_url]
        address = self._url.removeprefix("http://") if self._shared else "127.0.0.1:0"
        listen = () if "--listen" in options else ("--listen", address)
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *listen,
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                start_new_session=True,
            )

    async def ready(self, *, within: float = 30.0) -> None:
        await until(self._is_ready, within=within, what="the hub takes work")
        self.up.set()

    async def _is_ready(self) -> bool:
        assert self.process.returncode is None, f"the hub ended with {self.process.returncode}:\n{self.last_words}"
        if not self._shared:
            holder = read_holder(self.seen(self.store))
            if holder is None or holder.pid != self.pid or holder.url is None:
                return False
            self._url = holder.url
        try:
            status, _ = await self.call("GET", "/readyz")
        except aiohttp.ClientError:
            return False
        return status == 200

    def seen(self, path: Path) -> Path:
        """A path as the hub sees it, which may have disks of its own."""
        return Path(f"/proc/{self.pid}/root", path.relative_to("/")) if self._wrapper else path

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "the hub was not started"
        return self._process

    @property
    def url(self) -> str:
        """Where it was last seen to take work."""
        return self._url

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def last_words(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON of one call. Raises aiohttp.ClientError when the hub is not there."""
        async with self._session.request(method, self._url + path, **options) as response:
            return response.status, json.loads(await response.read())

    async def kill(self) -> None:
        """kill -9."""
        self.up.clear()
        self.process.kill()
        await self.process.wait()

    async def terminate(self, *, within: float = 35.0) -> int:
        """SIGTERM; the exit code."""
        self.up.clear()
        self.process.send_signal(signal.SIGTERM)
        return await self.ended(within=within)

    async def ended(self, *, within: float) -> int:
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def end(self) -> None:
        """Whatever happened: leave no process behind."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()


async def journalled(path: Path) -> int:
    """How many items wait."""
    store = SqliteStore(f"sqlite:{path}")
    await store.open()
    items = await store.journal(1000)
    await store.close()
    return len(items)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook whose signature fits."""

    id: str
    data: Json


@dataclass
class Receiver:
    """Takes webhooks and verifies each. `refuse` says of an arrival whether it is answered with 503."""

    url: str = ""
    arrivals: list[Arrival] = field(default_factory=list)
    forged: int = 0
    """Requests whose signature does not fit."""
    refuse: Callable[[Arrival], bool] = lambda _: False

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            data = Webhook(SECRET).verify(body, {name.lower(): value for name, value in request.headers.items()})
        except Exception:  # noqa: BLE001 - whatever the library raises, the signature did not fit
            self.forged += 1
            return web.Response(status=401)
        arrival = Arrival(request.headers["webhook-id"], data)
        if self.refuse(arrival):
            return web.Response(status=503)
        self.arrivals.append(arrival)
        return web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens on this machine."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}/hook"
        yield receiver
    finally:
        await runner.cleanup()


def config(
    *, folder: Path | None = None, receiver: Receiver | None = None, hub: Mapping[str, str] | None = None
) -> str:
    """A `plugins.toml` that reads a folder, tells a receiver, or neither."""
    lines = ["[hub]", *(f"{key} = {value}" for key, value in (hub or {}).items())]
    if receiver is not None:
        lines += ['callbacks.secret = "file:secret"', 'callbacks.allow_networks = ["127.0.0.0/8"]']
        lines += ["[connectors.listener]", 'kind = "webhook"', f'notify.url = "{receiver.url}"']
        lines += ['notify.secret = "file:secret"', 'notify.allow_networks = ["127.0.0.0/8"]']
        lines += ['notify.events = ["document.processed", "document.deleted"]']
    if folder is not None:
        lines += ["[connectors.files]", 'kind = "filesystem"', f'path = "{folder}"', 'every = "1s"']
    return "\n".join(lines) + "\n"
