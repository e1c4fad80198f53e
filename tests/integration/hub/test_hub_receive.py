"""Receiving: an inbound webhook is answered after the commit of what it brings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import Busy, ConnectorError, InvalidInput, NotFound, PermanentDocumentError, VerificationFailed
from core.model import Delete, Status
from hub.runtime import InstanceState
from hub.sdk import Change, InboundRequest
from tests.integration.hub.rig import Hook, Source, doc, failure, running, stored


def request(body: bytes = b"") -> InboundRequest:
    return InboundRequest("POST", "/hooks/h", {}, {}, body, datetime.now(UTC))


def raising(error: Exception) -> Hook:
    def answer(_: InboundRequest) -> Sequence[Change]:
        raise error

    return Hook(answer)


async def test_its_changes_are_durable_when_the_call_returns(tmp_path: Path) -> None:
    hook = Hook(lambda request: [doc(request.body.decode()), Delete("gone"), failure("bad")])
    async with running(tmp_path, {"h": hook}) as hub:
        assert hub.instances["h"].status.state is InstanceState.RUNNING
        results = await hub.receive("h", request(b"a"), "key-1")
        assert [result.status for result in results] == [Status.PROCESSED, Status.NOT_FOUND, Status.REJECTED]
        found = (await stored(hub.service))["a"]
        assert (found.origin, found.metadata.source) == ("h", "h")
        [trail] = await hub.service.store.audit(action="document.processed")
        assert trail.record.actor == "key-1"
        assert [entry.document_id for entry in await hub.quarantine.list()] == ["bad"]


@pytest.mark.parametrize(
    "error", [VerificationFailed("the signature does not fit"), InvalidInput("is missing", field="id")]
)
async def test_what_the_connector_refuses_is_passed_on(tmp_path: Path, error: Exception) -> None:
    async with running(tmp_path, {"h": raising(error)}) as hub:
        with pytest.raises(type(error)) as raised:
            await hub.receive("h", request(), "key-1")
        assert raised.value is error


async def test_a_document_that_the_connector_gives_up_on_is_a_rejected_result(tmp_path: Path) -> None:
    async with running(tmp_path, {"h": raising(PermanentDocumentError("a", "is encrypted"))}) as hub:
        [result] = await hub.receive("h", request(), "key-1")
        assert (result.document_id, result.status) == ("a", Status.REJECTED)


@pytest.mark.parametrize("defect", [ZeroDivisionError("hush"), TimeoutError("hush")])
async def test_a_defect_of_the_connector_is_an_error_that_shows_none_of_the_request(
    tmp_path: Path, defect: Exception
) -> None:
    async with running(tmp_path, {"h": raising(defect)}) as hub:
        with pytest.raises(ConnectorError, match="'h' failed on this request") as raised:
            await hub.receive("h", request(b"hush"), "key-1")
        assert "hush" not in str(raised.value)


async def test_a_paused_instance_sends_the_caller_away_for_a_while(tmp_path: Path) -> None:
    async with running(tmp_path, {"h": Hook(lambda _: [doc("a")])}) as hub:
        await hub.pause("h")
        with pytest.raises(Busy) as raised:
            await hub.receive("h", request(), "key-1")
        assert raised.value.retry_after >= 1
        assert await stored(hub.service) == {}
        await hub.resume("h")
        await hub.receive("h", request(), "key-1")


async def test_only_receiving_instances_take_webhooks(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source()}) as hub:
        for name in ("s", "nobody"):
            with pytest.raises(NotFound):
                await hub.receive(name, request(), "key-1")
