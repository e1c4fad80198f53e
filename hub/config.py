"""`plugins.toml` as models. Every error names file, line and the nearest right name; several are reported together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    model_validator,
)

from core.analysis.languages import ENGLISH, check_language
from core.analysis.pool import DEFAULT_WORKERS
from core.errors import ConfigError, ConfigErrors
from core.model import DEFAULT_MAX_CONTENT_BYTES
from hub.model_settings import ModelSettings
from hub.sdk import ConnectorSpec, Duration, InvalidInput
from hub.sdk.webhooks import StandardWebhook
from hub.toml_table import Table

DEFAULT_EVERY = timedelta(minutes=15)
_INSTANCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TABLES = ("hub", "connectors", "projection", "model")
RESERVED_NAMES = frozenset({"api", "cli", "hub", "callback"})
"""Origins and endpoints of the hub's own: an instance of that name would prune or receive what is not its own."""


# ---------------------------------------------------------------- models


def parse_listen(value: str) -> tuple[str, int]:
    """`HOST:PORT` as host and port; an IPv6 host stands in brackets. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError('must be HOST:PORT, such as "127.0.0.1:8080"')
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if not host or ":" in host:
        raise ValueError('must be HOST:PORT, such as "127.0.0.1:8080" or "[::1]:8080"')
    return host, int(port)


def _check_listen(value: str) -> str:
    parse_listen(value)
    return value


def _check_cron(value: str) -> str:
    try:
        CronSim(value, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"must be a cron expression such as 30 4 * * *: {error}") from None
    return value


def _check_signing_secret(value: SecretStr) -> SecretStr:
    try:
        StandardWebhook([value])
    except InvalidInput as error:
        raise ValueError(error.reason) from None
    return value


class CallbackSettings(BaseModel):
    """Answers that are POSTed to a question's `callback_url`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    secret: Annotated[SecretStr, AfterValidator(_check_signing_secret)] | None = None
    """Signs them. Without it, callbacks are refused."""
    allow_networks: tuple[IPvAnyNetwork, ...] = ()


class HubSettings(BaseModel):
    """The `[hub]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    store: str = "sqlite:aime.db"
    listen: Annotated[str, AfterValidator(_check_listen)] = "127.0.0.1:8080"
    max_content_bytes: Annotated[int, Field(gt=0)] = DEFAULT_MAX_CONTENT_BYTES
    analysis_workers: Annotated[int, Field(ge=0, le=256)] = DEFAULT_WORKERS
    language: Annotated[str, AfterValidator(check_language)] = ENGLISH
    """Of documents that name none: its words are stemmed. Another one has the index made anew at the next start."""
    keep_history: Duration = timedelta(hours=24)
    """How long a replaced or deleted document can still be read with `as_of_version`."""
    keep_deliveries: Duration = timedelta(days=30)
    """How long a notification that has arrived can still be looked at."""
    keep_audit: Annotated[Duration, Field(ge=timedelta(days=1))] | None = None
    """How long the audit trail reaches back; None for good."""
    drain_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    callbacks: CallbackSettings = CallbackSettings()


def _check_graph_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        port = 0
    fits = parts.scheme in {"ws", "wss"} and parts.hostname and port != 0 and parts.path in {"", "/", "/gremlin"}
    if not fits or parts.query or parts.fragment or parts.username is not None:
        raise ValueError('must be ws://HOST:PORT/gremlin or wss://…, such as "ws://127.0.0.1:8182/gremlin"')
    return value


class ProjectionSettings(BaseModel):
    """The `[projection]` table: the graph as vertices and edges in a TinkerPop server, which it has for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_check_graph_url)]
    region: Annotated[str, Field(min_length=1)] | None = None
    """AWS region of a Neptune cluster with IAM authentication: requests are signed with the usual credentials."""
    chunks: bool = True
    """Whether chunks are vertices; without, documents mention entities themselves."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """For one request."""

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host, port, and whether it is TLS."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 8182, parts.scheme == "wss"


def _prune_interval(value: object) -> object:
    return DEFAULT_PRUNE_EVERY if value is True else None if value is False else value


DEFAULT_PRUNE_EVERY = timedelta(hours=24)
PruneEvery = Annotated[Duration | None, BeforeValidator(_prune_interval, json_schema_input_type=bool | Duration)]


class AnswersSettings(BaseModel):
    """A question form for the documents of some sources, at `POST /ask/NAME`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    form: Literal["support", "research"]
    sources: tuple[str, ...] = ()
    """Whose documents answer; the instance's own if none is named."""
    min_groundedness: Annotated[float, Field(ge=0, le=1)] | None = None
    """Below it there is no answer. If not set, the form's: 0.8 for research; in support where the graph answers."""


