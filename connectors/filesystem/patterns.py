"""Glob patterns over paths with forward slashes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


class Patterns:
    """Whether any of several patterns matches a path, or one of the folders that it is in."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._names: list[re.Pattern[str]] = []
        self._paths: list[re.Pattern[str]] = []
        for pattern in patterns:
            plain = pattern.strip("/")
            (self._paths if "/" in plain else self._names).append(_compiled(plain))

    def match(self, path: str) -> bool:
        """`path` is relative, without a slash at its ends."""
        name = path.rpartition("/")[2]
        return any(regex.fullmatch(name) for regex in self._names) or any(
            regex.fullmatch(path) for regex in self._paths
        )


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stay within one folder, `**` does not."""
    return re.compile("".join(map(_translated, _PART.findall(pattern))), re.DOTALL)


def _translated(part: str) -> str:
    match part:
        case "**/":
            return "(?:.+/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case _ if part.startswith("[") and len(part) > 2:
            negated = part.startswith("[!")
            body = part[2 if negated else 1 : -1].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            return f"[{'^' if negated else ''}{body}]"
    return re.escape(part)
