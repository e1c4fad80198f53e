"""What an admin tells one node counts on all: each hears it from the audit trail, where it is written anyway."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from uuid import uuid4

import structlog
from pydantic import JsonValue, TypeAdapter

from core.errors import Busy, StoreError
from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet, StoredAuditRecord
from hub.instance import RunReport
from hub.leases import Lease
from hub.supervisor import Supervisor

HEARD = (
    "connector.paused",
    "connector.resumed",
    "connector.run",
    "connector.ran",
    "endpoint.disabled",
    "endpoint.enabled",
)
REFUSED = "document.rejected"
"""No act of an admin, and heard of every node: what one has set aside, another may set free."""
PAGE = 100
EVERY_SECONDS = 1.0
_REPORT = TypeAdapter(RunReport)

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub")


class Acts:
    """The acts of other nodes, in order, from `open` on. Those of this `node` say so in their detail."""

    def __init__(self, service: GraphService, node: str) -> None:
        self._service = service
        self._node = node
        self._after = 0
        self._asked: dict[str, tuple[Lease, str | None, asyncio.Future[RunReport]]] = {}
        """Runs that other nodes were asked for: under which lease, of which node, and who waits."""

    @property
    def by(self) -> Mapping[str, JsonValue]:
        """For the detail of what is done here."""
        return {"node": self._node}

    async def open(self) -> None:
        """Raises StoreError."""
        self._after = await self._head()

    async def follow(
        self,
        supervisor: Supervisor,
        heed: Callable[[AuditRecord], Awaitable[None]],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        """Every second, `heed` each act of another node, and `look`; until the supervisor stops. An act that the store
        kept from being heeded is heeded again, before any later one."""
        unheeded: deque[AuditRecord] = deque()
        while not supervisor.stopping:
            try:
                unheeded.extend(await self.heard())
                while unheeded:
                    await heed(unheeded[0])
                    unheeded.popleft()
                await look()
            except StoreError as error:
                log.warning("other nodes are not heard", error=error.message)
            await supervisor.pause(EVERY_SECONDS)

    async def heard(self) -> list[AuditRecord]:
        """What others did since it was asked last. Raises StoreError."""
        found: list[StoredAuditRecord] = []
        while True:
            head = await self._head()
            page = await self._service.store.trail(self._after, PAGE, actions=(*HEARD, REFUSED))
            found.extend(page)
            if len(page) < PAGE:
                self._after = max(self._after, head, *(record.sequence for record in page))
                break
            self._after = page[-1].sequence
        self._settle([each.record for each in found])
        return [each.record for each in found if self._is_news(each.record)]

    def _is_news(self, record: AuditRecord) -> bool:
        return record.action == REFUSED or record.detail.get("node", self._node) != self._node

    # -- runs

    async def ask_for_run(self, lease: Lease, *, name: str, force: bool, actor: str) -> asyncio.Future[RunReport]:
        """Have the node that holds the lease run an instance; what that did. Raises Busy, StoreError."""
        if lease.node is None:
            raise Busy(f"no node drives connector {name!r} at the moment", retry_after=5.0)
        id_ = uuid4().hex
        done: asyncio.Future[RunReport] = asyncio.get_running_loop().create_future()
        self._asked[id_] = (lease, lease.node, done)
        detail = {"force": force, "run": id_, "asked": lease.node, **self.by}
        await self._service.write(ChangeSet(audit=(AuditRecord(actor, "connector.run", name, detail),)))
        return done

    def is_asked(self, act: AuditRecord) -> bool:
        """Whether it is this node that another one asked for a run."""
        return act.detail.get("asked") == self._node

    def tell_of_run(self, act: AuditRecord, report: RunReport) -> None:
        """Let the node that asked know what a run did. Raises StoreError."""
        said = asdict(report)
        self._service.audit_soon(AuditRecord("hub", "connector.ran", act.subject, {**said, "run": act.detail["run"]}))

    def _settle(self, records: list[AuditRecord]) -> None:
        said = {str(record.detail.get("run")): record.detail for record in records if record.action == "connector.ran"}
        for id_, (lease, node, done) in list(self._asked.items()):
            if (detail := said.get(id_)) is not None:
                report = _REPORT.validate_python(dict(detail))
            elif lease.node != node:
                report = RunReport(error=f"{node}, which was asked, does not drive it any more")
            else:
                continue
            del self._asked[id_]
            if not done.done():
                done.set_result(report)

    async def _head(self) -> int:
        newest = await self._service.store.audit(limit=1)
        return newest[0].sequence if newest else 0