class InstanceOptions(BaseModel):
    """The keys of a `[connectors.NAME]` table that are the hub's. All others are the kind's."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: str
    enabled: bool = True
    source: Annotated[str, Field(min_length=1)] | None = None
    """The `source` of its documents; the instance's name unless set."""
    every: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = None
    cron: Annotated[str, AfterValidator(_check_cron)] | None = None
    """Five fields, UTC; in place of `every`."""
    overlap: Duration = timedelta(0)
    """Read again what changed this long before the checkpoint."""
    page_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    prune: PruneEvery = None
    """Delete what is gone at the source: true (daily) or an interval."""
    prune_limit: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The share of the known documents that one prune may delete without being confirmed."""
    quarantine_after: Annotated[int, Field(ge=1, le=1000)] = 5
    """Tries of a poison message before it is set aside."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Requests a second."""
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    """Private and loopback networks that it may reach."""
    answers: AnswersSettings | None = None
    """The form in which its documents are asked about."""

    @model_validator(mode="after")
    def _one_schedule(self) -> InstanceOptions:
        if self.every is not None and self.cron is not None:
            raise ValueError("every and cron exclude each other")
        return self


INSTANCE_KEYS = frozenset(InstanceOptions.model_fields)


class InstanceSettings(InstanceOptions):
    """One connector instance; `table` holds the keys of its kind."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    table: Table = Field(repr=False)

    @property
    def document_source(self) -> str:
        return self.source or self.name


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. Without a file it is the defaults, with no connector."""

    path: Path | None = None
    hub: HubSettings = field(default_factory=HubSettings)
    connectors: Mapping[str, InstanceSettings] = field(default_factory=dict)
    projection: ProjectionSettings | None = None
    model: ModelSettings | None = None
    overridden: HubSettings | None = None
    """What the file says of the hub, where the command line said otherwise."""

    @property
    def hub_in_file(self) -> HubSettings:
        return self.overridden or self.hub

    def override(self, *, store: str | None = None, listen: str | None = None) -> Config:
        """With what the command line said. Raises ConfigError."""
        given = {"store": store, "listen": listen}
        changes = {key: value for key, value in given.items() if value is not None}
        if not changes:
            return self
        values = {key: getattr(self.hub, key) for key in HubSettings.model_fields} | changes
        try:
            return replace(self, hub=HubSettings.model_validate(values), overridden=self.hub_in_file)
        except ValueError:
            raise ConfigError(f'listen must be HOST:PORT, such as "127.0.0.1:8080", not {listen!r}') from None


# ---------------------------------------------------------------- reading


def load_config(path: Path | str) -> Config:
    """Read and validate `plugins.toml`, except what its kinds say of their own keys (`Plugins.configure`).

    Raises ConfigErrors: all that is wrong, each with file and line.
    """
    config, errors = read_config(path)
    if errors:
        raise ConfigErrors(errors)
    return config


