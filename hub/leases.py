"""What one of several nodes does at a time: rights that it holds by name, and keeps by a heartbeat.

A node that cannot reach the store stops what it does under a lease before another may take it over; and should it not
know of that yet (it was frozen, say), what it writes is refused, since every such write carries the lease as a fence.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

from core.errors import LeaseLost, StoreError
from core.pulse import Pulse
from core.store.base import Holding, Store

LEASE_SECONDS = 10.0
"""How long a lease outlives its holder's last heartbeat."""
HEARTBEAT_SECONDS = 2.5
MARGIN_SECONDS = 1.0
"""A holder that cannot renew stops so long before others may begin."""

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("hub.leases")


class Lease:
    """One right, wanted by this node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: str | None = None
        """Who has it, as far as this node has heard."""
        self.changed = Pulse()
        """Beats when it is taken, lost, or given up."""
        self.given_up = False
        """Nothing more is begun under it."""
        self._holding: Holding | None = None
        self._until = 0.0

    @property
    def held(self) -> bool:
        return self._holding is not None and asyncio.get_running_loop().time() < self._until

    def fences(self) -> tuple[Holding, ...]:
        """For what is written under it. Raises LeaseLost."""
        if self._holding is None or not self.held:
            raise LeaseLost(f"this node does not hold {self.name!r}")
        return (self._holding,)

    async def taken(self) -> bool:
        """Waits until it is held; False once it is given up."""
        while not self.held and not self.given_up:
            await self.changed.wait(None)
        return not self.given_up

    async def lost(self) -> None:
        """Returns once it is not held any more."""
        while self.held:
            await self.changed.wait(self._until - asyncio.get_running_loop().time())

    async def guard(self, run: Callable[[], Awaitable[None]]) -> None:
        """`run()` each time it is taken, until that returns; it is cut off when the lease is lost."""
        while await self.taken():
            running = asyncio.ensure_future(run())
            lost = asyncio.create_task(self.lost(), name=f"lease {self.name}: lost")
            try:
                await asyncio.wait({running, lost}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    await running
                    return
                log.warning("lease lost", lease=self.name, node=self.node)
            finally:
                lost.cancel()
                running.cancel()
                await asyncio.wait({running, lost})

    def give_up(self) -> None:
        """Begin nothing under it; what is under way is not cut off."""
        self.given_up = True
        self.changed.beat()

    def _is(self, holding: Holding, own: bool, until: float) -> None:
        was = (self._holding, self.node)
        self.node = holding.holder
        self._holding, self._until = (holding, until) if own else (None, 0.0)
        if was != (self._holding, self.node):
            self.changed.beat()


class Leases:
    """The leases that this node wants. Entering asks for them once; until it is left, those that it has are kept, and
    then others may have them."""

    def __init__(self, store: Store, *, node: str | None = None) -> None:
        self.node = node or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._store = store
        self._wanted: dict[str, Lease] = {}
        self._asked = Pulse()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.ask()
        self._beating = asyncio.create_task(self._keep(), name="leases")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        await self._release(list(self._wanted))

    def want(self, name: str) -> Lease:
        """Ask for this one from now on."""
        lease = self._wanted[name] = Lease(name)
        self._asked.beat()
        return lease

    async def drop(self, lease: Lease) -> None:
        """Nothing is done under it any more: others may have it."""
        if self._wanted.get(lease.name) is lease:
            del self._wanted[lease.name]
            lease.give_up()
            await self._release([lease.name])

    def give_up(self) -> None:
        """Begin nothing under any of them."""
        for lease in self._wanted.values():
            lease.give_up()

    async def _release(self, names: list[str]) -> None:
        try:
            await self._store.release(names, self.node)
        except StoreError as error:
            log.info("leases not given back; they run out", reason=error.message)

    async def _keep(self) -> None:
        while True:
            try:
                await self._asked.wait(HEARTBEAT_SECONDS)
                await self.ask()
            except StoreError as error:
                log.warning("leases not renewed", reason=error.message)

    async def ask(self) -> None:
        """Take what is free, and renew what is this node's, now. Raises StoreError."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(2 * HEARTBEAT_SECONDS):
                found = await self._store.lease(list(self._wanted), self.node, LEASE_SECONDS)
        except TimeoutError:
            raise StoreError("the store does not answer") from None
        until = began + LEASE_SECONDS - MARGIN_SECONDS
        if dropped := [name for name, held in found.items() if held.holder == self.node and name not in self._wanted]:
            await self._release(dropped)  # while it was asked for
        for name, holding in found.items():
            if lease := self._wanted.get(name):
                lease._is(holding, holding.holder == self.node, until)
