"""The plugin contract: every hook, and the marker that implements one.

A plugin is an installed package with an entry point in the group `aime.connectors`; the built-in connectors register
the same way. The entry point is named like the kind that it offers (a module may stand behind several), so that only
what `plugins.toml` enables is imported.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from hub.sdk.contract import ConnectorSpec

PROJECT = "aime"
ENTRY_POINT_GROUP = "aime.connectors"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def hub_connectors() -> Iterable[ConnectorSpec]:  # type: ignore[empty-body]  # plugins have the bodies
    """The kinds of connector that this plugin offers."""
