"""A client of a served hub."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aiohttp

from core.service import GraphService
from core.store.base import AuditRecord, ChangeSet
from hub.runtime import Hub
from hub.web import Server

Json = dict[str, Any]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Site:
    """A served hub, and an HTTP client for it. `key` is sent with every call once it is set."""

    hub: Hub
    server: Server
    session: aiohttp.ClientSession
    key: str | None = None

    @property
    def service(self) -> GraphService:
        return self.hub.service

    @property
    def port(self) -> int:
        return int(self.server.url.rsplit(":", 1)[1])

    async def call(self, method: str, path: str, *, status: int | None = 200, **options: Any) -> Answer:
        """One call, whose answer must have `status` (None: any)."""
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        async with self.session.request(method, self.server.url + path, headers=headers, **options) as response:
            answer = Answer(response.status, response.headers, await response.read())
        if status is not None:
            assert answer.status == status, answer.body
        return answer

    async def post(self, path: str, body: object, **options: Any) -> Answer:
        """POST JSON; `bytes` are sent as they are."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return await self.call("POST", path, data=data, headers=headers, **options)

    async def add(self, document_id: str, content: str = "Grace Hopper found a moth.", **metadata: object) -> Json:
        """Post a document and return its result."""
        document = {"document_id": document_id, "content": content, "metadata": metadata}
        result: Json = (await self.post("/documents", document)).json
        return result

    async def make_key(self, *scopes: str, principals: tuple[str, ...] = ()) -> str:
        """An API key, made with the run token."""
        headers = {"Authorization": f"Bearer {self.server.run_token.get_secret_value()}"}
        body = {"name": "test", "scopes": scopes, "principals": principals}
        secret: str = (await self.post("/admin/keys", body, status=201, headers=headers)).json["secret"]
        return secret

    async def audit(self, action: str) -> list[Json]:
        """Records of one action, oldest first. What is still to be written is written first."""
        await self.service.write(ChangeSet(audit=(AuditRecord("test", "test.looked"),)))
        headers = {"Authorization": f"Bearer {self.server.run_token.get_secret_value()}"}
        found: list[Json] = (await self.call("GET", f"/admin/audit?action={action}", headers=headers)).json["audit"]
        return found[::-1]


OpenSite = Callable[..., AbstractAsyncContextManager[Site]]
