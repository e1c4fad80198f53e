"""`POST /ask/{connector}`: the forms that a configuration names, and answers that come later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hub.plugins import Plugins
from tests.faults.rig import SECRET, Receiver, receiving, until
from tests.integration.web import oracle
from tests.integration.web.rig import OpenSite, Site

FORMS = f"""
[hub]
callbacks.secret = "{SECRET}"
callbacks.allow_networks = ["127.0.0.0/8"]

[connectors.desk]
kind = "filesystem"
path = "{{folder}}"
answers.form = "support"

[connectors.papers]
kind = "filesystem"
path = "{{folder}}"
answers.form = "research"
answers.sources = ["journal", "desk"]
answers.min_groundedness = 0.6

[connectors.delphi]
kind = "oracle"
"""
QUESTION = "How is a password reset?"


@pytest.fixture
async def site(open_site: OpenSite, tmp_path: Path) -> AsyncIterator[Site]:
    folder = tmp_path / "folder"
    folder.mkdir()
    plugins = Plugins(
        [
            EntryPoint("oracle", oracle.__name__, "aime.connectors"),
            EntryPoint("filesystem", "connectors.filesystem.connector", "aime.connectors"),
        ]
    )
    async with open_site(FORMS.format(folder=folder), plugins=plugins) as site:
        await site.add("d", "A password is reset in the settings.", source="desk", title="Passwords")
        await site.add(
            "j", "Tides follow the moon by six hours.", source="journal", author="Bo Lind", published_at="2020-01-01"
        )
        await site.add("o", "A password is reset by the oracle.", source="other")
        yield site


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def test_the_documents_of_a_connector_are_asked_in_the_form_that_its_table_names(site: Site) -> None:
    answer = (await site.post("/ask/desk", {"query": QUESTION})).json
    assert answer["answer"] == "A password is reset in the settings."
    assert [source["document_id"] for source in answer["sources"]] == ["d"]
    assert 0.5 < answer["confidence"] <= 1
    connectors = (await site.call("GET", "/admin/connectors")).json["connectors"]
    assert {item["name"]: "answers" in item["modes"] for item in connectors} == {
        "desk": True,
        "papers": True,
        "delphi": True,
    }


async def test_a_form_may_answer_from_several_sources(site: Site) -> None:
    body = {"query": "When do tides follow the moon?", "date_range": {"from": "2019-01-01"}}
    answer = (await site.post("/ask/papers", body)).json
    assert answer["answer"] == "Tides follow the moon by six hours."
    assert [(paper["document_id"], paper["authors"]) for paper in answer["papers"]] == [("j", ["Bo Lind"])]
    assert answer["validation"]["groundedness_score"] >= 0.6
    body["date_range"] = {"from": "2021-01-01"}
    assert (await site.post("/ask/papers", body)).json["answer"] is None


async def test_an_asker_sees_no_more_in_a_form_than_anywhere_else(site: Site) -> None:
    await site.add("d", "A password is reset in the settings.", source="desk", title="Passwords", access=["staff"])
    site.key = await site.make_key("read")
    answer = await site.post("/ask/desk", {"query": QUESTION})
    assert answer.json["answer"] is None
    assert b"settings" not in answer.body
    assert b"settings" not in (await site.post("/ask/papers", {"query": QUESTION})).body
    site.key = await site.make_key("read", principals=("staff",))
    assert (await site.post("/ask/desk", {"query": QUESTION})).json["answer"]


@pytest.mark.parametrize("callback", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/ask/desk", {"query": " "}, "query"),
        ("/ask/desk", {"query": QUESTION, "who": "me"}, "who"),
        ("/ask/desk", {"query": QUESTION, "filters": {"source": "other"}}, "filters.source"),
        ("/ask/desk", {"query": QUESTION, "min_groundedness": 7}, "min_groundedness"),
        ("/ask/papers", {"query": QUESTION, "date_range": {"from": "2026-01-01", "to": "2025-01-01"}}, "date_range"),
        ("/ask/papers", {"query": QUESTION, "date_range": {"to": "then"}}, "date_range.to"),
        ("/ask/delphi", {"query": " "}, "query"),
    ],
)
async def test_what_does_not_fit_is_refused_by_field_before_anything_is_accepted(
    site: Site, path: str, body: dict[str, object], field: str, callback: bool
) -> None:
    if callback:
        body = {**body, "callback_url": "http://127.0.0.1:9/hook"}
    answer = await site.post(path, body, status=None)
    if field == "filters.source" and callback:
        assert answer.status == 202, "the sources are the form's own affair, and told to the callback"
        return
    assert (answer.status, answer.json["field"]) == (422, field)
    assert await site.service.store.journal(1) == []


async def test_an_answer_in_a_form_is_sent_to_a_callback(site: Site, receiver: Receiver) -> None:
    body = {"query": QUESTION, "callback_url": receiver.url}
    accepted = {
        name: (await site.post(f"/ask/{name}", body, status=202)).json["query_id"]
        for name in ("desk", "papers", "delphi")
    }
    await until(lambda: len(receiver.arrivals) == 3, within=10, what="all three are answered")
    told = {arrival.data["query_id"]: arrival.data for arrival in receiver.arrivals}
    assert {name: told[id_]["connector"] for name, id_ in accepted.items()} == {name: name for name in accepted}
    assert {data["type"] for data in told.values()} == {"query.answered"}
    desk = (await site.post("/ask/desk", {"query": QUESTION})).json
    assert desk.items() <= told[accepted["desk"]].items()
    assert "papers" in told[accepted["papers"]]
    assert told[accepted["delphi"]]["prophecy"]


async def test_what_a_connector_refuses_later_is_told_to_the_callback(site: Site, receiver: Receiver) -> None:
    await site.post("/ask/delphi", {"query": "read", "callback_url": receiver.url}, status=202)
    await until(lambda: bool(receiver.arrivals), within=10, what="it is told")
    told = receiver.arrivals[0].data
    assert (told["status"], told["error"]["field"], told["connector"]) == ("failed", "type", "delphi")


async def test_a_callback_that_could_not_be_reached_is_refused(site: Site) -> None:
    body = {"query": QUESTION, "callback_url": "http://10.0.0.1/hook"}
    assert (await site.post("/ask/desk", body, status=422)).json["field"] == "callback_url"
    assert (await site.post("/ask/nobody", body, status=404)).json["code"] == "not_found"
