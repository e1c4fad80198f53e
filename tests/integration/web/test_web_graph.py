from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.integration.web.rig import Site

CALLBACKS = """
[hub.callbacks]
secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
"""


# ---------------------------------------------------------------- questions


async def test_a_question_is_answered_with_its_source(site: Site) -> None:
    await site.add("ada", "Ada Lovelace wrote the first program. It ran on the Analytical Engine.", title="Ada")
    answer = (await site.post("/query", {"query": "Who wrote the first program?"})).json
    assert answer["answer"] == "Ada Lovelace wrote the first program."
    assert answer["sources"][0]["document_id"] == "ada"
    assert answer["graph_version"] == 1
    assert 0 < answer["validation"]["groundedness_score"] <= 1


async def test_a_question_that_nothing_answers_is_abstained_with_a_reason(site: Site) -> None:
    answer = (await site.post("/query", {"query": "Who wrote the first program?"})).json
    assert answer["abstained"]
    assert answer["answer"] is None
    assert answer["reason"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "query"),
        ({"query": ""}, 422, "query"),
        ({"query": 7}, 422, "query"),
        ({"query": "x" * 100_000}, 422, "query"),
        ({"query": "x", "top_k": 0}, 422, "top_k"),
        ({"query": "x", "top_k": "5"}, 422, "top_k"),
        ({"query": "x", "top_k": 10**30}, 422, "top_k"),
        ({"query": "x", "filters": []}, 422, "filters"),
        ({"query": "x", "filters": {"date_range": {"since": "2026"}}}, 422, "filters.date_range.since"),
        ({"query": "x", "filters": {"access": "staff"}}, 422, "filters.access"),
        ({"query": "x", "filters": {"a": {"b": 1}}}, 422, "filters.a"),
        ({"query": "x", "filters": {"min_groundedness": 2}}, 422, "filters.min_groundedness"),
        ({"query": "x", "min_groundedness": 2}, 422, "min_groundedness"),
        ({"query": "x", "min_groundedness": 0.1, "filters": {"min_groundedness": 0.2}}, 422, "min_groundedness"),
        ({"query": "x", "min_version": -1}, 422, "min_version"),
        ({"query": "x", "filter": {}}, 422, "filter"),
        ({"query": "x", "callback_url": "http://example.com"}, 422, "callback_url"),
        (b'{"query": "x", "filters": {"a": 1e999}}', 422, "filters.a"),
        (b'{"query": "\\ud800"}', 400, "body"),
        (b'{"query": "x", "filters": {"a": NaN}}', 400, "body"),
        (b"{", 400, "body"),
        (b'"query"', 422, "body"),
    ],
)
async def test_a_question_asked_wrongly_names_the_field(site: Site, body: object, status: int, field: str) -> None:
    assert (await site.post("/query", body, status=status)).json["field"] == field


async def test_an_unknown_field_of_a_question_is_told_its_nearest_name(site: Site) -> None:
    problem = await site.post("/query", {"query": "x", "filter": {}}, status=422)
    assert "did you mean 'filters'?" in problem.json["detail"]


async def test_a_question_about_a_version_out_of_reach_is_422_or_410(site: Site) -> None:
    await site.add("a", "One.")
    await site.add("a", "Two.")
    await site.post("/query", {"query": "x", "as_of_version": 9}, status=422)
    await site.post("/admin/gc", {"before": 2})
    await site.post("/query", {"query": "x", "as_of_version": 1}, status=410)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "example.com",
        "http://",
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "http://10.1.2.3/",
        "javascript:alert(1)",
        "https://" + "a" * 3000 + ".example",
    ],
)
async def test_a_callback_that_may_not_be_reached_is_refused(open_site: Any, url: str) -> None:
    async with open_site(CALLBACKS) as site:
        problem = await site.post("/query", {"query": "Who?", "callback_url": url}, status=422)
        assert problem.json["field"] == "callback_url"
        assert await site.service.store.journal(1) == []


