"""The docs say what is: links lead somewhere, commands, configurations and programs work, nothing is left out."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from core.errors import ConfigError
from hub import sdk
from hub.cli.app import app
from hub.config import HubSettings, InstanceOptions, ProjectionSettings, load_config
from hub.model_settings import ModelSettings
from hub.plugins import Plugins
from hub.sdk import format_duration, hooks
from hub.sdk.contract import Event
from hub.telemetry import Metrics
from hub.web import ROUTES
from hub.web.problems import KINDS, kind_of

ROOT = Path(__file__).parents[2]
FOREIGN = {
    *("export", "printf", "python", "python3", "sqlite3", "pg_dump", "pg_restore", "createdb"),
    *("useradd", "install", "systemctl"),
}
"""Programs of others that the docs call."""
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \|", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(kind: str) -> list[Any]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[1].split(" ")[0] == kind:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Snippet(str(page.relative_to(ROOT)), line, match[1], match[2]))
    return [pytest.param(snippet, id=str(snippet)) for snippet in found]


def commands() -> list[Any]:
    found = []
    for param in snippets("console"):
        [snippet] = param.values
        for line in snippet.text.splitlines():
            assert line.startswith("$ "), f"{snippet}: {line!r} is no command"
            found.append(pytest.param(shlex.split(line[2:]), id=f"{snippet.page}: {line[:60]}"))
    return found


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def rows(text: str) -> dict[str, str]:
    """The first cell of each table row, without its backticks, and the second."""
    return dict(ROW.findall(text))


# ---------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """As GitHub makes them: lower case, punctuation out, blanks to hyphens."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert file.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(file.read_text()), link


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = [link.partition("#")[0] for link in LINK.findall(path.read_text()) if "://" not in link]
        waiting += [(path.parent / link).resolve() for link in links if link]
    fragments = {path for path in PAGES if path.parent.name == "changes"}
    assert set(PAGES) - fragments <= reached | {ROOT / "docs" / "index.md"}


# ---------------------------------------------------------------- snippets


@pytest.mark.parametrize("words", commands())
def test_commands_are_ones_that_exist(words: list[str]) -> None:
    match Path(words[0]).name:
        case "aime":
            parse_command(words[1:])
        case "make":
            targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert set(words[1:]) <= targets
        case "curl":
            assert "http://127.0.0.1:8080/" in " ".join(words)  # tests/integration/test_docs_run.py makes the calls
        case "pip":
            files = [words[place + 1] for place, word in enumerate(words) if word == "-r"]
            assert all((ROOT / file).exists() for file in files)
        case "docker" if "run" in words:
            parse_command(words[words.index("hub") + 1 :])
        case "docker":
            assert words[1:3] == ["compose", "up"]
        case other:
            assert other in FOREIGN


def parse_command(args: list[str]) -> None:
    """Let the real command line read the arguments, without doing what they say."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("aime", list(args))
    while hasattr(command, "commands"):
        name, command, args = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, args, parent=context)


@pytest.mark.parametrize("snippet", snippets("toml"))
def test_configurations_are_right(snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pyproject" in snippet.kind:
        assert tomllib.loads(snippet.text)
        return
    for name in re.findall(r"\$\{(\w+)\}", snippet.text):
        monkeypatch.setenv(name, "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    file = tmp_path / "plugins.toml"
    file.write_text(snippet.text)
    errors = [str(error) for error in Plugins().check(load_config(file))]
    assert [error for error in errors if "'tickets' is not installed" not in error] == []


def test_the_default_configuration_is_right_and_so_are_its_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "plugins.toml").read_text()
    assert Plugins().check(load_config(ROOT / "plugins.toml")) == []
    examples = re.sub(r"^# (?=\[connectors|\[projection|\[model|\w+(\.\w+)* = )", "", text, flags=re.MULTILINE)
    assert examples.count("\n[connectors.") == 3
    monkeypatch.setenv("CRM_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    file = tmp_path / "plugins.toml"
    file.write_text(examples)
    assert Plugins().check(load_config(file)) == []


@pytest.mark.parametrize("snippet", snippets("json"))
def test_json_is_json(snippet: Snippet) -> None:
    assert json.loads(snippet.text)


@pytest.mark.parametrize("snippet", snippets("python"))
def test_programs_run(snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = snippet.text
    if "continued" in snippet.kind:
        before = [each.values[0] for each in snippets("python") if each.values[0].page == snippet.page]
        program = "".join(each.text for each in before if each.line < snippet.line) + program
    # A module of its own, so that models find the types that their annotations name.
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    exec(compile(program, str(snippet), "exec"), module.__dict__)


# ---------------------------------------------------------------- nothing is left out


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting by its dotted name, with its default; tables are gone into."""
    for name, field in model.model_fields.items():
        tables = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        tables = [kind for kind in tables if issubclass(kind, BaseModel)]
        if not tables or "mapping" in name:
            yield prefix + name, field.get_default(call_default_factory=True)
        for table in tables:
            yield from settings(table, f"{prefix}{name}.")


