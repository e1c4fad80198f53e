"""What is sent: which events go to which endpoint, and in what form."""

from __future__ import annotations

from datetime import datetime

from core.service import GraphService
from core.store.base import DeliveryState
from hub.net import Network
from tests.integration.notify.rig import (
    dispatching,
    endpoint,
    put,
    receiving,
    stored,
)


async def test_every_commit_arrives_signed_and_flat(service: GraphService, network: Network) -> None:
    async with receiving() as crm, dispatching(service, endpoint(network, crm)):
        await put(service, "cms-1", "Hello.")
        await service.delete_document("cms-1")
        await crm.until(lambda: len(crm.got) == 2)
    processed, deleted = crm.got
    assert processed["type"] == "document.processed"
    assert (processed["document_id"], processed["status"], processed["graph_version"]) == ("cms-1", "processed", 1)
    assert processed["source"] == "test"
    assert datetime.fromisoformat(processed["timestamp"]).tzinfo is not None
    assert (deleted["type"], deleted["document_id"], deleted["graph_version"]) == ("document.deleted", "cms-1", 2)
    assert [delivery.state for delivery in await stored(service)] == [DeliveryState.DELIVERED] * 2


async def test_an_endpoint_hears_only_of_the_events_that_it_asks_for(service: GraphService, network: Network) -> None:
    async with receiving() as some, receiving() as other:
        a = endpoint(network, some, "a", events=["document.unchanged", "document.rejected"])
        b = endpoint(network, other, "b", events=["document.deleted"])
        async with dispatching(service, a, b):
            await put(service, "1", "same")
            await put(service, "1", "same")
            [_ async for _ in service.process_documents([{"document_id": "2", "content": 3}])]
            await service.delete_document("1")
            await some.until(lambda: len(some.got) == 2)
            await other.until(lambda: len(other.got) == 1)
    assert {got["type"] for got in some.got} == {"document.unchanged", "document.rejected"}
    assert [got["type"] for got in other.got] == ["document.deleted"]


async def test_a_new_endpoint_begins_at_the_head_and_a_known_one_where_it_stood(
    service: GraphService, network: Network
) -> None:
    async with receiving() as old, receiving() as new:
        await put(service, "before", "any endpoint")
        async with dispatching(service, endpoint(network, old, "old")) as dispatcher:
            await put(service, "with", "the first endpoint")
            await old.until(lambda: len(old.got) == 1)
            both = {"old": endpoint(network, old, "old"), "new": endpoint(network, new, "new")}
            await dispatcher.set_endpoints(both)
            await put(service, "then", "both")
            await old.until(lambda: len(old.got) == 2)
            await new.until(lambda: len(new.got) == 1)
        await put(service, "while", "the dispatcher is stopped")
        async with dispatching(service, *both.values()):
            await old.until(lambda: len(old.got) == 3)
            await new.until(lambda: len(new.got) == 2)
    assert [got["document_id"] for got in old.got] == ["with", "then", "while"]
    assert [got["document_id"] for got in new.got] == ["then", "while"]


async def test_an_endpoint_that_was_broken_for_a_while_missed_nothing(service: GraphService, network: Network) -> None:
    async with receiving() as crm, receiving() as other:
        good, mended = endpoint(network, other, "other"), endpoint(network, crm)
        async with dispatching(service, good, mended):
            await put(service, "before", "both work")
            await crm.until(lambda: len(crm.got) == 1)
        async with dispatching(service, good, broken=["crm", "never-worked"]) as restarted:
            await put(service, "while", "its plugin does not import")
            await other.until(lambda: len(other.got) == 2)
            await restarted.set_endpoints({"other": good, "crm": mended})
            await put(service, "after", "both work again")
            await crm.until(lambda: len(crm.got) == 3)
    assert [got["document_id"] for got in crm.got] == ["before", "while", "after"]


async def test_an_endpoint_that_is_no_longer_configured_is_forgotten(service: GraphService, network: Network) -> None:
    async with receiving() as crm, receiving() as other:
        good, back = endpoint(network, other, "other"), endpoint(network, crm)
        async with dispatching(service, good, back) as dispatcher:
            await dispatcher.set_endpoints({"other": good})
            await put(service, "while", "it is gone")
            await other.until(lambda: len(other.got) == 1)
            await dispatcher.set_endpoints({"other": good, "crm": back})
            await put(service, "after", "it is back")
            await crm.until(lambda: len(crm.got) == 1)
    assert [got["document_id"] for got in crm.got] == ["after"]
