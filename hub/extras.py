"""Tables of the configuration that need more than the hub itself does."""

from __future__ import annotations

from importlib.util import find_spec

from core.errors import ConfigError

NEEDED = {"model": ("bedrock", "aiobotocore"), "projection": ("gremlin", "gremlin_python")}
"""By table, the extra, and a module that it brings."""


def require(table: str) -> None:
    """Raises ConfigError where the extra that the table needs is not installed."""
    extra, module = NEEDED[table]
    if find_spec(module) is None:
        raise ConfigError(f'[{table}] needs the extra `{extra}`: pip install "aime-hub[{extra}]"')
