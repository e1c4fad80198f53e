"""The aiohttp application: every route, behind one door that admits, answers errors and counts."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache

import structlog
from aiohttp import web
from prometheus_client import Counter
from pydantic import SecretStr

from core.errors import AimeError, NotFound
from hub.keys import KeyRing
from hub.runtime import Hub
from hub.telemetry import Metrics
from hub.web import admin, batch, connectors, documents, graph, page, problems, query, system
from hub.web.body import BodyBudget
from hub.web.gate import ANYONE, Gate
from hub.web.journal import JournalDoor
from hub.web.routes import Call, Pages, Route, Site, sign

log = structlog.stdlib.get_logger(__name__)

ROUTES: tuple[Route, ...] = (
    *documents.ROUTES,
    *batch.ROUTES,
    *query.ROUTES,
    *connectors.ROUTES,
    *graph.ROUTES,
    *admin.ROUTES,
    *system.ROUTES,
)

ESCAPED = 3
"""JSON may spell a character of content in three times its UTF-8 bytes (`\\u00e9`, surrogate pairs)."""
ENVELOPE_BYTES = 1024 * 1024
"""Room for what stands around the content: id, metadata, names."""
BODIES_AT_ONCE = 4
"""How many bodies of the largest size may be held together."""

SITE = web.AppKey("site", Site)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(hub: Hub, *, host: str = "127.0.0.1", run_token: SecretStr | None = None) -> web.Application:
    """The application that serves `hub` on `host`. Run it with `auto_decompress=False`, as `serve` does: bodies are
    decompressed here, under their cap."""
    metrics = Metrics()
    metrics.attempts.counts = lambda: _attempts(hub)
    metrics.model.figures = lambda: None if hub.model is None else hub.model.figures
    body_cap = hub.service.options.max_content_bytes * ESCAPED + ENVELOPE_BYTES
    site = Site(
        hub=hub,
        gate=Gate(
            KeyRing(hub.service),
            host=host,
            run_token=run_token or SecretStr(secrets.token_urlsafe(32)),
            audit=hub.service.audit_soon,
            metrics=metrics,
        ),
        metrics=metrics,
        budget=BodyBudget(body_cap * BODIES_AT_ONCE),
        journal=JournalDoor(hub),
        body_cap=body_cap,
        pages=_pages,
    )
    app = web.Application()
    app[SITE] = site
    for route in ROUTES:
        app.router.add_route(route.method, route.path, Door(site, route).enter)
    app.router.add_route("*", "/{path:[\\s\\S]*}", Unmatched(site).answer)
    app.cleanup_ctx.append(_keys)
    app.on_shutdown.append(_end_streams)
    return app


@cache
def _pages() -> Pages:
    return page.render(ROUTES)


async def _keys(app: web.Application) -> AsyncIterator[None]:
    keys = app[SITE].gate.keys
    await keys.reload()
    if not app[SITE].hub.service.store.shared:
        yield
        return
    following = asyncio.create_task(keys.follow(), name="follow the API keys")
    yield
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _end_streams(app: web.Application) -> None:
    app[SITE].closing = True


def _attempts(hub: Hub) -> Iterator[tuple[str, str, int]]:
    for endpoint in hub.dispatcher.health():
        yield endpoint.name, "delivered", endpoint.delivered
        yield endpoint.name, "failed", endpoint.failed


class Door:
    """Where every call to one route comes in and goes out."""

    def __init__(self, site: Site, route: Route) -> None:
        self._site = site
        self._route = route
        self._latency = site.metrics.latency.labels(route.template)
        self._counters: dict[int, Counter] = {}

    async def enter(self, request: web.Request) -> web.StreamResponse:
        site = self._site
        started = time.perf_counter()
        call = Call(site, request, ANYONE, request_id(request))
        site.in_flight += 1
        try:
            call.caller = site.gate.admit(request, self._route.scope)
            response = await self._route.handler(call)
        except (AimeError, ConnectionError) as error:
            response = self._refuse(call, error)
        except Exception as error:
            log.exception("call failed", method=request.method, route=self._route.template, request_id=call.request_id)
            response = self._refuse(call, error)
        finally:
            site.in_flight -= 1
            site.budget.release(call.held)
            self._latency.observe(time.perf_counter() - started)
        if not call.streaming:
            sign(response, call.request_id)
        self._counter(response.status).inc()
        return response

    @staticmethod
    def _refuse(call: Call, error: Exception) -> web.StreamResponse:
        if call.streaming or (isinstance(error, ConnectionError) and call.ending):
            # The head is out, or nobody is there to be told.
            call.abort()
        return problems.respond(error, call.request_id)

    def _counter(self, status: int) -> Counter:
        counter = self._counters.get(status)
        if counter is None:
            counter = self._site.metrics.requests.labels(self._route.method, self._route.template, str(status))
            self._counters[status] = counter
        return counter


class Unmatched:
    """What no route takes: 404, or 405 where the path has other methods."""

    def __init__(self, site: Site) -> None:
        self._metrics = site.metrics
        self._paths = [(re.compile(_pattern(route.path)), route.method) for route in ROUTES]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        allowed = {method for path, method in self._paths if path.fullmatch(request.rel_url.raw_path)}
        error: AimeError = NotFound(f"there is nothing at {request.path[:200]}")
        if allowed:
            error = problems.MethodNotAllowed(request.method, frozenset(allowed))
        id_ = request_id(request)
        response = problems.respond(error, id_)
        sign(response, id_)
        self._metrics.requests.labels("any", "unmatched", str(response.status)).inc()
        return response


def _pattern(path: str) -> str:
    """A route's path as a regular expression: what stands in braces has its own pattern, or ends at a slash."""
    parts = re.split(r"\{(\w+)(?::([^}]+))?\}", path)
    literals, patterns = parts[::3], [pattern or "[^/]+" for pattern in parts[2::3]]
    return "".join(f"{re.escape(literal)}{pattern}" for literal, pattern in zip(literals, [*patterns, ""], strict=True))


_PREFIX = secrets.token_hex(4)
_COUNTER = itertools.count(1)


def request_id(request: web.Request) -> str:
    """The caller's own X-Request-Id, if it is a plain one; else one that no other request of any run has."""
    given = request.headers.get("X-Request-Id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PREFIX}-{next(_COUNTER):x}"


__all__ = ["ROUTES", "SITE", "create_app"]
