"""Discovery of plugins: the only file that uses pluggy, and the only way from the hub to a connector's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import MappingProxyType

import pluggy
import structlog
from pydantic import BaseModel

from core.errors import ConfigError, PluginError
from hub.config import INSTANCE_KEYS, Config, InstanceSettings, collecting
from hub.sdk import API_VERSION, ConnectorSpec, hooks
from hub.toml_table import nearest

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub.plugins")


class Plugins:
    """Every installed kind of connector, by the name of its entry point. A kind is imported when it is first asked for;
    one that is broken says so each time, and the others are not touched."""

    def __init__(self, installed: Iterable[EntryPoint] | None = None) -> None:
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self._entry_points: dict[str, list[EntryPoint]] = defaultdict(list)
        found = entry_points(group=hooks.ENTRY_POINT_GROUP) if installed is None else installed
        for entry_point in found:
            if entry_point not in self._entry_points[entry_point.name]:
                self._entry_points[entry_point.name].append(entry_point)
        self._specs: dict[str, ConnectorSpec] = {}
        self._broken: dict[str, PluginError] = {}

    @property
    def kinds(self) -> Sequence[str]:
        """The names of all installed kinds, imported or not."""
        return sorted(self._entry_points)

    @property
    def broken(self) -> Mapping[str, PluginError]:
        """What is wrong with the kinds that were asked for and could not be used."""
        return MappingProxyType(self._broken)

    def spec(self, kind: str) -> ConnectorSpec:
        """What the kind declares.

        Raises:
            ConfigError: no such kind is installed.
            PluginError: it is, but it does not import, or does not fit the contract.
        """
        if kind in self._broken:
            raise self._broken[kind]
        if kind not in self._specs:
            if kind not in self._entry_points:
                raise ConfigError(f"kind {kind!r} is not installed{nearest(kind, self.kinds)}")
            try:
                self._specs[kind] = self._load(kind)
            except PluginError as error:
                self._broken[kind] = error
                log.exception("plugin broken", kind=kind)
                raise
        return self._specs[kind]

    def specs(self) -> list[ConnectorSpec]:
        """Every kind that can be used; imports all."""
        found: list[ConnectorSpec] = []
        for kind in self.kinds:
            try:
                found.append(self.spec(kind))
            except PluginError:
                continue  # it is in `broken`, by name
        return found

    def configure(self, settings: InstanceSettings) -> tuple[ConnectorSpec, BaseModel]:
        """An instance's spec, and its own keys as the kind's model. Raises ConfigErrors, PluginError."""
        try:
            spec = self.spec(settings.kind)
        except ConfigError as error:
            raise settings.table.error(f"is not right: {error.reason}", "kind") from None
        self.require(spec)
        return spec, settings.table.validate(spec.config, known=INSTANCE_KEYS)

    def require(self, spec: ConnectorSpec) -> None:
        """Raises PluginError where an extra that the kind needs is not installed."""
        for module, package in spec.requires.items():
            if find_spec(module) is None:
                raise PluginError(f'kind {spec.kind!r} needs {module}: pip install "{package}"')

    def feeding(self, scheme: str) -> ConnectorSpec:
        """The kind that can feed queues with URLs of this scheme. Raises ConfigError, PluginError."""
        known: dict[str, ConnectorSpec] = {each: spec for spec in self.specs() for each in spec.feeds}
        if scheme not in known:
            raise ConfigError(f"{scheme!r} is no scheme of a queue; there are {', '.join(sorted(known))}")
        self.require(known[scheme])
        return known[scheme]

    def check(self, config: Config) -> list[ConfigError]:
        """What is wrong with the enabled instances of a configuration, in the order of the file."""
        errors: list[ConfigError] = []
        for settings in config.connectors.values():
            if settings.enabled:
                with collecting(errors):
                    try:
                        self.configure(settings)
                    except PluginError as error:
                        raise settings.table.error(f"cannot be used: {error}", "kind") from None
        return errors

    def _load(self, kind: str) -> ConnectorSpec:
        installed = self._entry_points[kind]
        if len(installed) > 1:
            places = " and ".join(sorted(entry_point.value for entry_point in installed))
            raise PluginError(f"plugin {kind!r} is installed twice, as {places}; remove one")
        for spec in self._declared(installed[0]):
            if spec.kind == kind:
                return _checked(spec)
        raise PluginError(f"plugin {kind!r} ({installed[0].value}) declares no kind of that name")

    def _declared(self, entry_point: EntryPoint) -> list[ConnectorSpec]:
        """What the plugin's hook returns. Whatever a stranger's code raises meanwhile is the plugin's error."""
        name = f"plugin {entry_point.name!r} ({entry_point.value})"
        try:
            module = entry_point.load()
            if not self._manager.is_registered(module):
                self._manager.register(module)
            others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
            offers = self._manager.subset_hook_caller("hub_connectors", others)()
            declared = [spec for offer in offers for spec in offer]
        except (Exception, SystemExit) as error:
            raise PluginError(f"{name} cannot be loaded: {type(error).__name__}: {error}") from error
        if strange := [spec for spec in declared if not isinstance(spec, ConnectorSpec)]:
            raise PluginError(f"{name} declares {type(strange[0]).__name__}, not a ConnectorSpec")
        return declared


def _checked(spec: ConnectorSpec) -> ConnectorSpec:
    name = f"plugin {spec.kind!r}"
    if spec.api_version != API_VERSION:
        raise PluginError(f"{name} is made for version {spec.api_version} of the contract; this hub has {API_VERSION}")
    if spec.config.model_config.get("extra") in (None, "ignore"):
        raise PluginError(f"{name}: its config model lets unknown keys pass; extend hub.sdk.ConnectorConfig")
    if taken := sorted(INSTANCE_KEYS & _keys(spec.config)):
        raise PluginError(f"{name}: its config model declares {', '.join(taken)}, which the hub reads itself")
    return spec


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}