async def test_a_question_with_a_callback_is_durable_and_its_delivery_is_listed(open_site: Any) -> None:
    async with open_site(CALLBACKS) as site:
        body = {"query": "Who?", "callback_url": "https://receiver.example/answers?token=hunter2"}
        query_id = (await site.post("/query", body, status=202)).json["query_id"]
        async with asyncio.timeout(10):
            while not (found := (await site.call("GET", "/admin/deliveries")).json["deliveries"]):
                await site.service.wait_for_trail(0, 0.1)
        assert found[0]["subject"] == query_id
        assert found[0]["target"] == "https://receiver.example"
        detail = await site.call("GET", f"/admin/deliveries/{found[0]['id']}")
        assert detail.json["payload"]["query_id"] == query_id
        assert b"hunter2" not in detail.body


async def test_a_connector_that_is_not_there_cannot_be_asked(site: Site) -> None:
    await site.post("/ask/support", {"query": "Who?"}, status=404)
    await site.post("/hooks/support", {"id": 1}, status=404)


# ---------------------------------------------------------------- the graph


async def test_an_entity_is_found_and_read_with_its_documents_and_neighbours(site: Site) -> None:
    await site.add("ada", "Ada Lovelace wrote to Charles Babbage about the Analytical Engine.")
    found = (await site.call("GET", "/graph/entities?text=ada&limit=5")).json["entities"]
    assert [entity["name"] for entity in found] == ["Ada Lovelace"]
    entity = (await site.call("GET", f"/graph/entities/{found[0]['id']}")).json
    assert [document["document_id"] for document in entity["named_in"]] == ["ada"]
    assert "Charles Babbage" in {neighbour["name"] for neighbour in entity["neighbours"]}


async def entity_id(site: Site, name: str) -> str:
    found = (await site.call("GET", "/graph/entities", params={"text": name})).json["entities"]
    return str(found[0]["id"])


async def test_an_entitys_page_quotes_where_it_is_named_and_what_is_stated_of_it(site: Site) -> None:
    text = "It rained. Ada Lovelace wrote to Charles Babbage."
    await site.add(
        "ada", text, title="Letters", author="Mary Somerville", doi="10.1/x", product="Engine", tags=["mail"]
    )
    page = (await site.call("GET", f"/graph/entities/{await entity_id(site, 'Ada Lovelace')}")).json
    [mention] = page["mentions"]
    assert text[mention["start"] : mention["end"]] == "Ada Lovelace"
    assert mention["sentence"] == "Ada Lovelace wrote to Charles Babbage."
    assert mention["document_id"] == "ada"
    page = (await site.call("GET", f"/graph/entities/{await entity_id(site, 'Letters')}")).json
    stated = {(each["subject"]["name"], each["predicate"], each["object"]["name"]) for each in page["relations"]}
    assert stated == {
        ("Letters", "author", "Mary Somerville"),
        ("Letters", "doi", "10.1/x"),
        ("Letters", "product", "Engine"),
        ("Letters", "tag", "mail"),
    }


async def test_a_path_between_two_entities_is_quoted_step_by_step(site: Site) -> None:
    await site.add("ada", "It rained. Ada Lovelace wrote to Charles Babbage. It rained again.")
    await site.add("meeting", "Charles Babbage stayed.\n\nThere he met John Herschel.", title="A meeting")
    ends = {"from": await entity_id(site, "Ada Lovelace"), "to": await entity_id(site, "John Herschel")}
    answer = (await site.call("GET", "/graph/paths", params=ends)).json
    [[first, second]] = answer["paths"]
    assert first["quote"] == "Ada Lovelace wrote to Charles Babbage."
    assert (first["start"], first["end"], first["document_id"]) == (11, 49, "ada")
    assert (first["second"]["name"], second["first"]["name"]) == ("Charles Babbage", "Charles Babbage")
    assert second["quote"] == "Charles Babbage stayed.\n\nThere he met John Herschel."
    assert second["title"] == "A meeting"
    titled = {"from": await entity_id(site, "A meeting"), "to": await entity_id(site, "John Herschel")}
    [[step]] = (await site.call("GET", "/graph/paths", params=titled)).json["paths"]
    assert (step["first_in"], step["second_in"], step["quote"]) == ("title", "text", "There he met John Herschel.")
    none = {"from": ends["from"], "to": ends["to"], "max_length": "1"}
    assert (await site.call("GET", "/graph/paths", params=none)).json["paths"] == []


