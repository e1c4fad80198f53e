"""`Both`: what two objects do, in one instance."""

from __future__ import annotations

from collections.abc import Sequence

from hub.sdk import Batches, Both, Change, Consumes, Health, InboundRequest, Notification, Notifies, Outcome, Receives


class Door:
    def __init__(self, *, ok: bool = True) -> None:
        self.closed = False
        self._ok = ok

    async def receive(self, _request: InboundRequest) -> Sequence[Change]:
        return ()

    async def check(self) -> Health:
        return Health(ok=self._ok, detail="door")

    async def aclose(self) -> None:
        self.closed = True


class Bell:
    batch = 7

    def __init__(self) -> None:
        self.closed = False

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        return [Outcome() for _ in batch]

    async def check(self) -> Health:
        return Health(ok=True, detail="bell")

    async def aclose(self) -> None:
        self.closed = True


async def test_it_does_what_either_does_and_nothing_else() -> None:
    both: object = Both(Door(), Bell())
    assert isinstance(both, Receives)
    assert isinstance(both, Notifies)
    assert isinstance(both, Batches)
    assert both.batch == 7
    assert not isinstance(both, Consumes)


async def test_it_is_well_when_both_are_and_closes_both() -> None:
    door, bell = Door(ok=False), Bell()
    both = Both(door, bell)
    assert await both.check() == Health(ok=False, detail="door; bell")
    await both.aclose()
    assert (door.closed, bell.closed) == (True, True)
