"""The HTTP client that a connector gets: `hub.sdk.contract.HttpClient`, with every bound that it promises."""

from __future__ import annotations

import asyncio
import json as jsonlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import aiohttp
import stamina
from multidict import CIMultiDict
from yarl import URL

from core.errors import Forbidden, InvalidInput, NotReady
from hub.net.account import Account
from hub.net.answers import Passing, TooLong, error_for, read_body, retry_after
from hub.net.guard import AddressRefused, Guard
from hub.sdk.contract import HttpResponse

DEFAULT_MAX_BYTES = 16 * 1024 * 1024
DEFAULT_TIMEOUT = 30.0
MAX_REDIRECTS = 5

_READING = ("GET", "HEAD")
_REDIRECTS = (301, 302, 303, 307, 308)
# What may go along to another origin. An allow list: an API key travels under any name.
_HARMLESS = frozenset({"accept", "accept-language", "user-agent", "if-none-match", "if-modified-since"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How reading requests are tried again: `attempts` in all, waits from `first` seconds doubling to `longest`."""

    attempts: int = 3
    first: float = 0.2
    longest: float = 3.0
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: URL
    headers: CIMultiDict[str]
    data: bytes | None
    max_bytes: int
    cut: bool
    timeout: float

    def redirected(self, target: URL) -> _Request:
        same = target.origin() == self.url.origin()
        kept = {name: value for name, value in self.headers.items() if same or name.lower() in _HARMLESS}
        return replace(self, url=target, headers=CIMultiDict(kept))


class Client:
    """One account's client. The session's pool was made for `guard`, and belongs to no other policy."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        account: Account,
        guard: Guard,
        *,
        user_agent: str,
        timeout: float,
        retries: RetryPolicy,
        now: Callable[[], datetime],
    ) -> None:
        self.account = account
        self._session = session
        self._guard = guard
        self._user_agent = user_agent
        self._timeout = timeout
        self._retries = retries
        self._now = now

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        json: object = None,
        max_bytes: int | None = None,
        cut: bool = False,
        timeout: float | None = None,
        raise_for_status: bool = True,
    ) -> HttpResponse:
        """See `HttpClient`. A target that is refused is NotReady: it may be a name server's fault, and pass."""
        named = CIMultiDict(headers or {})
        named.setdefault("User-Agent", self._user_agent)
        if json is not None:
            data = jsonlib.dumps(json, ensure_ascii=False).encode()
            named.setdefault("Content-Type", "application/json")
        target = self._checked(url)
        request = _Request(
            method=method.upper(),
            url=target.update_query(params) if params else target,
            headers=named,
            data=data,
            max_bytes=DEFAULT_MAX_BYTES if max_bytes is None else max_bytes,
            cut=cut,
            timeout=self._timeout if timeout is None else timeout,
        )
        policy = self._retries
        async for attempt in stamina.retry_context(
            on=Passing if request.method in _READING else (),
            attempts=policy.attempts,
            timeout=None,
            wait_initial=policy.first,
            wait_max=policy.longest,
            wait_jitter=policy.jitter,
        ):
            with attempt:
                return await self._attempt(request, raise_for_status)
        raise AssertionError("stamina yields at least one attempt")

    async def _attempt(self, request: _Request, raise_for_status: bool) -> HttpResponse:
        """One exchange, and what it says about the account."""
        await self.account.enter(request.timeout)
        try:
            response = await self._exchange(request)
        except NotReady as error:
            self.account.failed(error.message)
            raise
        except BaseException:
            self.account.left()
            raise
        refusal = error_for(response.status, response.retry_after, _where(URL(response.url)))
        if response.retry_after is not None:
            self.account.pause(response.retry_after)
        if refusal is not None and response.status >= 500:
            self.account.failed(refusal.message)
        else:
            self.account.succeeded()
        if refusal is not None and raise_for_status:
            raise refusal
        return response

    async def _exchange(self, request: _Request) -> HttpResponse:
        """Send, follow redirects, read: all of it within one deadline. Raises NotReady with a sentence for people."""
        try:
            async with asyncio.timeout(request.timeout):
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._send(request)
                    if isinstance(answer, HttpResponse):
                        return answer
                    request = request.redirected(answer)
        except TimeoutError:
            raise NotReady(f"{_where(request.url)} did not answer in full within {request.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _in_words(error, _where(request.url)) from None
        raise NotReady(f"{_where(request.url)} redirects more than {MAX_REDIRECTS} times")

    async def _send(self, request: _Request) -> HttpResponse | URL:
        """The answer, or where it redirects to. A connection whose answer is not read to the end is closed."""
        async with self._session.request(
            request.method, request.url, headers=request.headers, data=request.data, allow_redirects=False
        ) as response:
            location = response.headers.get("Location")
            if request.method in _READING and response.status in _REDIRECTS and location:
                response.close()
                return self._redirect(request.url, location)
            body = await read_body(response, request.max_bytes, cut=request.cut)
            return HttpResponse(
                status=response.status,
                headers=response.headers,
                body=body,
                url=str(response.url),
                retry_after=retry_after(response.headers, self._now()) if response.status in (429, 503) else None,
            )

    def _redirect(self, start: URL, location: str) -> URL:
        try:
            target = start.join(URL(location))
        except ValueError:
            raise NotReady(f"{_where(start)} redirects to what is no URL") from None
        try:
            return self._checked(str(target))
        except NotReady as error:
            raise NotReady(f"{_where(start)} redirects to a refused target: {error.message}") from None

    def _checked(self, url: str) -> URL:
        try:
            self._guard.check(url, field="url")
        except (InvalidInput, Forbidden) as error:
            raise NotReady(error.message) from None
        return URL(url)


def _where(url: URL) -> str:
    """Scheme, host and port. User info, path and query may each hold a secret, so no message shows them."""
    try:
        return str(url.origin())
    except ValueError:
        return "the target"


def _in_words(error: Exception, where: str) -> NotReady:
    """A sentence for the admin. aiohttp's own texts may quote the whole URL, so none of them is passed on."""
    match error:
        case TooLong():
            return NotReady(f"{where}: {error}")
        case aiohttp.ClientConnectorCertificateError():
            return NotReady(f"{where}: its certificate does not verify")
        case aiohttp.ClientConnectorDNSError():
            return Passing(f"{where}: the name does not resolve")
        case aiohttp.ClientConnectorSSLError():
            return Passing(f"{where}: no TLS connection")
        case aiohttp.ClientConnectorError(os_error=AddressRefused() as refused):
            return NotReady(f"{where}: {refused.strerror}")
        case aiohttp.ClientConnectorError():
            return Passing(f"{where}: cannot connect ({error.os_error.strerror or type(error.os_error).__name__})")
        case aiohttp.ServerDisconnectedError():
            return Passing(f"{where} closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return Passing(f"{where}: the answer broke off or cannot be unpacked")
        case aiohttp.ClientOSError():
            return Passing(f"{where}: the connection was lost")
        case _:
            return NotReady(f"{where}: {type(error).__name__}")