async def test_a_path_goes_by_a_title_that_another_text_names(site: Site) -> None:
    await site.add("a", "Luigi Menabrea described the difference engine.")
    await site.add("b", "It was built by George Scheutz.", title="Difference Engine")
    ends = {"from": await entity_id(site, "Luigi Menabrea"), "to": await entity_id(site, "George Scheutz")}
    [[first, _]] = (await site.call("GET", "/graph/paths", params=ends)).json["paths"]
    assert (first["second"]["name"], first["second_in"]) == ("Difference Engine", "text")
    assert first["quote"] == "Luigi Menabrea described the difference engine."


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"from": None}, 422, "from"),
        ({"to": None}, 422, "to"),
        ({"to": "0" * 16}, 404, ""),
        ({"from": "x"}, 404, ""),
        ({"max_length": "6"}, 422, "max_length"),
        ({"max_length": "0"}, 422, "max_length"),
        ({"limit": "51"}, 422, "limit"),
        ({"length": "3"}, 422, "length"),
    ],
)
async def test_a_path_asked_for_wrongly_names_the_field(
    site: Site, change: dict[str, str | None], status: int, field: str
) -> None:
    await site.add("ada", "Ada Lovelace wrote to Charles Babbage.")
    asked = {"from": await entity_id(site, "Ada"), "to": await entity_id(site, "Charles"), **change}
    params = {name: value for name, value in asked.items() if value is not None}
    problem = await site.call("GET", "/graph/paths", params=params, status=status)
    assert problem.json.get("field", "") == field


async def test_a_path_from_an_entity_to_itself_is_refused(site: Site) -> None:
    await site.add("ada", "Ada Lovelace wrote.")
    ada = await entity_id(site, "Ada")
    problem = await site.call("GET", "/graph/paths", params={"from": ada, "to": ada}, status=422)
    assert problem.json["field"] == "to"


async def test_an_answer_is_given_as_of_an_earlier_version(site: Site) -> None:
    await site.add("a", "The password is changed under Settings.")
    await site.add("a", "The password is changed under Security.")
    question = {"query": "Where is the password changed?"}
    now = (await site.post("/query", question)).json
    before = (await site.post("/query", {**question, "as_of_version": 1})).json
    assert (now["answer"], now["graph_version"]) == ("The password is changed under Security.", 2)
    assert (before["answer"], before["graph_version"]) == ("The password is changed under Settings.", 1)


async def test_the_newest_document_comes_first_when_that_is_asked_for(site: Site) -> None:
    for year in (2024, 2026, 2025):
        await site.add(str(year), f"The engine costs {year} pounds.", published_at=f"{year}-01-01")
    asked = await site.post("/query", {"query": "What does the engine currently cost in pounds?"})
    assert asked.json["sources"][0]["document_id"] == "2026"
    wanted = await site.post("/query", {"query": "What does the engine cost in pounds?", "newest": True})
    assert wanted.json["sources"][0]["document_id"] == "2026"
    await site.post("/query", {"query": "x", "newest": "yes"}, status=422)


@pytest.mark.parametrize("entity", ["0", "x" * 16, "f" * 16, "0" * 16, "-000000000000001", "%00", "0_00000000000000"])
async def test_an_entity_that_is_not_there_is_404(site: Site, entity: str) -> None:
    await site.call("GET", f"/graph/entities/{entity}", status=404)


async def test_changes_are_read_in_pages_up_to_the_head(site: Site) -> None:
    for number in range(3):
        await site.add(f"d{number}", f"Text {number}.", source="cms")
    await site.call("DELETE", "/documents/d0")
    page = (await site.call("GET", "/changes?after=1&limit=2")).json
    assert [(change["version"], change["op"]) for change in page["changes"]] == [(2, "upsert"), (3, "upsert")]
    last = (await site.call("GET", f"/changes?after={page['next']}")).json
    assert [(change["op"], change["document_id"]) for change in last["changes"]] == [("delete", "d0")]
    assert last["next"] == last["graph_version"] == 4


async def test_a_long_poll_answers_as_soon_as_something_changes(site: Site) -> None:
    async with asyncio.TaskGroup() as tasks:
        poll = tasks.create_task(site.call("GET", "/changes?after=0&wait=30"))
        await site.add("a")
    assert [change["document_id"] for change in poll.result().json["changes"]] == ["a"]


