"""Answers in a connector's form that were promised to a callback arrive, however often the hub is killed before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.faults.rig import HubProcess, Receiver, config, journalled, until

ASKED = 40
SETTLE_SECONDS = 60.0
QUESTION = "Who founded the Lowmere Works?"
DOCUMENT = {
    "document_id": "works",
    "content": "Ada Kerrin founded the Lowmere Works in 1911.",
    "metadata": {"source": "files", "title": "Lowmere Works", "author": "Jo Wend"},
}


async def test_answers_in_a_form_survive_kills_in_the_journal_and_on_their_way(
    tmp_path: Path, make_hub: Callable[..., HubProcess], receiver: Receiver
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    forms = f"""answers.form = "support"
[connectors.papers]
kind = "filesystem"
path = "{folder}"
answers.form = "research"
answers.sources = ["files"]
answers.min_groundedness = 0.5
"""
    hub = make_hub(config(folder=folder, receiver=receiver) + forms)
    await hub.start()
    assert (await hub.call("POST", "/documents", json=DOCUMENT))[0] == 200

    body = {"query": QUESTION, "callback_url": receiver.url}
    refused: set[str] = set()

    def refuse(arrival: object) -> bool:
        refused.add(getattr(arrival, "id", ""))
        return True

    receiver.refuse = refuse
    accepted = await asyncio.gather(
        *(hub.call("POST", "/ask/files", json=body) for _ in range(ASKED)),
        *(hub.call("POST", "/ask/papers", json=body) for _ in range(ASKED)),
    )
    await hub.kill()
    assert {status for status, _ in accepted} == {202}
    asked = {answer["query_id"] for _, answer in accepted}
    assert len(asked) == 2 * ASKED
    assert await journalled(hub.store), "all was answered before the kill, which then shows nothing"

    # The second life answers, and finds a receiver that takes nothing.
    await hub.start()
    await until(lambda: len(refused) > 0, within=SETTLE_SECONDS, what="the receiver is tried")

    async def answered() -> bool:
        _, deliveries = await hub.call("GET", "/admin/deliveries?limit=500&state=pending")
        return sum(item["event"] == "query.answered" for item in deliveries["deliveries"]) == 2 * ASKED

    await until(answered, within=SETTLE_SECONDS, what="every answer is on its way")
    await hub.kill()
    assert receiver.arrivals == []

    receiver.refuse = lambda _: False
    await hub.start()
    told = {}

    def all_told() -> bool:
        told.update({arrival.data.get("query_id"): arrival for arrival in receiver.arrivals})
        # What was refused waits for its turn to be tried again; the document's own notification is among it.
        return asked <= told.keys() and refused <= {arrival.id for arrival in receiver.arrivals}

    await until(
        all_told, within=SETTLE_SECONDS, what="every answer arrives, each refused one under the same webhook-id"
    )
    assert await hub.terminate() == 0
    assert await journalled(hub.store) == 0
    assert receiver.forged == 0
    assert len({arrival.id for arrival in receiver.arrivals if "query_id" in arrival.data}) == 2 * ASKED
    answers = [told[id_].data for id_ in asked]
    assert {data["answer"] for data in answers} == {DOCUMENT["content"]}
    assert sum("confidence" in data and data["connector"] == "files" for data in answers) == ASKED
    assert sum(data.get("papers", [{}])[0].get("authors") == ["Jo Wend"] for data in answers) == ASKED
