"""What waits in the journal between the HTTP call that accepted it and the worker that does it.

`POST /query` with a `callback_url` leaves a journal item of kind `query` whose payload is a `CallbackQuery`, and
`POST /ask/{connector}` one of kind `ask` whose payload is a `CallbackAsk`;
`POST /documents?wait=false` leaves one of kind `document` whose payload is the document's JSON, and beside it a
record (`journal_status`, document id) that is a `JournalStatus`. The worker that commits the document removes the
record in the same transaction; one that has to refuse it writes the refusal there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from core.model import Problem, Status, Viewer


class Callback(BaseModel):
    """Something asked whose answer is POSTed to `callback_url`. Its `query_id` is the id of the journal item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    callback_url: str
    principals: tuple[str, ...] | None
    """Whose eyes it is asked with; None sees everything."""

    def viewer(self) -> Viewer:
        return Viewer(None if self.principals is None else frozenset(self.principals))


class CallbackQuery(Callback):
    """A question to the graph."""

    query: str
    filters: dict[str, JsonValue] | None = None
    top_k: int = 5
    min_version: int | None = None
    as_of_version: int | None = None
    newest: bool | None = None


class CallbackAsk(Callback):
    """A question to a connector, in its form."""

    connector: str
    ask: dict[str, JsonValue]


class JournalStatus(BaseModel):
    """The fate of a document that was accepted with `wait=false` and is not committed (yet)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal[Status.ACCEPTED, Status.REJECTED]
    journal_id: str
    actor: str
    """Who posted it; only they and an admin see it while the document itself is not there."""
    at: datetime
    error: Problem | None = None
