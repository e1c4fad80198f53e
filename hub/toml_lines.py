"""Where each key of a TOML document stands. `tomllib` parses without positions; errors for people need them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""Keys from the root; an item of an array is its index."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}\r\n#]*")
# Strings, longest quotes first. A multi-line one may end in up to two quotes of its own before the closing three.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\])*"|' r"'[^']*'",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_SHORT = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each key, table and array item of a document that `tomllib` accepts."""
    return _Scanner(text).scan()


def nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of `path`, or of the nearest table around it that is written down."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


class _Scanner:
    """One pass, left to right. It trusts the text to be valid TOML, and on any other stops where it is lost."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.lines: dict[KeyPath, int] = {}
        self.arrays: dict[KeyPath, int] = {}
        """Index of the last item of each array of tables."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self.skip_blank()
        while self.at < len(self.text):
            before = self.at
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
            self.skip_blank()
            if self.at == before:
                break
        return self.lines

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path that the keys below it continue."""
        start = self.at
        repeated = self.text.startswith("[[", self.at)
        self.at += 2 if repeated else 1
        names = self.key()
        self.at += 2 if repeated else 1
        path: KeyPath = ()
        for name in names[:-1]:
            path = (*path, name)
            self.note(path, start)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        path = (*path, names[-1])
        if repeated:
            self.note(path, start)
            self.arrays[path] = self.arrays.get(path, -1) + 1
            path = (*path, self.arrays[path])
        # A table may be implied by a sub-table before its own header; the header is what people look for.
        self.lines[path] = self.line(start)
        return path

    def pair(self, table: KeyPath) -> None:
        """`a.b = value`."""
        start = self.at
        path = table
        for name in self.key():
            path = (*path, name)
            self.note(path, start)
        self.skip_blank()
        if self.text.startswith("=", self.at):
            self.at += 1
        self.skip_blank()
        self.value(path)

    def key(self) -> list[str]:
        names: list[str] = []
        while self.at < len(self.text):
            self.skip_blank()
            if match := _BARE_KEY.match(self.text, self.at):
                names.append(match.group())
            elif match := _STRING.match(self.text, self.at):
                names.append(_unquoted(match.group()))
            else:
                break
            self.at = match.end()
            self.skip_blank()
            if not self.text.startswith(".", self.at):
                break
            self.at += 1
        return names or [""]

    def value(self, path: KeyPath) -> None:
        if match := _STRING.match(self.text, self.at):
            self.at = match.end()
        elif self.text.startswith("[", self.at):
            self.array(path)
        elif self.text.startswith("{", self.at):
            self.inline_table(path)
        elif match := _SCALAR.match(self.text, self.at):
            self.at = match.end()

    def array(self, path: KeyPath) -> None:
        index = 0
        self.at += 1
        self.skip_blank()
        while self.at < len(self.text) and not self.text.startswith("]", self.at):
            item = (*path, index)
            self.note(item, self.at)
            self.value(item)
            index += 1
            if not self.comma():
                break
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.skip_blank()
        while self.at < len(self.text) and not self.text.startswith("}", self.at):
            self.pair(path)
            if not self.comma():
                break
        self.at += 1

    def comma(self) -> bool:
        self.skip_blank()
        if not self.text.startswith(",", self.at):
            return False
        self.at += 1
        self.skip_blank()
        return True

    def skip_blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        if match:
            self.at = match.end()

    def note(self, path: KeyPath, position: int) -> None:
        self.lines.setdefault(path, self.line(position))

    def line(self, position: int) -> int:
        return bisect_right(self.starts, position)


def _unquoted(literal: str) -> str:
    if literal.startswith("'"):
        return literal.strip("'")

    def expand(match: re.Match[str]) -> str:
        short, long, other = match.groups()
        if other is not None:
            return _SHORT.get(other, other)
        return chr(int(short or long, 16))

    return _ESCAPE.sub(expand, literal[1:-1])
