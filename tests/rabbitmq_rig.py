"""The RabbitMQ broker of `make services`, and brokers that a test ends and starts again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.postgres_rig import lasting_port

SERVICE = Path(__file__).parents[1] / "build" / "services" / "rabbitmq"
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
GREETING = b"AMQP\x00\x00\x09\x01"
USER = "guest"


def address() -> str:
    """Host and port of the shared broker; skips where there is none."""
    pytest.importorskip("aio_pika", reason="aio-pika is not there: `make venv` installs it")
    try:
        return (SERVICE / "address").read_text(encoding="utf-8").strip()
    except OSError:
        pytest.skip("there is no RabbitMQ: `make services` installs and starts it")


class Wires:
    """What a test itself does at a broker: declares, publishes, looks."""

    def __init__(self, channel: Any, at: str) -> None:
        self.channel = channel
        self.at = at
        self.url = f"amqp://{at}"

    async def queue(self, kind: str = "quorum", name: str | None = None, **arguments: Any) -> str:
        """A new durable queue; its name."""
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        await self.channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind, **arguments})
        return name

    async def publish(self, queue: str, *bodies: bytes) -> None:
        """Persistent and confirmed."""
        from aio_pika import DeliveryMode, Message

        for start in range(0, len(bodies), 100):
            await asyncio.gather(
                *(
                    self.channel.default_exchange.publish(Message(body, delivery_mode=DeliveryMode.PERSISTENT), queue)
                    for body in bodies[start : start + 100]
                )
            )

    async def waiting(self, queue: str) -> int:
        """Messages that wait; those that are handed over and not acknowledged do not count."""
        found = await (await self.channel.get_queue(queue)).declare()
        return int(found.message_count)

    async def take(self, queue: str) -> Any:
        """The next message, or None."""
        return await (await self.channel.get_queue(queue, ensure=False)).get(no_ack=True, fail=False)

    async def delete(self, queue: str) -> None:
        await self.channel.queue_delete(queue)


@asynccontextmanager
async def wires(at: str | None = None) -> AsyncIterator[Wires]:
    """A line to the shared broker, or to the one at `at`; skips where none answers."""
    from aio_pika import Connection
    from yarl import URL

    connection = Connection(URL(f"amqp://{USER}:{USER}@{at or address()}/"))
    try:
        await connection.connect(timeout=10)
    except OSError:
        await connection.close()
        pytest.skip("there is no RabbitMQ: `make services` installs and starts it")
    async with connection:
        yield Wires(await connection.channel(on_return_raises=True), at or address())


class OwnBroker:
    """A second broker, from what `make services` installed, that a test may end and start again. With `tls` it has a
    second port, `tls_at`, and a certificate for 127.0.0.1 that is its own authority, `certificate`."""

    def __init__(self, *, tls: bool = False) -> None:
        address()
        if not (PROGRAMS / "rabbitmq-server").exists():
            pytest.skip("RabbitMQ is not installed: `make services` installs it")
        self._folder = Path(tempfile.mkdtemp(prefix="aime-rabbitmq-"))
        self.port = lasting_port()
        self.at = f"127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None
        settings = f"listeners.tcp.1 = {self.at}\n"
        if tls:
            self.tls_at = f"127.0.0.1:{lasting_port()}"
            self.certificate = self._folder / "certificate.pem"
            settings += f"listeners.ssl.1 = {self.tls_at}\n" + self._certify()
        (self._folder / "rabbitmq.conf").write_text(settings, encoding="ascii")
        (self._folder / "enabled_plugins").write_text("[].\n", encoding="ascii")
        self._epmd = lasting_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": f"aime{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(lasting_port()),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self._folder / "node.pid"),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _certify(self) -> str:
        key = self._folder / "key.pem"
        command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {self.certificate}"
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command.split(), *subject], check=True, capture_output=True)
        files = {"cacertfile": self.certificate, "certfile": self.certificate, "keyfile": key}
        return "".join(f"ssl_options.{name} = {path}\n" for name, path in files.items())

    async def start(self) -> None:
        with (self._folder / "output").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                PROGRAMS / "rabbitmq-server", env=self._environment, stdout=output, stderr=output, cwd="/"
            )
        async with asyncio.timeout(60):
            while not await self._answers():
                assert self._process.returncode is None, (self._folder / "output").read_text()
                await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(GREETING)
            return bool(await reader.read(1))
        except OSError:
            return False
        finally:
            writer.transport.abort()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()

    async def crash(self) -> None:
        """kill -9 of the node itself: the process that was started is a shell that waits for it."""
        os.kill(int((self._folder / "node.pid").read_text()), signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    async def control(self, *arguments: str) -> None:
        """`rabbitmqctl` on this node."""
        with (self._folder / "control").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                PROGRAMS / "rabbitmqctl", *arguments, env=self._environment, stdout=output, stderr=output, cwd="/"
            )
            assert await process.wait() == 0, (self._folder / "control").read_text()

    async def remove(self) -> None:
        with suppress(OSError, AssertionError):
            await self.stop()
        self._end_epmd()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_epmd(self) -> None:
        """The port mapper that the node started, and that outlives it."""
        mine = f"ERL_EPMD_PORT={self._epmd}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "comm").read_text().strip() == "epmd" and mine in (
                    process / "environ"
                ).read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGTERM)


@asynccontextmanager
async def own_broker(*, tls: bool = False) -> AsyncIterator[OwnBroker]:
    broker = OwnBroker(tls=tls)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.remove()


def table(name: str, at: str, **options: object) -> str:
    """A `[connectors.NAME]` table; nested ones are written with dots, as `consume.queue`."""
    values: Mapping[str, object] = {"kind": "rabbitmq", "url": f"amqp://{at}", **options}
    lines = [f"{key.replace('__', '.')} = {_toml(value)}" for key, value in values.items()]
    return "\n".join([f"[connectors.{name}]", *lines, ""])


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int) else f"{list(value)}" if isinstance(value, tuple) else f'"{value}"'


class Line:
    """A TCP line to a broker that goes dead when a test says so: nothing passes any more, and nobody is told."""

    def __init__(self, at: str) -> None:
        host, port = at.rsplit(":", 1)
        self._to = (host, int(port))
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.at = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.at = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def die(self) -> None:
        self._passing.clear()

    def live(self) -> None:
        self._passing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._open.add(task)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._passing.wait()
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.transport.abort()
