"""The listening side: bind, announce, watch the loop, and shut down without dropping what is in flight."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import SecretStr

from core.errors import ConfigError
from hub.config import check_exposure, parse_listen
from hub.keys import KeyRing
from hub.runtime import Hub
from hub.telemetry import LoopWatchdog
from hub.web.app import SITE, create_app
from hub.web.routes import MAX_REQUEST_LINE

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub.web")

SHUTDOWN_SECONDS = 10.0
"""The most that calls in flight get: streams, polls and batches end by themselves. It counts against the drain."""
ABORT_SECONDS = 1.0
"""For a call that was cancelled to end; then its connection is closed."""


class Server:
    """A running HTTP server. `url` is where it is bound; leaving it as a context manager closes it."""

    def __init__(
        self,
        runner: web.AppRunner,
        url: str,
        run_token: SecretStr,
        watchdog: asyncio.Task[None],
        *,
        patience: float,
    ) -> None:
        """`patience`: the seconds that calls in flight get when it is closed."""
        self._runner = runner
        self._patience = patience
        self._watchdog = watchdog
        self.url = url
        self.run_token = run_token

    @property
    def in_flight(self) -> int:
        """Calls that are being answered."""
        return self._runner.app[SITE].in_flight

    async def close(self) -> None:
        """Stop accepting, end streams and long polls, and give calls in flight the drain time to finish."""
        self._watchdog.cancel()
        await asyncio.wait([self._watchdog])
        try:
            # The runner waits twice for a call that does not let itself be cancelled.
            async with asyncio.timeout(self._patience + ABORT_SECONDS):
                await self._runner.cleanup()
        except TimeoutError:
            log.warning("calls in flight were cut off", calls=self.in_flight)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def serve(hub: Hub, listen: str) -> Server:
    """Serve `hub` on `listen` (`HOST:PORT`; port 0 takes a free one) and announce the address beside the store.

    Raises ConfigError for an address that is taken, is not this machine's, or is public while there is no API key.
    """
    host, port = parse_listen(listen)
    keys = KeyRing(hub.service)
    await keys.reload()
    check_exposure(listen, keys=int(keys.usable()))
    run_token = SecretStr(secrets.token_urlsafe(32))
    patience = min(SHUTDOWN_SECONDS, hub.config.hub.drain_seconds / 2)
    runner = web.AppRunner(
        create_app(hub, host=host, run_token=run_token),
        access_log=None,
        auto_decompress=False,
        max_line_size=MAX_REQUEST_LINE,
        shutdown_timeout=patience,
        logger=_protocol_log(),
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=512).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(_why_not(error, listen)) from None
    bound = runner.addresses[0][1]
    url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
    hub.service.announce(url, run_token.get_secret_value())
    watchdog = LoopWatchdog(runner.app[SITE].metrics)
    watching = asyncio.create_task(watchdog.run(), name="loop watchdog")
    return Server(runner, url, run_token, watching, patience=patience)


def _why_not(error: OSError, listen: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{listen} is in use by another process; choose another `listen` address"
    return f"cannot listen on {listen}: {error.strerror}"


def _protocol_log() -> logging.Logger:
    """aiohttp's own log, without what was no HTTP: it got a 400, and a stranger must not fill the log."""
    log = logging.getLogger("hub.web.protocol")
    if not log.filters:
        log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
    return log
