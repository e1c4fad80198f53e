"""Kinds of connector: found by entry point, imported when asked for, broken ones by name."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import jsonschema_rs
import pytest
from pydantic import BaseModel

from core.errors import ConfigError, PluginError
from hub.config import config_schema, load_config
from hub.plugins import Plugins
from hub.sdk import Connector, ConnectorConfig, ConnectorSpec, Context, Health, hookimpl, hooks

GROUP = hooks.ENTRY_POINT_GROUP


class Config(ConnectorConfig):
    url: str = ""


class Nothing:
    async def check(self) -> Health:
        return Health(ok=True)

    async def aclose(self) -> None:
        """Holds nothing open."""


def create(config: Config, context: Context) -> Connector:
    return Nothing()


def spec(kind: str, config: type[BaseModel] = Config, api_version: int = 1) -> ConnectorSpec:
    return ConnectorSpec(kind=kind, summary="For a test.", config=config, create=create, api_version=api_version)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], EntryPoint]:
    """Installs a plugin of this source as a module of its own."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(kind: str, source: str) -> EntryPoint:
        name = f"plugin_{kind}_{abs(hash(source))}"
        (tmp_path / f"{name}.py").write_text(source)
        return EntryPoint(kind, name, GROUP)

    return install


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EntryPoint]:
    """Installs a plugin that declares these."""

    def declare(kind: str, *declared: object) -> EntryPoint:
        module = ModuleType(f"declared_{kind}")

        @hookimpl
        def hub_connectors() -> Iterable[object]:
            return declared

        module.hub_connectors = hub_connectors  # type: ignore[attr-defined]  # a module is made of its attributes
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return EntryPoint(kind, module.__name__, GROUP)

    return declare


def test_the_built_in_kinds_are_installed_like_anyones() -> None:
    plugins = Plugins()
    assert {"filesystem", "feed", "webhook"} <= set(plugins.kinds)
    assert {spec.kind for spec in plugins.specs()} >= {"filesystem", "feed", "webhook"}
    assert not plugins.broken


def test_only_the_kind_that_is_asked_for_is_imported(install: Callable[[str, str], EntryPoint]) -> None:
    asked = install("asked", "raise ImportError('asked was imported')")
    other = install("other", "raise ImportError('other was imported')")
    plugins = Plugins([asked, other])
    with pytest.raises(PluginError, match="asked was imported"):
        plugins.spec("asked")
    assert list(plugins.broken) == ["asked"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def broken(:", "SyntaxError"),
        ("", "declares no kind of that name"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_reported_by_name_and_the_others_go_on(
    install: Callable[[str, str], EntryPoint], declare: Callable[..., EntryPoint], source: str, words: str
) -> None:
    plugins = Plugins([install("bad", source), declare("good", spec("good"))])
    with pytest.raises(PluginError, match="plugin 'bad'") as raised:
        plugins.spec("bad")
    assert words in raised.value.message
    assert [spec.kind for spec in plugins.specs()] == ["good"]
    assert words in plugins.broken["bad"].message


def test_a_kind_whose_extra_is_not_installed_names_it_and_can_still_be_described(
    declare: Callable[..., EntryPoint], tmp_path: Path
) -> None:
    wanting = replace(spec("queue"), requires={"no_such_module": "aime-hub[queue]"})
    plugins = Plugins([declare("queue", wanting)])
    path = tmp_path / "plugins.toml"
    path.write_text('[connectors.q]\nkind = "queue"\n')
    [error] = plugins.check(load_config(path))
    assert "kind 'queue' needs no_such_module: pip install \"aime-hub[queue]\"" in error.message
    assert plugins.specs() == [wanting]


class Lax(BaseModel):
    url: str = ""


class Greedy(ConnectorConfig):
    every: int = 1


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ((spec("other"),), "declares no kind of that name"),
        (("a string",), "declares str, not a ConnectorSpec"),
        ((spec("bad", api_version=2),), "version 2 of the contract"),
        ((spec("bad", Lax),), "lets unknown keys pass"),
        ((spec("bad", Greedy),), "declares every, which the hub reads itself"),
    ],
)
def test_a_plugin_that_does_not_fit_the_contract_says_how(
    declare: Callable[..., EntryPoint], declared: tuple[object, ...], words: str
) -> None:
    with pytest.raises(PluginError, match=words):
        Plugins([declare("bad", *declared)]).spec("bad")


def test_a_kind_that_two_packages_install_is_not_chosen_between(declare: Callable[..., EntryPoint]) -> None:
    other = EntryPoint("twice", "somewhere.else", GROUP)
    with pytest.raises(PluginError, match=r"installed twice, as declared_twice and somewhere\.else"):
        Plugins([declare("twice", spec("twice")), other]).spec("twice")


def test_one_module_may_stand_behind_several_kinds(declare: Callable[..., EntryPoint]) -> None:
    one = declare("one", spec("one"), spec("two"))
    plugins = Plugins([one, EntryPoint("two", one.value, GROUP)])
    assert [spec.kind for spec in plugins.specs()] == ["one", "two"]


def test_a_misspelt_kind_or_key_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(
        '[connectors.a]\nkind = "fed"\n[connectors.b]\nkind = "feed"\nurl = "https://x.org"\n'
        'evry = "1m"\nmax_byte = 3\n'
        '[connectors.c]\nkind = "nothing-like-it"\nenabled = false\n'
    )
    errors = Plugins().check(load_config(path))
    assert [error.message.removeprefix(f"{path}:") for error in errors] == [
        "2: connectors.a.kind is not right: kind 'fed' is not installed; did you mean \"feed\"?",
        '6: connectors.b.evry is not a setting; did you mean "every"?',
        '7: connectors.b.max_byte is not a setting; did you mean "max_bytes"?',
    ]


def test_a_broken_plugin_is_an_error_of_the_instances_that_use_it(
    tmp_path: Path, install: Callable[[str, str], EntryPoint]
) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text('[connectors.a]\nkind = "bad"\n')
    [error] = Plugins([install("bad", "1 / 0")]).check(load_config(path))
    assert error.where == f"{path}:2"
    assert "division by zero" in error.reason


def test_an_unknown_kind_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="is not installed"):
        Plugins([]).spec("feed")


# ---------------------------------------------------------------- the schema of the file


SCHEMA = config_schema(Plugins().specs())


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[hub]\nkeep_history = "1d12h"\ncallbacks.secret = "${SECRET}"',
        '[connectors.a]\nkind = "feed"\nurl = "https://x.org"\nevery = "15m"\nprune = true',
        '[connectors.a]\nkind = "filesystem"\npath = ["a", "b"]\nprune = "1h"',
        '[connectors.a]\nkind = "webhook"\nreceive.secret = "file:x"\nnotify = { url = "https://x.org", secret = "y" }',
    ],
)
def test_the_schema_of_the_file_accepts_what_the_hub_accepts(text: str) -> None:
    jsonschema_rs.validate(SCHEMA, tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "[hob]",
        '[hub]\nlisen = "x"',
        '[hub]\nkeep_history = "soon"',
        '[connectors.a]\nurl = "https://x.org"',
        '[connectors.a]\nkind = "fed"\nurl = "https://x.org"',
        '[connectors.a]\nkind = "feed"\nurl = "https://x.org"\nevry = "1m"',
        '[connectors.a]\nkind = "feed"\nurl = "https://x.org"\nevery = "15 minutes"',
        '[connectors.hub]\nkind = "feed"\nurl = "https://x.org"',
    ],
)
def test_the_schema_of_the_file_refuses_what_the_hub_refuses(text: str) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SCHEMA, tomllib.loads(text))
