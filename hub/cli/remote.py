"""A running hub, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from core.errors import AimeError, Busy, Forbidden, InvalidInput, InvalidQuery, NotFound, Unauthorized
from core.model import Problem, ProcessResult, Status
from core.views import Answer, EntitySummary, EntityView, Paths
from hub.cli.target import Json
from hub.export import ExportFormat, entity_key

CONNECT_SECONDS = 10
IDLE_SECONDS = 120
"""How long an answer may stand still."""
NDJSON = "application/x-ndjson"
MAX_LINE_BYTES = 1024 * 1024
"""Of one result line."""

REFUSALS: dict[str, type[AimeError]] = {
    cls.code: cls for cls in (InvalidInput, InvalidQuery, NotFound, Unauthorized, Forbidden)
}


class HubUnreachable(AimeError):
    """The hub does not answer at its address."""

    code = "hub_unreachable"


class HubRefused(AimeError):
    """The hub answered with a problem that has no class of its own here."""

    code = "hub_refused"


@asynccontextmanager
async def connect(url: str, api_key: str | None) -> AsyncIterator[RemoteTarget]:
    """The hub at a URL, with an API key or its run token. Nothing is sent yet."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, read_bufsize=MAX_LINE_BYTES) as session:
        yield RemoteTarget(session, url.rstrip("/"))


class RemoteTarget:
    """`hub.cli.target.Target` at a URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    # -- calls

    @asynccontextmanager
    async def _call(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of 2xx. Raises HubUnreachable, and the hub's problems as the errors that they were."""
        try:
            async with self._session.request(method, self._url + path, **options) as response:
                if response.status >= 300:
                    raise _refusal(response.status, await response.read())
                yield response
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise HubUnreachable(f"the hub at {self._url} does not answer: {reason}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise HubUnreachable(f"the hub at {self._url} does not answer: {reason}") from None

    async def json(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer; raises as `_call` does."""
        async with self._call(method, path, **options) as response:
            return await response.json()

    # -- what commands do

    async def ingest(self, documents: AsyncIterable[Mapping[str, Any]]) -> AsyncGenerator[ProcessResult, None]:
        headers = {"Content-Type": NDJSON}
        body = _Lines(documents)
        answered = 0
        async with self._call("POST", "/documents/batch", data=body.read(), headers=headers) as response:
            async for line in response.content:
                answered += 1
                yield ProcessResult.model_validate_json(line)
        if not body.ended or answered < body.sent:
            raise HubRefused(f"the hub broke off after {answered} documents; what it answered for is in the graph")

    async def refuse(self, where: str, error: str) -> ProcessResult:
        """Not sent: what is no document is no business of the hub's."""
        problem = Problem(code=InvalidInput.code, message=f"{where}: {error}")
        return ProcessResult(document_id=None, status=Status.REJECTED, error=problem)

    async def query(
        self,
        text: str,
        *,
        filters: Mapping[str, Any] | None,
        top_k: int,
        as_of: int | None = None,
        newest: bool | None = None,
    ) -> Answer:
        optional = {"filters": filters or None, "as_of_version": as_of, "newest": newest}
        body = {"query": text, "top_k": top_k} | {name: value for name, value in optional.items() if value is not None}
        return Answer.model_validate(await self.json("POST", "/query", json=body))

    async def entities(self, text: str, limit: int) -> list[EntitySummary]:
        found = await self.json("GET", "/graph/entities", params=_given(text=text, limit=limit))
        return [EntitySummary.model_validate(each) for each in found["entities"]]

    async def entity(self, entity_id: int) -> EntityView:
        return EntityView.model_validate(await self.json("GET", f"/graph/entities/{entity_key(entity_id)}"))

    async def paths(self, first: int, last: int, *, max_length: int, limit: int) -> Paths:
        ends = {"from": entity_key(first), "to": entity_key(last)}
        params = ends | _given(max_length=max_length, limit=limit)
        return Paths.model_validate(await self.json("GET", "/graph/paths", params=params))

    async def head(self) -> int:
        version: int = (await self.json("GET", "/graph/version"))["graph_version"]
        return version

    async def keys(self) -> list[Json]:
        keys: list[Json] = (await self.json("GET", "/admin/keys"))["keys"]
        return keys

    async def create_key(
        self, name: str, *, scopes: list[str], principals: list[str], expires_at: datetime | None
    ) -> Json:
        body: Json = {"name": name, "scopes": scopes, "principals": principals}
        if expires_at is not None:
            body["expires_at"] = expires_at.isoformat()
        made: Json = await self.json("POST", "/admin/keys", json=body)
        return made

    async def revoke_key(self, key_id: str) -> None:
        await self.json("DELETE", f"/admin/keys/{quote(key_id, safe='')}")

    async def audit(self, *, action: str | None, actor: str | None, limit: int) -> list[Json]:
        params = _given(action=action, actor=actor, limit=limit)
        records: list[Json] = (await self.json("GET", "/admin/audit", params=params))["audit"]
        return records

    async def deliveries(self, *, endpoint: str | None, state: str | None, limit: int) -> list[Json]:
        params = _given(endpoint=endpoint, state=state, limit=limit)
        found: list[Json] = (await self.json("GET", "/admin/deliveries", params=params))["deliveries"]
        return found

    async def replay(self, delivery_id: str) -> str:
        replayed: Json = await self.json("POST", f"/admin/deliveries/{quote(delivery_id, safe='')}/replay")
        return str(replayed["endpoint"])

    async def endpoints(self) -> list[Json]:
        found = (await self.json("GET", "/admin/endpoints"))["endpoints"]
        return [
            {
                "name": each["name"],
                "disabled": each["reason"] if each["state"] == "disabled" else None,
                "pending": each["pending"],
                "dead": each["dead"],
            }
            for each in found
        ]

    async def gc(self, before: int) -> int:
        dropped: int = (await self.json("POST", "/admin/gc", json={"before": before}))["documents"]
        return dropped

    async def export(self, form: ExportFormat) -> AsyncIterator[bytes]:
        async with self._call("GET", "/admin/export", params={"format": form}) as response:
            async for piece in response.content.iter_any():
                yield piece


class _Lines:
    """The body of a batch. `sent` counts its documents; `ended` says that there are no more."""

    def __init__(self, documents: AsyncIterable[Mapping[str, Any]]) -> None:
        self._documents = documents
        self.sent = 0
        self.ended = False

    async def read(self) -> AsyncIterator[bytes]:
        async for document in self._documents:
            self.sent += 1
            yield json.dumps(document).encode() + b"\n"
        self.ended = True


def _given(**params: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _refusal(status: int, body: bytes) -> AimeError:
    """The problem that the hub answered with, as the error that it was made from."""
    try:
        problem = json.loads(body)
        detail, code, field = str(problem["detail"]), str(problem["code"]), problem.get("field") or ""
    except (ValueError, KeyError, TypeError):
        return HubRefused(f"the hub answered {status}, and not in a form that it would use")
    kind = REFUSALS.get(code)
    if kind is not None and issubclass(kind, InvalidInput):
        return kind(detail, field=field)
    if kind is not None:
        return kind(detail)
    if status in {429, 503, 507}:
        return Busy(f"the hub takes no work now: {detail}")
    return HubRefused(f"{field}: {detail}" if field else detail)
