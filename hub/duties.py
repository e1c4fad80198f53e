"""What one node at a time does for all: each duty under a lease of its own, which fences what it writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from core.store.base import Fences
from hub.leases import Lease, Leases
from hub.supervisor import Supervisor


class Runner(Protocol):
    """Works until it is stopped; when it is cut off, whoever has the lease next goes on."""

    async def run(self) -> None: ...

    def stop(self) -> None:
        """Begin nothing more."""
        ...


R = TypeVar("R", bound=Runner)


class Duties:
    """The duties that this node would do."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._taken: dict[str, tuple[Lease, Runner]] = {}

    def take(self, name: str, make: Callable[[Fences], R]) -> R:
        """Want the lease of this name, and make what works under it."""
        lease = self._leases.want(name)
        runner = make(lease.fences)
        self._taken[name] = (lease, runner)
        return runner

    def held(self, name: str) -> bool:
        """Whether it is this node that does it now."""
        return name in self._taken and self._taken[name][0].held

    def start(self, supervisor: Supervisor) -> None:
        for name, (lease, runner) in self._taken.items():
            supervisor.start(name, partial(lease.guard, runner.run))

    def stop(self) -> None:
        for _, runner in self._taken.values():
            runner.stop()
