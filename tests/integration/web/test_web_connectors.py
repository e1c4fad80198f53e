from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import os
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint

import pytest

from hub.plugins import Plugins
from hub.web import connectors
from tests.integration.web import oracle
from tests.integration.web.rig import OpenSite, Site

ORACLE = '[connectors.delphi]\nkind = "oracle"\n'


@pytest.fixture
async def delphi(open_site: OpenSite) -> AsyncIterator[Site]:
    plugins = Plugins([EntryPoint("oracle", oracle.__name__, "aime.connectors")])
    async with open_site(ORACLE, plugins=plugins) as site:
        yield site


async def test_a_connector_answers_in_its_own_form_from_what_the_asker_may_see(delphi: Site) -> None:
    await delphi.add("public", "Croesus will destroy an empire.")
    body = {"query": "What will Croesus destroy?", "who": "Croesus"}
    answer = (await delphi.post("/ask/delphi", body)).json
    assert answer == {"prophecy": "Croesus will destroy an empire.", "asked_for": "Croesus"}
    await delphi.call("DELETE", "/documents/public")
    await delphi.add("secret", "Croesus will destroy an empire.", access=["priests"])
    delphi.key = await delphi.make_key("read")
    assert (await delphi.post("/ask/delphi", body)).json["prophecy"] == "nothing"


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        ("read", 422, "invalid_input", None),
        ("down", 503, "not_ready", "7"),
        ("limit", 503, "rate_limited", "9"),
        ("account", 502, "auth_failed", None),
        ("poison", 422, "permanent_document_error", None),
        ("defect", 502, "connector_error", None),
    ],
)
async def test_what_goes_wrong_in_a_connector_is_a_problem_of_its_kind(
    delphi: Site, failure: str, status: int, code: str, retry_after: str | None
) -> None:
    answer = await delphi.post("/ask/delphi", {"query": failure}, status=status)
    assert (answer.json["code"], answer.headers.get("Retry-After")) == (code, retry_after)
    assert b"a secret of the oracle" not in answer.body


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"query": 7}'])
async def test_a_connector_is_asked_with_a_json_object_that_has_a_query(delphi: Site, body: bytes) -> None:
    answer = await delphi.post("/ask/delphi", body, status=None)
    assert answer.status in {400, 422}


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        ("verify", 401, "verification_failed"),
        ("read", 422, "invalid_input"),
        ("down", 503, "not_ready"),
        ("defect", 502, "connector_error"),
    ],
)
async def test_a_webhook_that_fails_commits_nothing_and_says_why(
    delphi: Site, failure: str, status: int, code: str
) -> None:
    answer = await delphi.call("POST", "/hooks/delphi", data=failure, status=status)
    assert answer.json["code"] == code
    assert b"a secret of the oracle" not in answer.body
    assert await delphi.service.head() == 0


async def test_a_signed_webhook_needs_no_key_and_is_committed_before_it_is_answered(open_site: OpenSite) -> None:
    secret = os.urandom(16).hex()
    config = f"""
[connectors.crm]
kind = "webhook"
receive.scheme = "hmac"
receive.secret = "{secret}"
"""
    async with open_site(config) as site:
        await site.make_key("read")
        body = json.dumps({"document_id": "crm-1", "content": "A customer wrote."}).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": signature, "Content-Type": "application/json"}
        await site.call("POST", "/hooks/crm", data=body + b" ", headers=headers, status=401)
        assert await site.service.head() == 0
        answer = (await site.call("POST", "/hooks/crm", data=body, headers=headers)).json
        assert answer["results"][0]["status"] == "processed"
        assert await site.service.head() == 1


async def begin_webhook(site: Site, name: str, *, length: int, body: bytes = b"") -> bytes:
    """Send the head of a webhook and `body`, never the rest; the status line that is answered all the same."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(f"POST /hooks/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode() + body)
    try:
        async with asyncio.timeout(5):
            return await reader.readline()
    finally:
        writer.close()


async def test_a_webhook_for_nobody_is_refused_before_its_body_is_read(delphi: Site) -> None:
    assert b" 404 " in await begin_webhook(delphi, "nobody", length=90_000_000)


async def test_a_webhook_for_a_paused_connector_is_refused_before_its_body_is_read(delphi: Site) -> None:
    await delphi.call("POST", "/admin/connectors/delphi/pause")
    assert b" 503 " in await begin_webhook(delphi, "delphi", length=90_000_000)


async def test_a_webhook_is_smaller_than_a_document_may_be(delphi: Site) -> None:
    size = connectors.BODY_BYTES + 1
    assert b" 413 " in await begin_webhook(delphi, "delphi", length=size)
    answer = await delphi.call("POST", "/hooks/delphi", data=io.BytesIO(b" " * size), status=413)
    assert answer.json["code"] == "body_too_large"


async def test_a_webhook_has_a_time_in_which_it_has_to_be_whole(delphi: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectors, "BODY_SECONDS", 0.2)
    assert b" 408 " in await begin_webhook(delphi, "delphi", length=100, body=b"a little")
