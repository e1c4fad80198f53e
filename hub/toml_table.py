"""A table of a TOML file that knows where it stands: values out of it are validated, and errors name file and line."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from core.errors import ConfigError, ConfigErrors
from core.wording import NO_OBJECT, worded
from hub.toml_lines import KeyPath, key_lines, nearest_line

M = TypeVar("M", bound=BaseModel)

MAX_SECRET_BYTES = 64 * 1024
_VARIABLE = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \((.+?),?\) twice")


@dataclass(frozen=True, slots=True)
class Table:
    """Values as they are written, before `${NAME}` and `file:` are looked up, so that it may be compared and shown.

    Two tables are equal when they say the same, wherever they stand.
    """

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: KeyPath = ()
    file: Path = field(default=Path("plugins.toml"), compare=False)
    lines: Mapping[KeyPath, int] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, file: Path) -> Self:
        """The root table. Raises ConfigError for a file that cannot be read or is no TOML."""
        try:
            text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ConfigError("is not UTF-8", where=f"{file}:{line}") from None
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _syntax_error(str(error), text, file) from None
        return cls(values=values, file=file, lines=key_lines(text))

    def where(self, *keys: str | int) -> str:
        """`plugins.toml:12` for a key of this table, or for what stands nearest around it."""
        line = nearest_line(self.lines, (*self.path, *keys))
        return f"{self.file}:{line}" if line else str(self.file)

    def error(self, reason: str, *keys: str | int) -> ConfigError:
        """What is wrong with a key of this table."""
        return ConfigError(f"{'.'.join(map(str, (*self.path, *keys)))} {reason}", where=self.where(*keys))

    def sub(self, key: str) -> Table:
        """The table under `key`, empty if there is none. Raises ConfigError when the key holds no table."""
        values = self.values.get(key, {})
        if not isinstance(values, Mapping):
            raise self.error("must be a table", key)
        return replace(self, values=values, path=(*self.path, key))

    def only(self, keys: Collection[str]) -> Table:
        return replace(self, values={key: value for key, value in self.values.items() if key in keys})

    def without(self, keys: Collection[str]) -> Table:
        return replace(self, values={key: value for key, value in self.values.items() if key not in keys})

    def unknown(self, key: str, known: Iterable[str], *parents: str | int) -> ConfigError:
        """The error for a key that means nothing here, with the nearest that does."""
        return self.error(f"is not a setting{nearest(key, known)}", *parents, key)

    def validate(self, model: type[M], *, known: Collection[str] = ()) -> M:
        """The table as a model, its variables and secret files looked up. `known` are further names that a key may have
        been meant to be. Raises ConfigErrors; no message holds a value that came from a variable or a file."""
        schema = Schema(model)
        lookup = _Lookup(self, schema)
        values = lookup.run()
        errors = list(lookup.errors.values())
        try:
            result = model.model_validate(values)
            if not errors:
                return result
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False, include_context=False):
                path = _written_path(problem["loc"], values, missing=problem["type"] == "missing")
                if any(missing[: len(path)] == path for missing in lookup.errors):
                    continue  # what stands there, or below, is not what was meant
                if problem["type"] == "extra_forbidden":
                    names = {*schema.names(path[:-1]), *(known if len(path) == 1 else ())}
                    errors.append(self.unknown(str(path[-1]), names, *path[:-1]))
                elif problem["type"] == "missing":
                    errors.append(self.error("is required", *path))
                else:
                    message = "must be a table" if problem["type"] in NO_OBJECT else worded(problem)
                    if problem["type"] == "literal_error":
                        message += nearest(str(_at(values, path)), schema.choices(path))
                    errors.append(self.error(f"is not right: {lookup.redact(message)}", *path))
        raise ConfigErrors(errors)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean "every"?`, or nothing when no name is near."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f'; did you mean "{found[0]}"?' if found else ""


def _syntax_error(message: str, text: str, file: Path) -> ConfigError:
    at = _AT_LINE.search(message)
    line = int(at[1]) if at and at[1] else text.count("\n") + 1
    reason = _AT_LINE.sub("", message)
    if twice := _TWICE.search(reason):
        dotted = ".".join(part.strip("'\" ") for part in twice[1].split(","))
        reason = f"[{dotted}] is declared a second time; give each its own name"
    return ConfigError(reason, where=f"{file}:{line}")


def _written_path(loc: tuple[int | str, ...], values: object, *, missing: bool) -> tuple[int | str, ...]:
    """The part of a pydantic location that names keys of the file; the rest names members of unions."""
    path: list[int | str] = []
    for position, part in enumerate(loc):
        last = missing and position == len(loc) - 1
        if isinstance(values, Mapping) and (part in values or last):
            path.append(part)
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            path.append(part)
            values = values[part]
    return tuple(path)


def _at(values: object, path: KeyPath) -> object:
    """What stands at a path of `_written_path`."""
    for part in path:
        match values, part:
            case Mapping(), _:
                values = values[part]
            case list(), int():
                values = values[part]
    return values


class Schema:
    """What a model allows at each path, read from its JSON Schema: it sees through unions, nesting and aliases."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.root: Mapping[str, Any] = model.model_json_schema()

    def names(self, path: KeyPath) -> set[str]:
        """The keys that a table at `path` may have."""
        return {name for node in self.at(path) for name in node.get("properties", {})}

    def choices(self, path: KeyPath) -> set[str]:
        """The strings that may stand at `path`, where they are a closed set."""
        return {str(choice) for node in self.at(path) for choice in (*node.get("enum", ()), node.get("const", ""))}

    def secret(self, path: KeyPath) -> bool:
        """Whether a SecretStr may stand at `path`."""
        return any(node.get("format") == "password" for node in self.at(path))

    def at(self, path: KeyPath) -> list[Mapping[str, Any]]:
        nodes = list(self.variants(self.root))
        for part in path:
            nodes = [variant for node in nodes for child in _children(node, part) for variant in self.variants(child)]
        return nodes

    def variants(self, node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if reference := node.get("$ref"):
            yield from self.variants(self.root["$defs"][reference.removeprefix("#/$defs/")])
        yield node
        for union in ("anyOf", "oneOf", "allOf"):
            for member in node.get(union, ()):
                yield from self.variants(member)


def _children(node: Mapping[str, Any], part: str | int) -> Iterator[Mapping[str, Any]]:
    found: list[object] = []
    if isinstance(part, int):
        found = [node.get("items"), *node.get("prefixItems", ())[part : part + 1]]
    else:
        found = [node.get("properties", {}).get(part), node.get("additionalProperties")]
    yield from (child for child in found if isinstance(child, Mapping))


class _Lookup:
    """Replaces `${NAME}` in every string and `file:PATH` where a secret stands; remembers what it put in."""

    def __init__(self, table: Table, schema: Schema) -> None:
        self.table = table
        self.schema = schema
        self.errors: dict[KeyPath, ConfigError] = {}
        self.found: dict[str, str] = {}
        """Value → how the file names it."""

    def run(self) -> dict[str, Any]:
        return {key: self.value(value, (key,)) for key, value in self.table.values.items()}

    def value(self, value: object, path: KeyPath) -> object:
        match value:
            case str():
                return self.secret_file(self.variables(value, path), path)
            case list():
                return [self.value(item, (*path, index)) for index, item in enumerate(value)]
            case Mapping():
                return {key: self.value(item, (*path, key)) for key, item in value.items()}
        return value

    def variables(self, text: str, path: KeyPath) -> str:
        def replaced(match: re.Match[str]) -> str:
            name, closed = match.groups()
            if not closed or not _NAME.fullmatch(name):
                return self.missing("holds a ${ that names no environment variable; write ${NAME}", path)
            if name not in os.environ:
                return self.missing(f"needs the environment variable {name}, which is not set", path)
            return self.note(os.environ[name], f"${{{name}}}")

        return _VARIABLE.sub(replaced, text)

    def secret_file(self, text: str, path: KeyPath) -> str:
        if not text.startswith("file:") or not self.schema.secret(path):
            return text
        file = self.table.file.parent / text.removeprefix("file:")
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_SECRET_BYTES + 1)
            if len(content) > MAX_SECRET_BYTES:
                return self.missing(f"names {file}, which is longer than {MAX_SECRET_BYTES:,} bytes", path)
            return self.note(content.decode().strip(), text)
        except OSError as error:
            return self.missing(f"names {file}, which cannot be read: {error.strerror}", path)
        except UnicodeDecodeError:
            return self.missing(f"names {file}, which is not UTF-8 text", path)

    def missing(self, reason: str, path: KeyPath) -> str:
        self.errors[path] = self.table.error(reason, *path)
        return ""

    def note(self, value: str, name: str) -> str:
        self.found[value] = name
        return value

    def redact(self, message: str) -> str:
        for value, name in sorted(self.found.items(), key=lambda item: -len(item[0])):
            if value:
                message = message.replace(value, name)
        return message