async def test_a_long_poll_in_which_nothing_changes_ends_empty(site: Site) -> None:
    page = (await site.call("GET", "/changes?after=0&wait=0.05")).json
    assert page == {"changes": [], "next": 0, "began": 0, "graph_version": 0}


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=99", "wait=61", "wait=nan", "limit=0", "aftr=1", "after=" + "9" * 30]
)
async def test_changes_that_are_asked_wrongly_are_422(site: Site, query: str) -> None:
    await site.call("GET", f"/changes?{query}", status=422)


async def test_who_begins_at_0_after_a_collection_reads_on_page_by_page(site: Site) -> None:
    for name in ("a", "b", "gone"):
        await site.add(name, f"About {name}.")
    await site.call("DELETE", "/documents/gone")
    await site.add("c", "About c.")
    await site.post("/admin/gc", {"before": 4})
    first = (await site.call("GET", "/changes?limit=1")).json
    assert [change["document_id"] for change in first["changes"]] == ["a"]
    second = (await site.call("GET", f"/changes?limit=9&after={first['next']}&began={first['began']}")).json
    assert [change["document_id"] for change in second["changes"]] == ["b", "c"]
    await site.call("GET", f"/changes?after={first['next']}", status=410)


async def test_changes_that_were_collected_are_410_and_the_log_is_read_anew_from_0(site: Site) -> None:
    for text in ("One.", "Two.", "Three."):
        await site.add("a", text)
    await site.post("/admin/gc", {"before": 3})
    gone = (await site.call("GET", "/changes?after=1", status=410)).json
    assert "from 0" in gone["detail"]
    assert [change["version"] for change in (await site.call("GET", "/changes?after=0")).json["changes"]] == [3]


@asynccontextmanager
async def stream(site: Site, query: str = "", **headers: str) -> AsyncIterator[aiohttp.StreamReader]:
    accept = {"Accept": "text/event-stream", **headers}
    async with asyncio.timeout(20), site.session.get(f"{site.server.url}/changes{query}", headers=accept) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield response.content


async def next_event(content: aiohttp.StreamReader) -> dict[str, str]:
    event: dict[str, str] = {}
    while line := (await content.readline()).decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name == "" and event.get("event"):
            return event
        event[name] = value
    return event


async def test_the_stream_of_changes_begins_with_what_is_there_and_goes_on(site: Site) -> None:
    await site.add("a")
    async with stream(site) as content:
        first = await next_event(content)
        await site.add("b")
        second = await next_event(content)
    assert [first["id"], second["id"]] == ["1", "2"]
    assert json.loads(second["data"])["document_id"] == "b"


async def test_a_stream_is_resumed_after_the_last_event_that_was_seen(site: Site) -> None:
    for name in ("a", "b", "c"):
        await site.add(name, f"About {name}.")
    async with stream(site, **{"Last-Event-ID": "2"}) as content:
        assert (await next_event(content))["id"] == "3"


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "٣", "9" * 40, "7"])
async def test_a_stream_cannot_be_resumed_from_nonsense(site: Site, last: str) -> None:
    await site.call("GET", "/changes", headers={"Accept": "text/event-stream", "Last-Event-ID": last}, status=422)


async def test_closing_the_server_ends_streams_and_long_polls_soon(site: Site) -> None:
    await site.add("a")
    loop = asyncio.get_running_loop()
    async with stream(site) as content:
        await next_event(content)
        async with asyncio.TaskGroup() as tasks:
            poll = tasks.create_task(site.call("GET", "/changes?after=1&wait=60"))
            while site.server.in_flight < 2:  # noqa: ASYNC110 - a number, and the next turn of the loop moves it
                await asyncio.sleep(0)
            began = loop.time()
            await site.server.close()
        assert await content.read() == b""
    assert loop.time() - began < 5
    assert poll.result().json["changes"] == []


@pytest.mark.parametrize("id_", ["Ada Lovelace", "0x00000000000001", "+000000000000001", "\uff11" * 16, "12"])
async def test_what_is_no_entity_id_is_answered_with_how_to_find_one(site: Site, id_: str) -> None:
    answer = await site.call("GET", "/graph/paths", params={"from": id_, "to": "0" * 16}, status=404)
    assert "GET /graph/entities?text=NAME" in answer.json["detail"]
