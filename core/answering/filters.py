"""Filters as callers write them: checked by shape, named in errors, turned into what the index looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime

from core.errors import InvalidQuery
from core.index.facets import Filters, facet
from core.model import check_text, parse_instant
from core.wording import json_type

_SEVERAL = ("source", "author", "tags", "document_ids")
_TEXTS = ("title", "url", "language", "content_type")
_DATES = ("published_at", "updated_at")
_RANGE_ENDS = {"from": "from", "start": "from", "to": "to", "end": "to"}


def parse_filters(raw: object) -> Filters:
    """Check what a caller asks for.

    `source`, `author`, `tags` and `document_ids` take a string or a list of them, and match documents that have any of
    these. `date_range` takes `{"from", "to"}` (or `start`, `end`), both inclusive; a bare date as its end means that
    whole day. `min_groundedness` takes a number from 0 to 1. Any other key is compared with the document's metadata and
    takes a text, a number, true or false. Raises InvalidQuery; its `field` is the dotted path, such as
    `filters.date_range.to`.
    """
    if raw is None:
        return Filters()
    if not isinstance(raw, Mapping):
        raise InvalidQuery(f"must be an object, not {json_type(raw)}", field="filters")
    groups: list[frozenset[int]] = []
    since = until = None
    least: float | None = None
    for key, value in raw.items():
        if not isinstance(key, str):
            raise InvalidQuery("keys must be strings", field="filters")
        _checked(key, "filters")
        field = f"filters.{key[:80]}"
        if key == "date_range":
            since, until = _date_range(value, field)
        elif key == "min_groundedness":
            least = _share(value, field)
        elif key in _SEVERAL:
            groups.append(frozenset(facet(key, text) for text in _texts(value, field)))
        else:
            groups.append(frozenset([_equality(key, value, field)]))
    return Filters(tuple(groups), since, until, least)


def _equality(key: str, value: object, field: str) -> int:
    if key == "access":
        raise InvalidQuery("is decided by the API key, not by a filter", field=field)
    if key in _DATES:
        return facet(key, _instant(value, field).isoformat())
    if key in _TEXTS and not isinstance(value, str):
        raise InvalidQuery(f"must be a string, not {json_type(value)}", field=field)
    if isinstance(value, str):
        return facet(key, _checked(value, field))
    if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidQuery(f"must be a string, a number, true or false, not {json_type(value)}", field=field)
    return facet(key, value)


def _texts(value: object, field: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple | set | frozenset):
        raise InvalidQuery(f"must be a string or a list of strings, not {json_type(value)}", field=field)
    if not values:
        raise InvalidQuery("must not be empty", field=field)
    texts = [_checked(text, field) for text in values if isinstance(text, str)]
    if len(texts) < len(values):
        raise InvalidQuery("must hold texts only", field=field)
    return texts


def _checked(text: str, field: str) -> str:
    """The text, if a document could hold it at all. Raises InvalidQuery."""
    try:
        return check_text(text)
    except ValueError as error:
        raise InvalidQuery(str(error), field=field) from None


def _date_range(value: object, field: str) -> tuple[datetime | None, datetime | None]:
    if not isinstance(value, Mapping):
        raise InvalidQuery(f'must be an object such as {{"from": "2026-01-01"}}, not {json_type(value)}', field=field)
    if not value:
        raise InvalidQuery("must have `from`, `to` or both", field=field)
    ends: dict[str, datetime] = {}
    for key, raw in value.items():
        if isinstance(key, str):
            _checked(key, field)
        end = _RANGE_ENDS.get(key) if isinstance(key, str) else None
        if end is None or end in ends:
            raise InvalidQuery("takes one `from` and one `to`", field=f"{field}.{str(key)[:80]}")
        moment = _instant(raw, f"{field}.{key}")
        if end == "to" and _is_day(raw):
            moment = _end_of_day(moment)
        ends[end] = moment
    since, until = ends.get("from"), ends.get("to")
    if since and until and since > until:
        raise InvalidQuery("ends before it begins", field=field)
    return since, until


def _is_day(value: object) -> bool:
    """Whether a date that was read has no time."""
    if not isinstance(value, str):
        return not isinstance(value, datetime)
    try:
        date.fromisoformat(value.strip())
    except ValueError:
        return False
    return True


def _end_of_day(day: datetime) -> datetime:
    return day.replace(hour=23, minute=59, second=59, microsecond=999_999)


def _instant(value: object, field: str) -> datetime:
    if not isinstance(value, str | date):
        given = value if type(value) in (int, float) else json_type(value)  # a date in seconds shows what it is
        raise InvalidQuery(f"must be an ISO 8601 date, not {given!s:.40}", field=field)
    try:
        return parse_instant(value)
    except ValueError as error:
        raise InvalidQuery(str(error), field=field) from None


def _share(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidQuery("must be a number from 0 to 1", field=field)
    return float(value)


__all__ = ["Filters", "parse_filters"]
