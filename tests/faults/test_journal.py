"""What was accepted with 202 and not done yet when the hub was killed is done after the next start, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from core.model import Op
from core.service import create_graph_service
from tests.faults.rig import HubProcess, Receiver, config, journalled, until

ACCEPTED = 40
SETTLE_SECONDS = 30.0


async def test_documents_and_questions_that_were_accepted_survive_a_kill_and_are_done_once(
    make_hub: Callable[..., HubProcess], receiver: Receiver
) -> None:
    hub = make_hub(config(receiver=receiver))
    await hub.start()
    asks = {"query": "Who founded the Lowmere Works?", "callback_url": receiver.url}
    status, _ = await hub.call("POST", "/documents", json=document(0))
    assert status == 200

    accepted = await asyncio.gather(
        *(hub.call("POST", "/documents?wait=false", json=document(n)) for n in range(1, ACCEPTED)),
        *(hub.call("POST", "/query", json=asks) for _ in range(ACCEPTED)),
    )
    await hub.kill()
    assert {status for status, _ in accepted} == {202}
    queries = {answer["query_id"] for _, answer in accepted if "query_id" in answer}
    assert len(queries) == ACCEPTED
    assert await journalled(hub.store), "all was done before the kill, which then shows nothing"

    await hub.start()
    await until(
        lambda: queries <= {arrival.data.get("query_id") for arrival in receiver.arrivals},
        within=SETTLE_SECONDS,
        what="every question that was accepted is answered",
    )

    async def all_committed() -> bool:
        _, version = await hub.call("GET", "/graph/version")
        return bool(version["graph_version"] >= ACCEPTED)

    await until(all_committed, within=SETTLE_SECONDS, what="every document that was accepted is committed")
    assert await hub.terminate() == 0

    assert receiver.forged == 0
    ids = {(arrival.data["query_id"], arrival.id) for arrival in receiver.arrivals if "query_id" in arrival.data}
    assert len(ids) == ACCEPTED, "one webhook-id for each question, whenever its answer was sent"
    async with await create_graph_service(f"sqlite:{hub.store}") as service:
        log = await service.changes(0, limit=1000)
    assert await journalled(hub.store) == 0
    assert Counter((entry.op, entry.document_id) for entry in log) == {
        (Op.UPSERT, document(n)["document_id"]): 1 for n in range(ACCEPTED)
    }


def document(number: int) -> dict[str, str]:
    return {"document_id": f"journalled-{number}", "content": f"Ada Kerrin founded the Lowmere Works, part {number}."}
