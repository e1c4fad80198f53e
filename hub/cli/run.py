"""`aime run`: the hub itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.interpreter import collect_rarely
from hub.cli.options import ConfigOption, JsonOption, StoreOption, config_path
from hub.cli.output import print_json

if TYPE_CHECKING:
    from core.service import GraphService
    from hub.config import Config
    from hub.runtime import Hub

READY_POLL_SECONDS = 0.05
GAVE_UP = 1
"""The exit code of a hub that did not stop in time."""

ListenOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where to answer HTTP; port 0 takes a free one.")
]


def run(
    config: ConfigOption = None,
    store: StoreOption = None,
    listen: ListenOption = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = "info",
    as_json: JsonOption = False,
) -> None:
    """Run the hub: connectors, notifications and the HTTP API, until SIGTERM or Ctrl-C.

    One line on stdout says when it takes work; the log goes to stderr. A signal stops the intake, finishes what is on
    its way and exits 0; a second one ends the process at once. A public address is refused until there is an API key.
    """
    from hub.telemetry import configure_logging

    if log_level.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise typer.BadParameter("must be debug, info, warning or error", param_hint="--log-level")
    configure_logging(log_level)
    settings = _load(config, store, listen)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(settings, as_json=as_json))


def _load(config: Path | None, store: str | None, listen: str | None) -> Config:
    from hub.config import Config, load_config

    path = config_path(config)
    settings = load_config(path) if path is not None else Config()
    return settings.override(store=store or os.environ.get("AIME_STORE") or None, listen=listen)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, if it is installed: about 15 % more throughput."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(config: Config, *, as_json: bool) -> None:
    from core.service import ServiceOptions, create_graph_service
    from hub.runtime import Hub
    from hub.web import serve

    stopped = _stop_on_signals(give_up_after=config.hub.drain_seconds)
    options = ServiceOptions(
        max_content_bytes=config.hub.max_content_bytes,
        analysis_workers=config.hub.analysis_workers,
        language=config.hub.language,
    )
    async with (
        await create_graph_service(config.hub.store, options=options) as service,
        Hub(config, service=service) as hub,
        await serve(hub, config.hub.listen) as server,
    ):
        if await _ready(service, stopped):
            collect_rarely()  # of the index, too, most is there to stay
            await _announce(hub, server.url, as_json=as_json)
        await stopped.wait()
        hub.begin_stop()


def _stop_on_signals(*, give_up_after: float) -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets. The second has its default effect again.

    The process ends `give_up_after` seconds after the first in any case: a connector's thread that hangs in a system
    call can be ended in no other way, and what is committed is durable.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        last_resort = threading.Timer(give_up_after, _give_up)
        last_resort.daemon = True
        last_resort.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopped


def _give_up() -> None:
    sys.stderr.write("aime: the hub did not stop within hub.drain_seconds; what is not committed comes again\n")
    sys.stderr.flush()
    os._exit(GAVE_UP)


async def _ready(service: GraphService, stopped: asyncio.Event) -> bool:
    """Wait until `/readyz` would answer 200; whether it came to that before the hub was stopped."""
    while not await service.ready():
        try:
            async with asyncio.timeout(READY_POLL_SECONDS):
                await stopped.wait()
        except TimeoutError:
            continue
        return False
    return True


async def _announce(hub: Hub, url: str, *, as_json: bool) -> None:
    version = await hub.service.head()
    kinds = {name: instance.kind for name, instance in hub.instances.items()}
    if as_json:
        print_json({"ready": True, "url": url, "pid": os.getpid(), "graph_version": version, "connectors": kinds})
    else:
        names = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
        typer.echo(f"Ready at {url} (API: {url}/docs). Graph version {version}. Connectors: {names}.")
    sys.stdout.flush()
