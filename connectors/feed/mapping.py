"""A feed's entries as changes."""

from __future__ import annotations

import calendar
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import Any

from hub.sdk import Change, Document, Failure, InvalidDocument, Upsert

HTML = ("text/html", "application/xhtml+xml")
_TAG = re.compile(r"<[^<>]*>")
NAME_CHARS = 1000
"""Of a title or a name, before its markup is taken out: nobody reads more, and the core refuses it."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Another digest means that it was edited."""

    document_id: str
    digest: str
    change: Change


def entries_of(feed: Any, prefix: str) -> list[Entry]:
    """Blocking: every entry once, the oldest first (feeds put the newest on top)."""
    keys = _keys(feed.entries)
    language = feed.feed.get("language")
    found: dict[str, Entry] = {}
    for entry, key in zip(feed.entries, keys, strict=True):
        document_id = prefix + hashlib.blake2b(key.encode(errors="replace"), digest_size=8).hexdigest()
        found.setdefault(document_id, _entry(entry, document_id, language))
    return list(reversed(found.values()))


def _keys(entries: Sequence[Any]) -> list[str]:
    """What tells each entry from the others for as long as it lives: its id, or else its link, or else its title.
    Some feeds give several entries one id; then it says nothing by itself."""
    ids = Counter(entry.get("id") for entry in entries)
    return [_key(entry, shared=ids[entry.get("id")] > 1) for entry in entries]


def _key(entry: Any, *, shared: bool) -> str:
    names = [entry.get(name, "") for name in ("id", "link", "title")]
    if shared and any(names):
        return "\0".join(names)
    return next(filter(None, names), None) or _content(entry)[0]


def _entry(entry: Any, document_id: str, language: str | None) -> Entry:
    content, content_type = _content(entry)
    title = _plain(entry.get("title", ""))
    if not content.strip():
        content, content_type = title, "text/plain"
    fields = {
        "title": title,
        "author": _authors(entry),
        "tags": list(_tags(entry)),
        "published_at": _instant(entry.get("published_parsed")),
        # Past the dictionary's own `get`, which passes a missing one off as the date of publication.
        "updated_at": _instant(dict.get(entry, "updated_parsed")),
        "url": _clean(entry.get("link", "")),
        "language": _clean(language or ""),
        "content_type": content_type,
    }
    metadata = {key: value for key, value in fields.items() if value}
    change = _change(document_id, content, metadata)
    stable = change.document.model_dump_json() if isinstance(change, Upsert) else change.error
    return Entry(document_id, hashlib.blake2b(stable.encode(), digest_size=8).hexdigest(), change)


def _change(document_id: str, content: str, metadata: Mapping[str, Any]) -> Upsert | Failure:
    if not content:
        return Failure("the entry has neither text nor title", document_id)
    try:
        return Upsert(Document.parse({"document_id": document_id, "content": content, "metadata": metadata}))
    except InvalidDocument as error:
        return Failure(f"entry {metadata.get('url') or document_id}: {error.message}", document_id)


def _content(entry: Any) -> tuple[str, str]:
    """The fullest text that the entry has: its content (`content:encoded` in RSS), or else its summary."""
    for part in entry.get("content", ()):
        content_type = part.get("type", "text/html")
        if part.get("value", "").strip() and (content_type in HTML or content_type == "text/plain"):
            return _clean(part["value"]), _known_type(content_type)
    return _clean(entry.get("summary", "")), _known_type(entry.get("summary_detail", {}).get("type", "text/html"))


def _known_type(content_type: str) -> str:
    return "text/plain" if content_type == "text/plain" else "text/html"


def _authors(entry: Any) -> list[str]:
    names = [author.get("name") for author in entry.get("authors", ())] or [entry.get("author")]
    return list(dict.fromkeys(name for value in names if value and (name := _plain(value))))


def _tags(entry: Any) -> Iterator[str]:
    seen: set[str] = set()
    for tag in entry.get("tags", ()):
        name = _plain(tag.get("label") or tag.get("term") or "")
        if name and name not in seen:
            seen.add(name)
            yield name


def _instant(parsed: Any) -> datetime | None:
    """A time as `feedparser` gives it, which is UTC; None for one that no calendar has."""
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _plain(text: str) -> str:
    """A title or name on one line, without the markup that feeds put into them."""
    text = text[:NAME_CHARS]
    if "<" in text:
        text = _TAG.sub("", text)
    return " ".join(_clean(unescape(text)).split())


def _clean(text: str) -> str:
    return _UNSTORABLE.sub("", text)
