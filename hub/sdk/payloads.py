"""The body of a webhook or of a queue's message as changes, and the other way round.

Shared by all connectors that are handed documents: whoever sends one form can send it any way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from pydantic import Field

from core.errors import InvalidDocument, InvalidInput
from core.model import Change, Delete, Document, Failure, Upsert
from core.wording import json_type
from hub.sdk.fields import ConnectorConfig

DELETED = "document.deleted"
MAX_NAMED = 200
"""Characters of an id that are repeated when its document is refused."""
SMALL_BYTES = 64 * 1024
"""A message up to this size is read at once, within a millisecond or two."""
_ENVELOPE = ("type", "timestamp")
_MISSING = object()


class MappingConfig(ConnectorConfig):
    """Where a foreign payload holds what a document needs. A path is dotted (`post.title`, `items.0.id`) or, for keys
    with dots in them, a JSON pointer (`/post/dc.title`)."""

    document_id: str
    content: str
    documents: str | None = None
    """Path of the list of documents, where a payload holds several; the other paths then begin at each."""
    id_prefix: str = ""
    """Put before each id, to keep it apart from other systems' ids: `crm-`."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """Metadata key → path; what is not there is left out."""
    delete_when: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Path → values. A payload that holds one of them deletes its document."""


def changes(body: bytes, *, mapping: MappingConfig | None, source: str) -> list[Change]:
    """What a verified body asks for. `source` is set on documents that name none.

    In the hub's own form the body is one of these; the first two may also be nested under `data`, as Standard Webhooks
    advises, and `documents` may hold both:

        {"document_id": …, "content": …, "metadata": {…}}
        {"type": "document.deleted", "document_id": …}
        {"documents": [ … ]}

    Raises InvalidInput for a body that cannot be read; `field` is the path of what is wrong. In a list, a document that
    does not fit becomes a Failure, and its neighbours go on.
    """
    payload = _object(_parse(body), "")
    if mapping is None:
        return _own_form(payload, source)
    if mapping.documents is None:
        return [_mapped(payload, mapping, source)]
    return _each(payload, mapping.documents, lambda item: _mapped(item, mapping, source))


async def read_message(
    body: bytes, *, mapping: MappingConfig | None, source: str, run_blocking: Callable[..., Awaitable[list[Change]]]
) -> list[Change]:
    """What a queue's message asks for, as `changes` says it. Nobody waits for an answer, so what cannot be read is a
    Failure that says why. A large body is read in a thread."""
    if len(body) > SMALL_BYTES:
        return await run_blocking(_changes_or_failure, body, mapping, source)
    return _changes_or_failure(body, mapping, source)


def _changes_or_failure(body: bytes, mapping: MappingConfig | None, source: str) -> list[Change]:
    try:
        return changes(body, mapping=mapping, source=source)
    except InvalidDocument as error:
        return [Failure(error.message, error.document_id)]
    except InvalidInput as error:
        return [Failure(error.message)]


def body_of(document: Document) -> bytes:
    """A document in the hub's own form, as `changes` reads it."""
    metadata = document.metadata.as_json()
    fields = {"document_id": document.document_id, "content": document.content, "metadata": metadata}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _own_form(payload: Mapping[str, Any], source: str) -> list[Change]:
    if isinstance(payload.get("data"), dict) and "document_id" not in payload:
        payload = {**{key: payload[key] for key in _ENVELOPE if key in payload}, **payload["data"]}
    if "documents" in payload:
        return _each(payload, "documents", lambda item: _own_change(item, source))
    return [_own_change(payload, source)]


def _own_change(item: Mapping[str, Any], source: str) -> Change:
    if item.get("type") == DELETED:
        return Delete(_valid_id(item.get("document_id", _MISSING), "document_id"))
    document = {key: value for key, value in item.items() if key not in _ENVELOPE}
    metadata = document.get("metadata")
    if metadata is None:
        document["metadata"] = {"source": source}
    elif isinstance(metadata, dict):
        document["metadata"] = {"source": source, **metadata}
    return Upsert(Document.parse(document))


def _mapped(item: Mapping[str, Any], mapping: MappingConfig, source: str) -> Change:
    raw_id = _find(item, mapping.document_id)
    if isinstance(raw_id, int) and not isinstance(raw_id, bool):
        raw_id = str(raw_id)
    if isinstance(raw_id, str):
        raw_id = mapping.id_prefix + raw_id
    document_id = _valid_id(raw_id, mapping.document_id)
    if any(_find(item, path) in values for path, values in mapping.delete_when.items()):
        return Delete(document_id)
    content = _find(item, mapping.content)
    if content is _MISSING:
        raise InvalidInput("is missing", field=mapping.content)
    if not isinstance(content, str):
        raise InvalidInput(f"must be a string, not {json_type(content)}", field=mapping.content)
    found = {key: _find(item, path) for key, path in mapping.metadata.items()}
    metadata = {key: value for key, value in found.items() if value is not _MISSING and value is not None}
    return Upsert(
        Document.parse({"document_id": document_id, "content": content, "metadata": {"source": source, **metadata}})
    )


def _each(payload: Mapping[str, Any], path: str, change: Callable[[Mapping[str, Any]], Change]) -> list[Change]:
    items = _find(payload, path)
    if not isinstance(items, list):
        raise InvalidInput("is missing" if items is _MISSING else f"must be a list, not {json_type(items)}", field=path)
    return [_change_or_failure(item, change, f"{path}.{position}") for position, item in enumerate(items)]


def _change_or_failure(item: object, change: Callable[[Mapping[str, Any]], Change], where: str) -> Change:
    try:
        return change(_object(item, ""))
    except InvalidInput as error:
        named = item.get("document_id") if isinstance(item, dict) else None
        return Failure(f"{where}: {error.message}", named[:MAX_NAMED] if isinstance(named, str) else None)


def _valid_id(value: object, path: str) -> str:
    if value is _MISSING:
        raise InvalidInput("is missing", field=path)
    try:
        return Document.parse({"document_id": value, "content": ""}).document_id
    except InvalidInput as error:
        raise InvalidInput(error.reason, field=path) from None


def _find(item: object, path: str) -> Any:
    """What `path` leads to, or `_MISSING`."""
    if path.startswith("/"):  # RFC 6901
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    else:
        steps = path.split(".")
    for step in steps:
        if isinstance(item, dict):
            item = item.get(step, _MISSING)
        elif isinstance(item, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(item):
            item = item[int(step)]
        else:
            return _MISSING
    return item


def _parse(body: bytes) -> object:
    try:
        return json.loads(body.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deep") from None
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {str(error)[:100]}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"must be a JSON object, not {json_type(value)}", field=where)
    return value
