from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint

import pytest

from hub.plugins import Plugins
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
