"""The PostgreSQL server of `make services`, and servers that a test ends and starts again."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import socket
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

SERVICE = Path(__file__).parents[1] / "build" / "services" / "postgres"


async def new_database(server: str | None = None, **options: str) -> str:
    """The URL of a database made for one test, on the shared server or on `server`; skips where none answers."""
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not there: `make venv` installs it")
    base = server or address()
    name = f"test_{uuid.uuid4().hex[:12]}"
    extra = " ".join(f"{key} {value}" for key, value in options.items())
    try:
        admin = await asyncpg.connect(f"{base}/postgres", timeout=5)
    except OSError:
        pytest.skip("there is no PostgreSQL: `make services` installs and starts it")
    try:
        await admin.execute(f"CREATE DATABASE {name} {extra}")
    finally:
        await admin.close()
    return f"{base}/{name}"


async def drop_database(url: str) -> None:
    import asyncpg

    name = urlsplit(url).path.strip("/")
    admin = await asyncpg.connect(url.replace(f"/{name}", "/postgres"), timeout=5)
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await admin.close()


def address() -> str:
    """The shared server's URL, without a database."""
    try:
        return f"postgresql://postgres@{(SERVICE / 'address').read_text(encoding='utf-8').strip()}"
    except OSError:
        pytest.skip("there is no PostgreSQL: `make services` installs and starts it")


async def execute(url: str, *statements: str) -> None:
    """Run statements on a database, outside the store."""
    import asyncpg

    connection = await asyncpg.connect(url, timeout=5)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await asyncio.wait_for(connection.close(), 5)


def lasting_port() -> int:
    """A free port for a server that goes away and comes back. It is none of those that the system gives to clients: one
    that tries to reach the server meanwhile could be given the server's own port, reach itself, and keep the port."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class OwnServer:
    """A second server, from what `make services` installed, that a test may end and start again."""

    def __init__(self) -> None:
        address()
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        # Outside the test's folder, which is root's alone, as the server is not root.
        self._folder = Path(tempfile.mkdtemp(prefix="aime-postgres-"))
        self._owner = pwd.getpwnam("postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
        os.chown(self._folder, self._owner.pw_uid, self._owner.pw_gid)
        self.port = lasting_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}"

    async def create(self) -> None:
        data = self._folder / "data"
        await self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")

    async def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories="
        await self._control("start", "-w", "-l", str(self._folder / "log"), "-o", options)

    async def demand_password(self, password: str) -> None:
        """Of user postgres, from the next start on."""
        await execute(f"{self.url}/postgres", f"ALTER ROLE postgres PASSWORD '{password}'")
        rules = self._folder / "data" / "pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n", encoding="ascii")

    async def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash: the server recovers at its next start."""
        await self._control("stop", "-w", "-m", mode)

    async def remove(self) -> None:
        with suppress(AssertionError):
            await self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _control(self, *arguments: str) -> None:
        await self._run("pg_ctl", "-D", str(self._folder / "data"), *arguments)

    async def _run(self, program: str, *arguments: str) -> None:
        become = {} if os.geteuid() else {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}
        output = self._folder / "output"
        with output.open("wb") as written:
            process = await asyncio.create_subprocess_exec(
                self._programs / program, *arguments, stdout=written, stderr=written, cwd="/", **become
            )
            assert await process.wait() == 0, f"{program}: {output.read_text()}"


@asynccontextmanager
async def own_server() -> AsyncIterator[OwnServer]:
    server = OwnServer()
    try:
        await server.create()
        await server.start()
        yield server
    finally:
        await server.remove()


class Wire:
    """A TCP line to a server that a test may cut, or let fall silent. `watch` sees what the client sends, and says
    whether the line is cut there ("before"), once the server has answered it ("after"), or not (None)."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self.watch: Callable[[bytes], str | None] = lambda _sent: None
        self.port = lasting_port()
        self._speaking = asyncio.Event()
        self._speaking.set()

    def fall_silent(self) -> None:
        """Nothing arrives any more, on either side, and nobody is told: a cable is unplugged."""
        self._speaking.clear()

    def speak(self) -> None:
        """What was sent meanwhile arrives."""
        self._speaking.set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Cut every line, and take no new one."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._speaking.wait()
        server, forth = await asyncio.open_connection("127.0.0.1", self._to)
        self._lines |= {back, forth}
        answering = asyncio.create_task(self._pipe(server, back))
        try:
            while sent := await client.read(65536):
                await self._speaking.wait()
                cut = self.watch(sent)
                if cut == "before":
                    break
                if cut == "after":
                    answering.cancel()
                    await asyncio.wait([answering])
                    forth.write(sent)
                    await server.read(1)
                    break
                forth.write(sent)
        except OSError:
            pass
        finally:
            answering.cancel()
            self._lines -= {back, forth}
            back.transport.abort()
            forth.transport.abort()

    async def _pipe(self, server: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while answer := await server.read(65536):
                await self._speaking.wait()
                back.write(answer)
        back.transport.abort()