def read_config(path: Path | str) -> tuple[Config, list[ConfigError]]:
    """What can be made out of a file that may be wrong, for looking on, and what is wrong, in the order of the file.

    A table with an error has the defaults in its place; an instance keeps its kind, and the keys of its kind.
    """
    try:
        root = Table.load(Path(path))
    except ConfigError as error:
        return Config(path=Path(path)), [error]
    errors: list[ConfigError] = [root.unknown(key, TABLES) for key in root.values if key not in TABLES]
    hub = HubSettings()
    projection: ProjectionSettings | None = None
    model: ModelSettings | None = None
    connectors: dict[str, InstanceSettings] = {}
    with collecting(errors):
        hub = root.sub("hub").validate(HubSettings)
    if "projection" in root.values:
        with collecting(errors):
            projection = root.sub("projection").validate(ProjectionSettings)
    if "model" in root.values:
        with collecting(errors):
            model = ModelSettings.of(root.sub("model"))
    with collecting(errors):
        tables = root.sub("connectors")
        for name in tables.values:
            with collecting(errors):
                connectors[name] = _instance(name, tables.sub(name), errors)
    config = Config(path=Path(path), hub=hub, connectors=connectors, projection=projection, model=model)
    return config, in_order(errors)


def _instance(name: str, table: Table, errors: list[ConfigError]) -> InstanceSettings:
    """The instance; what is wrong with the hub's keys goes to `errors`. Raises ConfigError where there is no kind."""
    if not _INSTANCE_NAME.fullmatch(name):
        raise table.error("is no name for a connector: use letters, digits, - and _, at most 64")
    if name in RESERVED_NAMES:
        raise table.error("is a name of the hub's own; choose another")
    try:
        options = table.only(INSTANCE_KEYS).validate(InstanceOptions)
    except ConfigErrors as several:
        if not isinstance(table.values.get("kind"), str):
            raise
        errors.extend(several.errors)
        options = InstanceOptions(kind=table.values["kind"], enabled=table.values.get("enabled") is not False)
    values = {key: getattr(options, key) for key in INSTANCE_KEYS}
    return InstanceSettings(name=name, table=table.without(INSTANCE_KEYS), **values)


def in_order(errors: Iterable[ConfigError]) -> list[ConfigError]:
    """The errors of one file by their lines."""
    return sorted(errors, key=_line)


def _line(error: ConfigError) -> int:
    line = error.where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


@contextmanager
def collecting(errors: list[ConfigError]) -> Iterator[None]:
    """Put the configuration errors of the block into a list, and go on behind it."""
    try:
        yield
    except ConfigErrors as several:
        errors.extend(several.errors)
    except ConfigError as error:
        errors.append(error)


def check_exposure(listen: str, *, keys: int) -> None:
    """Refuse an address that others reach while nobody has to show a key. Raises ConfigError."""
    host, _ = parse_listen(listen)
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and keys == 0:
        raise ConfigError(
            f"{listen} can be reached from other machines, and there is no API key: "
            "make one with `aime keys create`, or listen on 127.0.0.1"
        )


# ---------------------------------------------------------------- JSON Schema


def config_schema(specs: Iterable[ConnectorSpec]) -> dict[str, Any]:
    """The JSON Schema of the whole file for these kinds, so that editors complete and check it."""
    definitions: dict[str, Any] = {}
    kinds = sorted(specs, key=lambda spec: spec.kind)
    for spec in kinds:
        definitions[spec.kind] = _kind_schema(spec, definitions)
    hub = HubSettings.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= hub.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AI.me Hub: plugins.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "hub": hub,
            "projection": ProjectionSettings.model_json_schema(),
            "model": ModelSettings.model_json_schema(),
            "connectors": {
                "type": "object",
                "propertyNames": {"pattern": f"^{_INSTANCE_NAME.pattern}$", "not": {"enum": sorted(RESERVED_NAMES)}},
                "additionalProperties": {"oneOf": [{"$ref": f"#/$defs/{spec.kind}"} for spec in kinds]},
            },
        },
        "$defs": definitions,
    }


def _kind_schema(spec: ConnectorSpec, definitions: dict[str, Any]) -> dict[str, Any]:
    """The hub's keys and the kind's own in one table; the models inside them go to `definitions`, by kind."""
    schema = deepcopy(spec.config.model_json_schema(ref_template=f"#/$defs/{spec.kind}.{{model}}"))
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{spec.kind}.{name}"] = definition
    shared = InstanceOptions.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= shared.pop("$defs", {})
    schema["properties"] = shared["properties"] | schema.get("properties", {})
    schema["properties"]["kind"] = {"const": spec.kind, "description": spec.summary}
    schema["required"] = ["kind", *schema.get("required", ())]
    return schema
