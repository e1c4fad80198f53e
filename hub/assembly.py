"""From the configuration to instances: each kind checks its own keys, and makes its connector."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import structlog
from pydantic import BaseModel

from core.errors import AimeError, ConfigError, ConfigErrors, PluginError
from core.service import GraphService
from hub.config import Config, InstanceSettings, collecting
from hub.instance import Instance, describe
from hub.net import Network
from hub.plugins import Plugins
from hub.sdk import Connector, ConnectorSpec, Context, NotifyOptions

BLOCKING_THREADS = 8
"""Shared by all instances for `run_blocking`, and apart from the loop's own, so that a file system that hangs does not
also hold up name resolution."""


class Configured(NamedTuple):
    """An enabled instance, validated; without a spec, `problem` says why."""

    settings: InstanceSettings
    spec: ConnectorSpec | None = None
    config: BaseModel | None = None
    """The kind's own keys."""
    problem: str | None = None


class Assembly:
    """Makes instances, and the contexts that their connectors work in."""

    def __init__(
        self, service: GraphService, plugins: Plugins, network: Network, *, now: Callable[[], datetime]
    ) -> None:
        self._service = service
        self._plugins = plugins
        self._network = network
        self._now = now
        self._threads = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="connector")

    def close(self) -> None:
        """Takes no more blocking work, and waits for none: it may hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def configure(self, config: Config) -> dict[str, Configured]:
        """Every enabled instance, validated by its kind. Raises ConfigErrors."""
        configured: dict[str, Configured] = {}
        errors: list[ConfigError] = []
        for name, settings in config.connectors.items():
            if not settings.enabled:
                continue
            with collecting(errors):
                try:
                    configured[name] = Configured(settings, *self._plugins.configure(settings))
                except PluginError as error:
                    configured[name] = Configured(settings, problem=error.message)
        if errors:
            raise ConfigErrors(errors)
        return configured

    def create(self, configured: Configured) -> Instance:
        """The instance. Where its connector cannot be made, it is there all the same, and says why."""
        settings, spec, config, problem = configured
        context = self._context(settings, config)
        connector: Connector | None = None
        if spec is not None:
            try:
                connector = spec.create(config, context)
            except AimeError as error:
                problem = error.message
            except Exception as error:  # a plugin's own code may raise anything, and must not stop the others
                context.log.exception("connector not created")
                problem = f"could not be created: {describe(error)}"
        return Instance(
            settings,
            service=self._service,
            now=self._now,
            spec=spec,
            config=config,
            connector=connector,
            context=context,
            problem=problem,
        )

    def _context(self, settings: InstanceSettings, config: BaseModel | None) -> Context:
        notify = notify_options(config)
        networks = (*settings.allow_networks, *(notify.allow_networks if notify else ()))
        return Context(
            name=settings.name,
            source=settings.document_source,
            http=self._network.client(settings.name, allow_networks=networks, rate=settings.rate),
            log=structlog.stdlib.get_logger("hub.connector").bind(connector=settings.name, kind=settings.kind),
            now=self._now,
            run_blocking=self._run_blocking,
        )

    async def _run_blocking(self, function: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args))


def notify_options(config: BaseModel | None) -> NotifyOptions | None:
    """What an instance that notifies is told, if it has the keys for it."""
    options = getattr(config, "notify", None)
    return options if isinstance(options, NotifyOptions) else None


def edited(instance: Instance, configured: Configured | None) -> bool:
    """Whether an instance has to be stopped: it is gone, or says something else now, or could be mended."""
    return configured is None or configured.settings != instance.settings or instance.problem is not None
