"""The options that commands share, and the place that they name: a store, or a running hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("plugins.toml")
DEFAULT_STORE = "sqlite:aime.db"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="The store: sqlite:PATH or postgresql:… [AIME_STORE, or the configuration's]"
    ),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="A running hub to speak to instead of a store. [AIME_URL]")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--api-key", metavar="KEY", help="For --url; better in the environment. [AIME_API_KEY]"),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The configuration. [plugins.toml, if it is there]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works: at `url` with `api_key`, or if that is None on `store`."""

    store: str
    url: str | None = None
    api_key: str | None = None
    max_content_bytes: int = 32 * 1024 * 1024
    analysis_workers: int = 1
    language: str = "en"
    config: Path | None = None
    """The configuration file that these come from."""

    @classmethod
    def of(cls, *, store: str | None, url: str | None, api_key: str | None, config: Path | None) -> Place:
        """Options come before the environment, the environment before the configuration file.

        Raises ConfigError for a configuration that cannot be read, BadParameter for both a store and a URL.
        """
        if store and url:
            raise typer.BadParameter("give either --store or --url, not both")
        if not store:
            url = url or os.environ.get("AIME_URL") or None
        if url:
            return cls(store="", url=url, api_key=api_key or os.environ.get("AIME_API_KEY") or None)
        chosen = store or os.environ.get("AIME_STORE")
        path = config_path(config)
        if path is None:
            return cls(store=chosen or DEFAULT_STORE)
        from hub.config import load_config

        hub = load_config(path).hub
        return cls(
            store=chosen or hub.store,
            max_content_bytes=hub.max_content_bytes,
            analysis_workers=hub.analysis_workers,
            language=hub.language,
            config=path,
        )


def config_path(config: Path | None) -> Path | None:
    """The configuration file that is meant; None when none is named and there is no plugins.toml."""
    if config is not None:
        return config
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


PLACE_OPTIONS = {"store": StoreOption, "url": UrlOption, "api_key": KeyOption, "config": ConfigOption}


def at_place(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a place, where it takes a `place`.

    The options are read from the signature, so what is returned has one that says so.
    """
    declared = signature(command, eval_str=True)
    parameters = [each for parameter in declared.parameters.values() for each in _unfolded(parameter)]

    @wraps(command)
    def placed(
        *, store: str | None, url: str | None, api_key: str | None, config: Path | None, **others: object
    ) -> None:
        command(place=Place.of(store=store, url=url, api_key=api_key, config=config), **others)

    placed.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]  # as `inspect` reads it
    placed.__annotations__ = {each.name: each.annotation for each in parameters}
    return placed


def _unfolded(parameter: Parameter) -> Iterator[Parameter]:
    if parameter.name != "place":
        yield parameter
        return
    for name, option in PLACE_OPTIONS.items():
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=option)