def written(default: Any) -> str:
    match default:
        case _ if default is PydanticUndefined:
            return "required"
        case None:
            return "none"
        case timedelta():
            return f'`"{format_duration(default)}"`'
        case tuple():
            return f"`{json.dumps(list(default))}`"
        case _:
            return f"`{json.dumps(default)}`"


@pytest.mark.parametrize(
    ("model", "prefix", "heading"),
    [
        (HubSettings, "hub.", "### The hub"),
        (ProjectionSettings, "projection.", "### The projection"),
        (ModelSettings, "model.", "### The model"),
        (InstanceOptions, "", "### Every connector"),
        *((spec.config, "", f'### kind = "{spec.kind}"') for spec in Plugins().specs()),
    ],
)
def test_every_setting_is_described_with_its_default(model: type[BaseModel], prefix: str, heading: str) -> None:
    section = page("for-admins.md").partition(heading + "\n")[2].partition("\n##")[0]
    described = rows(section)
    expected = {name: written(default) for name, default in settings(model, prefix)}
    assert described == expected


def test_every_call_is_described_with_its_scope() -> None:
    described = rows(page("API_SPEC.md").partition("## Calls")[2].partition("\n## ")[0])
    assert described == {f"{route.method} {route.template}": route.scope or "*open*" for route in ROUTES}


def test_every_parameter_of_a_call_is_named() -> None:
    text = page("API_SPEC.md")
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    for route in ROUTES:
        fields = {field.alias or name for name, field in (route.query.model_fields if route.query else {}).items()}
        assert fields <= named, route.path


def test_every_error_is_described_with_its_status() -> None:
    described = rows(page("API_SPEC.md").partition("## Errors")[2])
    expected = {kind.code: str(KINDS[kind].status) for kind in KINDS}
    assert described == expected | {"version_unavailable": "410, 422"}
    assert kind_of(ConfigError("x")).status == 409


def test_every_metric_is_described() -> None:
    described = rows(page("DEPLOYMENT.md").partition("### Metrics")[2])
    ours = {family.name for family in Metrics().registry.collect() if family.name.startswith("aime_")}
    assert set(described) == ours


def test_every_command_is_described() -> None:
    command: Any = typer.main.get_command(app)
    names = [
        f"aime {name} {sub}".strip()
        for name, each in command.commands.items()
        for sub in getattr(each, "commands", {"": None})
    ]
    assert set(rows(page("for-admins.md").partition("## The command line")[2].partition("\n## ")[0])) == set(names)


def test_every_command_takes_json_and_says_what_it_does() -> None:
    command: Any = typer.main.get_command(app)
    leaves = [
        leaf for each in command.commands.values() for leaf in (getattr(each, "commands", None) or {"": each}).values()
    ]
    for leaf in leaves:
        assert leaf.help, leaf.name
        assert "--json" in [option for param in leaf.params for option in param.opts], leaf.name


def test_every_event_is_described() -> None:
    described = rows(page("for-external-systems.md").partition("### Events")[2])
    assert set(described) == set(get_args(Event))


def test_every_hook_and_every_public_name_of_the_sdk_is_described() -> None:
    text = page("for-integrators.md")
    for name in sdk.__all__:
        assert re.search(rf"\b{name}\b", text), f"hub.sdk.{name}"
    for name in vars(hooks):
        if name.startswith("hub_"):
            assert f"`{name}`" in text, name


def test_every_decision_record_is_listed() -> None:
    records = {path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert set(re.findall(r"\]\((\d{4}-[^)]+)\)", page("decisions/README.md"))) == records


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == set(phony[1].split())
