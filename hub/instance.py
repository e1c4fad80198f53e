"""One connector instance as the hub runs it: what was configured, what it can do, and how it fares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import structlog
from pydantic import BaseModel

from core.errors import AimeError, StoreError
from core.model import ProcessResult, Status
from core.pulse import Pulse
from core.service import GraphService
from core.store.base import AuditRecord
from hub.config import InstanceSettings
from hub.leases import Lease
from hub.sdk import (
    Answers,
    Connector,
    ConnectorSpec,
    Consumes,
    Context,
    Health,
    Lists,
    Notifies,
    Pulls,
    Receives,
)
from hub.sdk.integrations import ResearchForm, SupportForm
from hub.telemetry import redact_text

CHECK_SECONDS = 30.0
ERROR_CHARS = 500

_MODES: tuple[tuple[str, type], ...] = (
    ("pulls", Pulls),
    ("consumes", Consumes),
    ("receives", Receives),
    ("lists", Lists),
    ("notifies", Notifies),
)


class InstanceState(StrEnum):
    RUNNING = "running"
    """At work, or ready for what arrives."""
    WAITING = "waiting"
    """For its next run, or for another try after an error."""
    PAUSED = "paused"
    """By an admin, until resumed."""
    FAILED = "failed"
    """It cannot go on by itself: an admin has to change something, then resume it."""


@dataclass(slots=True)
class RunReport:
    """What one run of a pulling or listing instance did."""

    processed: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    error: str | None = None
    """Why it ended early. What was counted is committed all the same."""

    def count(self, results: list[ProcessResult]) -> None:
        for result in results:
            match result.status:
                case Status.PROCESSED:
                    self.processed += 1
                case Status.UNCHANGED:
                    self.unchanged += 1
                case Status.DELETED:
                    self.deleted += 1
                case Status.REJECTED:
                    self.rejected += 1


@dataclass(slots=True)
class InstanceStatus:
    """For the admin and for metrics. Counts are since the hub started."""

    state: InstanceState
    since: datetime
    """When it came into this state."""
    last_run: datetime | None = None
    """When the last complete run ended, or the last request was taken."""
    next_run: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    failures: int = 0
    """In a row."""
    prune_waits: str | None = None
    """What a prune would delete, if it deletes so much that an admin has to confirm it."""
    runs: int = 0
    documents: RunReport = field(default_factory=RunReport)


class Instance:
    """`problem` says why there is no connector: its plugin is broken, or refused the configuration."""

    def __init__(
        self,
        settings: InstanceSettings,
        *,
        service: GraphService,
        now: Callable[[], datetime],
        spec: ConnectorSpec | None = None,
        config: BaseModel | None = None,
        connector: Connector | None = None,
        context: Context | None = None,
        problem: str | None = None,
    ) -> None:
        self.name = settings.name
        self.kind = settings.kind
        self.settings = settings
        self.spec = spec
        self.config = config
        self.connector = connector
        self.problem = problem
        self.answering = _answering(settings, connector)
        """What answers `POST /ask/NAME`."""
        self.lease: Lease | None = None
        """Of a pulling one: the node that holds it drives it."""
        self.log: structlog.stdlib.BoundLogger = (
            context.log if context else structlog.get_logger("hub.connector").bind(connector=self.name, kind=self.kind)
        )
        self.now = now
        self._service = service
        self._outage = False
        self.changed = Pulse()
        """Beats whenever its runners should look again: paused, resumed, a run asked for, the hub stopping."""
        self.stopping = False
        self._closed = False
        self.status = InstanceStatus(InstanceState.WAITING, now())
        if problem:
            self._note_error(problem)
            self._enter(InstanceState.FAILED)

    @property
    def modes(self) -> tuple[str, ...]:
        """What its connector can do: `pulls`, `receives`, …"""
        found = [name for name, protocol in _MODES if isinstance(self.connector, protocol)]
        return (*found, *(["answers"] if self.answering is not None else []))

    @property
    def halted(self) -> bool:
        """Whether an admin has to act before it works again."""
        return self.status.state in (InstanceState.PAUSED, InstanceState.FAILED)

    async def check(self) -> Health:
        """Whether the outside system answers; never raises."""
        if self.connector is None:
            return Health(ok=False, detail=self.problem or "has no connector")
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await self.connector.check()
        except TimeoutError:
            return Health(ok=False, detail=f"no answer within {CHECK_SECONDS:.0f} s")
        except AimeError as error:
            return Health(ok=False, detail=describe(error))
        except Exception as error:  # a plugin's own code may raise anything
            self.log.exception("check failed")
            return Health(ok=False, detail=describe(error))

    async def aclose(self, *, within: float = CHECK_SECONDS) -> None:
        """Close the connector, once; a failure to do so is logged, since there is nobody left to act on it."""
        if self.connector is None or self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(within):
                await self.connector.aclose()
        except Exception:  # a plugin's own code may raise anything, and must not keep the others from being closed
            self.log.exception("close failed")

    # -- what its runners say

    def running(self) -> None:
        self._enter(InstanceState.RUNNING)
        self.status.next_run = None

    def waiting(self, until: datetime | None) -> None:
        self._enter(InstanceState.WAITING)
        self.status.next_run = until

    def served(self, results: list[ProcessResult]) -> None:
        """Changes were committed."""
        self.status.documents.count(results)

    def succeeded(self) -> None:
        """A run is complete, or a request was taken: an outage, if there was one, is over."""
        self.status.last_run = self.now()
        self.status.failures = 0
        if self._outage and self._audit("connector.recovered", {"kind": self.kind}):
            self._outage = False
            self.log.info("connector recovered")

    def stumbled(self, error: Exception) -> None:
        """It could not go on for a reason that is no outage: our own store, a rate limit, an account at rest."""
        self._note_error(describe(error))
        self.log.info("connector waits", error=describe(error))

    def failed(self, error: Exception, *, for_good: bool = False) -> None:
        """The outside system, or the connector, failed. An outage is recorded once, when it begins. With `for_good` it
        stays failed until an admin resumes it."""
        self.status.failures += 1
        self._note_error(describe(error))
        self.log.warning("connector failed", error=describe(error), failures=self.status.failures)
        if not self._outage:
            code = error.code if isinstance(error, AimeError) else "internal"
            detail = {"kind": self.kind, "code": code, "message": describe(error)}
            self._outage = self._audit("connector.failed", detail)
        if for_good:
            self._enter(InstanceState.FAILED)
            self.status.next_run = None

    # -- what an admin says

    def pause(self) -> None:
        self._enter(InstanceState.PAUSED)
        self.status.next_run = None
        self.changed.beat()

    def resume(self) -> None:
        if self.halted and self.connector is not None:
            self._enter(InstanceState.WAITING)
        self.changed.beat()

    def stop(self) -> None:
        """Take nothing more in; what is under way settles."""
        self.stopping = True
        self.changed.beat()

    # -- within

    def _enter(self, state: InstanceState) -> None:
        if state is not self.status.state:
            self.status.state = state
            self.status.since = self.now()

    def _note_error(self, message: str) -> None:
        self.status.last_error = message
        self.status.last_error_at = self.now()

    def _audit(self, action: str, detail: dict[str, str]) -> bool:
        try:
            self._service.audit_soon(AuditRecord("hub", action, subject=self.name, detail={**detail}))
        except StoreError as error:
            self.log.warning("not audited", action=action, error=error.message)
            return False
        return True


_FORMS: Mapping[str, Callable[..., Answers]] = {"support": SupportForm, "research": ResearchForm}


def _answering(settings: InstanceSettings, connector: object) -> Answers | None:
    """The form that the configuration names, or else the connector's own."""
    if (answers := settings.answers) is not None:
        sources = answers.sources or (settings.document_source,)
        return _FORMS[answers.form](sources, min_groundedness=answers.min_groundedness)
    if isinstance(connector, Answers):
        return connector
    return None


def describe(error: BaseException) -> str:
    """The sentence for the admin, without secrets: it goes into records, notifications and the trail. What is no error
    of ours is named by its type."""
    message = error.message if isinstance(error, AimeError) else f"{type(error).__name__}: {error}"
    return redact_text(message[: 4 * ERROR_CHARS])[:ERROR_CHARS]
