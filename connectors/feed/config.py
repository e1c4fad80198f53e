"""The `[connectors.NAME]` table of a feed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, HttpUrl, SecretStr, field_validator

from hub.sdk import ConnectorConfig

DEFAULT_MAX_BYTES = 10 * 1024 * 1024


class FeedConfig(ConnectorConfig):
    """One feed."""

    url: HttpUrl
    max_bytes: Annotated[int, Field(ge=1024)] = DEFAULT_MAX_BYTES
    """A larger feed, after decompression, is refused."""
    prefix: Annotated[str, Field(max_length=200)] | None = None
    """Put before each document's id; the instance's name and a dash unless set."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent along, for a feed that wants a key."""

    @field_validator("url")
    @classmethod
    def _no_user_info(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password:
            raise ValueError("must hold no user and password: put them into headers.Authorization")
        return url
