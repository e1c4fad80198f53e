"""What is known of a feed from the last time it was read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FeedCheckpoint(BaseModel):
    """The validators of the last answer, and the entries that are read. Another `url` makes it void."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    etag: str | None = None
    last_modified: str | None = None
    """Both None while the last answer is not read to its end, so that the next request gets it whole again."""
    seen: dict[str, str] = Field(default_factory=dict)
    """Document id → digest, of the entries that the feed held."""
