"""Who is calling, and may they: API keys, the run token of the command line, and the open local mode.

As long as no key was ever made and the hub listens on loopback, calls are open. A browser on the same machine can be
tricked into making such calls (DNS rebinding, cross-site forms), so in that mode the Host must be a loopback name and
an Origin must be the hub's own. With keys there is nothing to trick: no cookie or address authenticates anyone.
"""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from pydantic import SecretStr

from core.errors import AimeError, Forbidden, StoreError, Unauthorized
from core.model import EVERYONE, OPERATOR, Viewer
from core.store.base import AuditRecord
from hub.keys import SCOPES, KeyInfo, KeyRing, Scope
from hub.telemetry import Metrics

REFUSALS_PER_MINUTE = 60
"""More refused calls than these are counted, not written one by one: a stranger must not fill the disk."""
USE_INTERVAL = 60.0
"""Seconds between two audit records of one key's use."""


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made. `actor` is the key's id, `local`, `cli` or `anyone`."""

    actor: str
    scopes: frozenset[Scope]
    viewer: Viewer


ANYONE = Caller("anyone", frozenset(), EVERYONE)
LOCAL = Caller("local", frozenset(SCOPES), OPERATOR)
COMMAND_LINE = Caller("cli", frozenset(SCOPES), OPERATOR)


class Gate:
    """Lets calls in or refuses them, and writes down who was refused and which keys are in use."""

    def __init__(
        self, keys: KeyRing, *, host: str, run_token: SecretStr, audit: Callable[[AuditRecord], None], metrics: Metrics
    ) -> None:
        self.keys = keys
        self._host = host
        self._local = is_loopback(host)
        self._run_token = run_token.get_secret_value().encode()
        self._audit = audit
        self._metrics = metrics
        self._used: dict[str, float] = {}
        self._refusals = 0
        self._suppressed = 0
        self._minute = 0.0

    def admit(self, request: web.Request, scope: Scope | None) -> Caller:
        """The caller, who holds `scope` (None: the call is open). Raises Unauthorized or Forbidden."""
        if scope is None:
            return ANYONE
        try:
            return _require(scope, self._identify(request))
        except (Unauthorized, Forbidden) as error:
            self._note_refusal(request, error)
            raise

    def _identify(self, request: web.Request) -> Caller:
        presented = _presented(request)
        if presented is None:
            if self.keys.guarded or not self._local:
                raise Unauthorized("send an API key as `Authorization: Bearer …` or `X-API-Key: …`")
            self._check_browser(request)
            return LOCAL
        if hmac.compare_digest(presented.encode(errors="surrogatepass"), self._run_token):
            return COMMAND_LINE
        info = self.keys.authenticate(presented)
        if info is None:
            raise Unauthorized("the API key is unknown, expired or revoked")
        self._note_use(info)
        return _caller(info)

    def _check_browser(self, request: web.Request) -> None:
        host = request.headers.get(hdrs.HOST, "")
        name = host_name(host)
        if not (is_loopback(name) or name == self._host):
            raise Forbidden(f"without API keys the hub answers to its own address only, not to the Host {name[:100]!r}")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin != f"http://{host}":
            raise Forbidden("without API keys the hub takes no calls from other sites' pages")

    def _note_use(self, info: KeyInfo) -> None:
        now = time.monotonic()
        if now - self._used.get(info.id, -USE_INTERVAL) >= USE_INTERVAL:
            self._used[info.id] = now
            self._audit(AuditRecord(info.id, "key.used", info.id))

    def _note_refusal(self, request: web.Request, error: AimeError) -> None:
        self._metrics.refused.labels(error.code).inc()
        now = time.monotonic()
        if now - self._minute >= 60:
            self._minute, self._refusals = now, 0
        self._refusals += 1
        if self._refusals > REFUSALS_PER_MINUTE:
            self._suppressed += 1
            return
        detail = {
            "code": error.code,
            "method": request.method,
            "path": request.path[:200].encode(errors="backslashreplace").decode(),
            "remote": request.remote,
            "suppressed": self._suppressed,
        }
        try:
            self._audit(AuditRecord(ANYONE.actor, "auth.refused", request.remote or "", detail))
        except StoreError:
            # The store takes nothing. Nothing is let in either, so the refusal stands; it is counted.
            self._suppressed += 1
        else:
            self._suppressed = 0


def _require(scope: Scope, caller: Caller) -> Caller:
    if scope not in caller.scopes:
        raise Forbidden(f"this key does not carry the scope {scope!r} that the call needs")
    return caller


def _presented(request: web.Request) -> str | None:
    """The credential that the call carries, or None. Raises Unauthorized for a scheme that is none of ours."""
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    if authorization is None:
        return request.headers.get("X-API-Key")
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthorized("the Authorization header must be `Bearer` and an API key")
    return credential.strip()


@lru_cache(maxsize=256)
def _caller(info: KeyInfo) -> Caller:
    return Caller(info.id, frozenset(scope for scope in SCOPES if info.allows(scope)), info.viewer())


@lru_cache(maxsize=256)
def host_name(host: str) -> str:
    """The name in a Host header, without its port; empty when it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def is_loopback(name: str) -> bool:
    """Whether a host name can only mean this machine. Names under `localhost` are reserved for that (RFC 6761)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
