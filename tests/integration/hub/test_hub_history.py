"""What a hub lets go of by age, seen by the clock of one that starts two months later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.service import GraphService, create_graph_service
from core.store.base import Attempt, AuditRecord, ChangeSet, DeliveryState, NewDelivery
from hub.config import load_config
from hub.history import trim_audit
from hub.net import Network
from hub.notify.follower import Follower
from hub.runtime import Hub
from tests.integration.hub.rig import until
from tests.integration.notify.rig import Receiver, endpoint, put

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=60)


async def subjects(service: GraphService) -> list[str]:
    return [record.record.subject for record in await service.store.trail(0, 100)]


async def test_notifications_that_arrived_and_old_audit_records_go(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text("[hub]\nkeep_deliveries = '30d'\nkeep_audit = '30d'\n")
    async with await create_graph_service(f"sqlite:{tmp_path / 'test.db'}") as service:
        made = [NewDelivery(id_, "crm", "document.processed", id_, "{}", LATER) for id_ in ("arrived", "waiting")]
        await service.write(ChangeSet(deliveries=tuple(made), audit=(AuditRecord("hub", "query.answered", "old"),)))
        await service.write(ChangeSet(attempts=(Attempt("arrived", NOW, 0.1, DeliveryState.DELIVERED, NOW, 204),)))

        async with Hub(load_config(path), service=service, now=lambda: LATER):

            async def trimmed() -> bool:
                return "old" not in await subjects(service) and await service.store.delivery("arrived") is None

            await until(trimmed)
        assert await service.store.delivery("waiting") is not None


async def test_without_a_setting_the_trail_is_kept_for_good(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text("")
    async with await create_graph_service(f"sqlite:{tmp_path / 'test.db'}") as service:
        await service.process_document(document_id="a", content="Version 1.")
        await service.process_document(document_id="a", content="Version 2.")
        async with Hub(load_config(path), service=service, now=lambda: LATER):
            await until(service.store.floor)
        assert (await subjects(service))[:2] == ["a", "a"]


async def test_what_notifications_are_still_to_be_made_of_stays_in_the_trail(tmp_path: Path) -> None:
    async with await create_graph_service(f"sqlite:{tmp_path / 'test.db'}") as service, Network() as network:
        follower = Follower(service)
        await follower.watch([endpoint(network, Receiver(url="http://127.0.0.1:9/"))])
        await put(service, "a", "text")
        await follower.step()
        await put(service, "b", "text")

        await trim_audit(service, LATER)

        assert await subjects(service) == ["b"]
        await follower.step()
        assert [delivery.subject for delivery in await service.store.deliveries()] == ["b", "a"]
