"""The hub's connections to the outside: one `Network` for the whole hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver

from hub.net.account import Account, AccountHealth
from hub.net.breaker import Breaker
from hub.net.client import DEFAULT_TIMEOUT, Client, RetryPolicy
from hub.net.guard import Guard, IPNetwork

_CONNECTIONS = 256
_CONNECTIONS_PER_HOST = 16
DEFAULT_USER_AGENT = "aime-hub"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Network:
    """Hands out clients, and owns their connections. Use as an async context manager.

    Connections are pooled per policy: a client may only reuse a connection that its own guard has judged, so each
    distinct set of `allow_networks` has a session of its own (most hubs have one or two). Proxies from the environment
    are not used, since the guard cannot see what a proxy connects to.
    """

    def __init__(
        self,
        *,
        user_agent: str = DEFAULT_USER_AGENT,
        resolver: AbstractResolver | None = None,
        retries: RetryPolicy | None = None,
        breaker: Callable[[str], Breaker] = Breaker,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._user_agent = user_agent
        self._resolver = resolver
        self._retries = retries or RetryPolicy()
        self._breaker = breaker
        self._now = now
        self._sessions: dict[frozenset[IPNetwork], aiohttp.ClientSession] = {}
        # An account lives as long as a client of it, so one-off callback hosts do not pile up.
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def client(
        self,
        account: str,
        *,
        allow_networks: Iterable[str | IPNetwork] = (),
        rate: float | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        user_agent: str | None = None,
    ) -> Client:
        """A client for one upstream account; clients of the same account share its breaker, rate limit and pauses.

        `rate` is requests a second, `timeout` the seconds for one exchange. Raises InvalidInput for a bad network.
        """
        guard = Guard(allow_networks)
        state = self._accounts.get(account)
        if state is None:
            state = Account(account, rate=rate, breaker=self._breaker(account))
            self._accounts[account] = state
        else:
            state.limit(rate)
        return Client(
            self._session(guard),
            state,
            guard,
            user_agent=user_agent or self._user_agent,
            timeout=timeout,
            retries=self._retries,
            now=self._now,
        )

    def health(self) -> list[AccountHealth]:
        """Every account in use, by name."""
        return sorted((account.health() for account in self._accounts.values()), key=lambda health: health.account)

    async def close(self) -> None:
        """Close every connection. Requests under way fail."""
        self._closed = True
        sessions, self._sessions = self._sessions, {}
        await asyncio.gather(*(session.close() for session in sessions.values()))

    def _session(self, guard: Guard) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("the network is closed")
        session = self._sessions.get(guard.networks)
        if session is None:
            connector = aiohttp.TCPConnector(
                socket_factory=guard.open_socket,
                resolver=self._resolver,
                use_dns_cache=False,  # connections are kept, so names are asked for rarely; and then anew
                limit=_CONNECTIONS,
                limit_per_host=_CONNECTIONS_PER_HOST,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # the client's own deadline covers the whole exchange
                trust_env=False,
            )
            self._sessions[guard.networks] = session
        return session
