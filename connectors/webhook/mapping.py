"""An inbound request as changes."""

from __future__ import annotations

from hub.sdk import Change, payloads
from hub.sdk.payloads import MappingConfig


def changes(body: bytes, *, mapping: MappingConfig | None, source: str) -> list[Change]:
    """What a verified body asks for; `source` is set on documents that name none. Raises InvalidInput."""
    return payloads.changes(body, mapping=mapping, source=source)
