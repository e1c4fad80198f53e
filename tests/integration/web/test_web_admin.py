from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.web.rig import OpenSite, Site


def connectors(folder: Path) -> str:
    return f"""
[connectors.notes]
kind = "filesystem"
path = "{folder}"

[connectors.crm]
kind = "webhook"
notify.url = "https://crm.example.invalid/hook"
notify.secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "ada.md").write_text("# Ada\n\nAda Lovelace wrote the first program.\n")
    return folder


async def test_connectors_are_listed_run_paused_resumed_and_checked(open_site: OpenSite, notes: Path) -> None:
    async with open_site(connectors(notes)) as site:
        listed = (await site.call("GET", "/admin/connectors")).json["connectors"]
        assert {connector["name"]: connector["kind"] for connector in listed} == {
            "notes": "filesystem",
            "crm": "webhook",
        }
        (notes / "bob.md").write_text("# Bob\n\nBob reads it.\n")
        report = (await site.call("POST", "/admin/connectors/notes/run?wait=true")).json
        assert report["error"] is None
        assert await site.service.head() == 2
        assert (await site.call("POST", "/admin/connectors/notes/pause")).json["state"] == "paused"
        await site.call("POST", "/admin/connectors/notes/run", status=422)
        assert (await site.call("POST", "/admin/connectors/notes/resume")).json["state"] != "paused"
        assert (await site.call("POST", "/admin/connectors/notes/check")).json["ok"]
        for action in ("connector.run", "connector.paused", "connector.resumed"):
            assert [record["subject"] for record in await site.audit(action)] == ["notes"], action


async def test_what_is_not_there_is_404(site: Site) -> None:
    for path in (
        "/admin/connectors/x/run",
        "/admin/connectors/x/pause",
        "/admin/connectors/x/resume",
        "/admin/connectors/x/check",
        "/admin/endpoints/x/test",
        "/admin/endpoints/x/disable",
        "/admin/endpoints/x/enable",
        "/admin/deliveries/x/replay",
    ):
        assert (await site.call("POST", path, status=404)).json["code"] == "not_found", path
    await site.call("GET", "/admin/deliveries/x", status=404)
    await site.call("DELETE", "/admin/keys/x", status=404)
    for action in ("retry", "drop"):
        await site.post(f"/admin/quarantine/{action}", {"connector": "x", "document_id": "y"}, status=404)


async def test_a_message_that_was_set_aside_is_read_in_base64_and_dropped(open_site: OpenSite) -> None:
    async with open_site() as site:
        await site.hub.quarantine.keep("q", b"\xff no json", "the body is not UTF-8 at byte 0")
        [entry] = (await site.call("GET", "/admin/quarantine")).json["documents"]
        assert entry["message_bytes"] == 9
        names = {"connector": "q", "document_id": entry["document_id"]}
        message = (await site.call("GET", "/admin/quarantine/message", params=names)).json
        assert base64.b64decode(message["message"]) == b"\xff no json"
        await site.post("/admin/quarantine/retry", names, status=422)
        await site.post("/admin/quarantine/drop", names)
        await site.call("GET", "/admin/quarantine/message", params=names, status=404)


async def test_an_endpoint_is_listed_disabled_and_enabled_and_its_secret_is_not_shown(
    open_site: OpenSite, notes: Path
) -> None:
    async with open_site(connectors(notes)) as site:
        listed = await site.call("GET", "/admin/endpoints")
        endpoint = next(each for each in listed.json["endpoints"] if each["name"] == "crm")
        assert "document.processed" in endpoint["events"]
        assert b"whsec" not in listed.body
        disabled = (await site.call("POST", "/admin/endpoints/crm/disable")).json["endpoints"]
        assert next(each for each in disabled if each["name"] == "crm")["state"] == "disabled"
        enabled = (await site.call("POST", "/admin/endpoints/crm/enable")).json["endpoints"]
        assert next(each for each in enabled if each["name"] == "crm")["state"] != "disabled"
        outcome = (await site.call("POST", "/admin/endpoints/crm/test")).json
        assert not outcome["delivered"]
        assert outcome["error"]


async def test_a_delivery_is_listed_shown_and_replayed(open_site: OpenSite, notes: Path) -> None:
    async with open_site(connectors(notes)) as site:
        await site.call("POST", "/admin/endpoints/crm/disable")
        await site.add("a", "Grace Hopper found a moth.", source="cms")
        async with asyncio.timeout(10):
            while not (found := (await site.call("GET", "/admin/deliveries?document_id=a")).json["deliveries"]):
                await site.service.wait_for_trail(0, 0.1)
        (delivery,) = found
        assert (delivery["endpoint"], delivery["event"], delivery["state"]) == ("crm", "document.processed", "pending")
        detail = (await site.call("GET", f"/admin/deliveries/{delivery['id']}")).json
        assert detail["payload"]["document_id"] == "a"
        replayed = (await site.call("POST", f"/admin/deliveries/{delivery['id']}/replay")).json
        assert replayed["id"] == delivery["id"]
        pending = (await site.call("GET", "/admin/endpoints")).json["endpoints"]
        assert next(each for each in pending if each["name"] == "crm")["pending"] >= 1


async def test_the_audit_trail_is_read_in_pages_newest_first(site: Site) -> None:
    for number in range(5):
        await site.add(f"d{number}")
    first = (await site.call("GET", "/admin/audit?action=document.processed&limit=3")).json
    assert [record["subject"] for record in first["audit"]] == ["d4", "d3", "d2"]
    rest = (await site.call("GET", f"/admin/audit?action=document.processed&limit=3&before={first['next']}")).json
    assert [record["subject"] for record in rest["audit"]] == ["d1", "d0"]
    assert rest["next"] is None


async def test_history_is_collected_up_to_a_version_that_exists(site: Site) -> None:
    await site.add("a", "One.")
    await site.add("a", "Two.")
    await site.post("/admin/gc", {"before": 9}, status=422)
    assert (await site.post("/admin/gc", {"before": 2})).json == {"documents": 1, "floor": 2}


async def test_the_status_tells_what_the_hub_does(site: Site) -> None:
    await site.add("a")
    status = (await site.call("GET", "/admin/status")).json
    assert (status["graph_version"], status["floor"], status["keys_required"]) == (1, 0, False)
    await site.make_key("read")
    headers = {"Authorization": f"Bearer {site.server.run_token.get_secret_value()}"}
    assert (await site.call("GET", "/admin/status", headers=headers)).json["keys_required"]


async def test_the_export_is_the_graph(site: Site) -> None:
    await site.add("a", "Ada Lovelace wrote the first program.")
    graph = json.loads((await site.call("GET", "/admin/export")).body)
    assert [document["document_id"] for document in graph["documents"]] == ["a"]
    assert (await site.call("GET", "/admin/export?format=graphml")).body.startswith(b"<?xml")


# ---------------------------------------------------------------- health and metrics


async def test_the_hub_is_alive_and_soon_ready(site: Site) -> None:
    assert (await site.call("GET", "/healthz")).json == {"status": "ok"}
    async with asyncio.timeout(10):
        while (await site.call("GET", "/readyz", status=None)).status != 200:
            await site.service.query("warm up")
    await site.add("a")
    assert (await site.call("GET", "/readyz")).json == {"status": "ready", "graph_version": 1}


async def test_metrics_count_what_happened(site: Site) -> None:
    await site.add("a")
    await site.post("/documents", b"{", status=400)
    await site.call("GET", "/nothing/here", status=404)
    text = (await site.call("GET", "/metrics")).body.decode()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["aime_http_requests_total", "/documents", "200", "POST"] == 1
    assert samples["aime_http_requests_total", "/documents", "400", "POST"] == 1
    assert samples["aime_http_requests_total", "404", "any", "unmatched"] == 1
    assert samples["aime_graph_version",] == 1
    assert samples["aime_queue_documents",] == 0
    assert samples["aime_http_requests_in_flight",] == 1
    assert "aime_event_loop_lag_max_seconds" in text


async def test_the_description_and_its_page_need_no_key(site: Site) -> None:
    await site.make_key("read")
    spec = await site.call("GET", "/openapi.json")
    assert spec.json["openapi"] == "3.1.0"
    docs = await site.call("GET", "/docs")
    assert docs.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in docs.headers["Content-Security-Policy"]
