"""A hub with a `[model]`: what those outside see of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import ConfigError
from hub.config import load_config
from hub.model import model_client
from tests.bedrock_rig import MODEL, fails, number_of, replies, scripted
from tests.integration.web.rig import OpenSite, Site

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TEXT = "Open the settings and choose Reset password. A mail with a link arrives within 10 minutes."


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", "AKIDEXAMPLE")
    monkeypatch.setenv("MODEL_SECRET", SECRET)


def config(url: str, use: str) -> str:
    return f"""
[model]
kind = "bedrock"
region = "eu-central-1"
model_id = "{MODEL}"
use = {use}
endpoint_url = "{url}"
access_key_id = "${{MODEL_KEY}}"
secret_access_key = "${{MODEL_SECRET}}"
input_price = 3
output_price = 15
"""


def works(prompt: str) -> str:
    if prompt.startswith("<text>"):
        return json.dumps({"entities": ["settings", "link"], "relations": []})
    return f"In the settings you choose Reset password [{number_of(prompt, 'choose Reset')}]."


async def samples(site: Site) -> dict[tuple[str, ...], float]:
    text = (await site.call("GET", "/metrics")).body.decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(site: Site, condition: Callable[[dict[tuple[str, ...], float]], bool]) -> dict[tuple[str, ...], float]:
    """The metrics once they say so; each look goes through the hub, so others get their turn."""
    async with asyncio.timeout(30):
        while not condition(found := await samples(site)):
            pass
    return found


def all_read(found: dict[tuple[str, ...], float]) -> bool:
    return found.get(("aime_model_texts_total", "extracted")) == 1 and found["aime_extraction_lag_versions",] == 0


async def test_answers_say_how_they_were_worded_and_metrics_what_that_took(open_site: OpenSite) -> None:
    async with scripted(replies(works)) as server, open_site(config(server.url, '["answers"]')) as site:
        await site.add("reset", TEXT, title="Reset your password")
        answer = (await site.post("/query", {"query": "How do I reset my password?"})).json
        counted = await samples(site)
        audit = await site.audit("model.used")
    assert answer["answer"] == "In the settings you choose Reset password."
    assert answer["composition"] == {
        "by": "model",
        "model": MODEL,
        "fallback": None,
        "reason": None,
        "claims": [{"text": "In the settings you choose Reset password.", "sources": [0]}],
    }
    assert counted["aime_model_requests_total",] == 1
    assert counted["aime_model_tokens_total", "in"] == 100
    assert counted["aime_model_tokens_total", "out"] == 20
    assert counted["aime_model_cost_total",] == pytest.approx((100 * 3 + 20 * 15) / 1e6)
    assert counted["aime_model_answers_total", "answered"] == 1
    assert [record["subject"] for record in audit] == [MODEL]
    assert SECRET not in json.dumps([answer, audit])


async def test_a_refused_request_shows_nothing_of_the_account(open_site: OpenSite) -> None:
    denied = fails(403, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/hub may not")
    async with scripted(denied) as server, open_site(config(server.url, '["answers"]')) as site:
        await site.add("reset", TEXT, title="Reset your password")
        answer = (await site.post("/query", {"query": "How do I reset my password?"})).json
        counted = await samples(site)
    assert answer["composition"]["fallback"] == "model_access_denied"
    assert "123456789012" not in json.dumps(answer)
    assert counted["aime_model_answers_total", "model_access_denied"] == 1
    assert counted["aime_model_failures_total",] == 1


async def test_texts_are_read_beside_everything_else(open_site: OpenSite) -> None:
    async with scripted(replies(works)) as server, open_site(config(server.url, '["extraction"]')) as site:
        await site.add("reset", TEXT, title="Reset your password")
        counted = await until(site, all_read)
        answer = (await site.post("/query", {"query": "How do I reset my password?"})).json
        entities = (await site.call("GET", "/graph/entities?text=settings")).json
    assert answer["composition"] is None, "it is used for extraction alone"
    assert "settings" in json.dumps(entities)
    assert counted["aime_extraction_failing",] == 0
    assert len(server.requests) == 1


async def test_a_model_that_is_down_makes_extraction_wait_and_nothing_else(open_site: OpenSite) -> None:
    async with scripted(fails(403, "AccessDeniedException")) as server:
        async with open_site(config(server.url, '["answers", "extraction"]')) as site:
            await site.add("reset", TEXT, title="Reset your password")
            await until(site, lambda found: found["aime_extraction_failing",] == 1)
            await site.add("more", "Parking is free on Sundays.")
            found = (await site.post("/query", {"query": "Is parking free on Sundays?"})).json
            assert found["sources"][0]["document_id"] == "more"
            lag = (await samples(site))["aime_extraction_lag_versions",]
        assert lag == 2


async def test_without_a_model_there_is_none_of_it(site: Site) -> None:
    await site.add("reset", TEXT, title="Reset your password")
    answer = (await site.post("/query", {"query": "How do I reset my password?"})).json
    assert answer["composition"] is None
    counted = await samples(site)
    assert not [name for name, *_ in counted if name.startswith("aime_model_")]


def test_the_keys_come_from_the_environment_or_a_file_and_show_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "plugins.toml"
    file.write_text(config("http://127.0.0.1:1", '["answers"]'))
    settings = load_config(file).model
    assert settings is not None
    assert SECRET not in repr(settings)
    assert SECRET not in repr(model_client(settings))
    (tmp_path / "key").write_text(SECRET + "\n")
    file.write_text(file.read_text().replace("${MODEL_SECRET}", "file:key"))
    from_file = load_config(file).model
    assert from_file == settings
    file.write_text(file.read_text().replace("file:key", SECRET))
    with pytest.raises(ConfigError, match="must not stand in the file") as raised:
        load_config(file)
    assert SECRET not in raised.value.message
