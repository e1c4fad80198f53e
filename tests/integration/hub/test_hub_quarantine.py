"""Messages in the quarantine: whole, once, within bounds, and given back as they came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import InvalidInput, NotFound
from core.model import Problem, ProcessResult, Status
from core.service import GraphService
from core.store.base import ChangeSet
from hub import quarantine as module
from hub.quarantine import MAX_MESSAGE_BYTES, Quarantine, Records
from tests.integration.hub.rig import audited, running, stored, until


async def test_a_message_is_kept_once_however_often_it_comes_and_given_back_as_it_came(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        for _ in range(3):
            assert await hub.quarantine.keep("q", b"\xff\x00", "is no JSON")
        [entry] = await hub.quarantine.list()
        assert (entry.connector, entry.error, entry.message_bytes) == ("q", "is no JSON", 2)
        assert (await hub.quarantine.message("q", entry.document_id)).message == b"\xff\x00"
        assert await audited(hub.service) == [f"message.quarantined {entry.document_id}"] * 3
        with pytest.raises(InvalidInput, match="publish it again mended"):
            await hub.quarantine.retry("q", entry.document_id, actor="test")
        await hub.quarantine.drop("q", entry.document_id, actor="test")
        with pytest.raises(NotFound):
            await hub.quarantine.message("q", entry.document_id)


async def test_what_has_no_room_is_not_kept_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MESSAGES_BYTES", 2 * MAX_MESSAGE_BYTES)
    async with running(tmp_path) as hub:
        assert not await hub.quarantine.keep("q", b"x" * (MAX_MESSAGE_BYTES + 1), "too large")
        first = b"a" * MAX_MESSAGE_BYTES
        assert await hub.quarantine.keep("q", first, "poison")
        assert await hub.quarantine.keep("q", b"b" * MAX_MESSAGE_BYTES, "poison")
        assert not await hub.quarantine.keep("q", b"c", "one too many")
        assert await hub.quarantine.keep("q", first, "comes again")
        again = Quarantine(hub.service)
        await again.open()
        assert not await again.keep("q", b"c", "a restart makes no room")
        [entry, _] = await again.list()
        await again.drop("q", entry.document_id, actor="test")
        assert await again.keep("q", b"c", "there is room now")
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    monkeypatch.setattr(module, "MAX_MESSAGES_BYTES", 64 * MAX_MESSAGE_BYTES)
    async with running(tmp_path) as hub:
        assert not await hub.quarantine.keep("q", b"d", "one entry too many")


async def test_a_list_of_what_was_set_aside_holds_no_messages(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        await hub.quarantine.keep("q", b"no json", "is no JSON")
        [entry] = await hub.quarantine.list()
        assert not hasattr(entry, "message")
        with pytest.raises(NotFound, match="no message is kept"):
            await _set_aside_without_message(hub.quarantine)


async def _set_aside_without_message(quarantine: Quarantine) -> None:
    entry = quarantine.dead_letter("api", "a", "is not right", '{"document_id": "a"}')
    await quarantine._service.write(module.ChangeSet(records=dict(entry)))
    await quarantine.message("api", "a")


async def test_what_was_accepted_is_kept_whatever_is_refused_of_that_document_later(tmp_path: Path) -> None:
    payload = '{"document_id": "a", "content": "Ada."}'
    problem = Problem(code="invalid_document", message="is too large")
    refused = ProcessResult(document_id="a", status=Status.REJECTED, error=problem)
    async with running(tmp_path) as hub:
        kept = hub.quarantine.dead_letter("api", "a", "could not be written", payload)
        await hub.service.write(ChangeSet(records=kept))
        await hub.service.write(hub.quarantine.refused("api", refused))
        assert [entry.error for entry in await hub.quarantine.list()] == ["is too large"]
        await hub.retry_quarantined("api", "a", actor="test")
        await until(lambda: is_stored(hub.service, "a"))
        assert await hub.service.store.records("quarantined") == {}


async def test_what_an_earlier_release_set_aside_is_given_back(tmp_path: Path) -> None:
    payload = '{"document_id": "a", "content": "Ada."}'
    entry = {"connector": "api", "document_id": "a", "error": "e", "at": "2026-01-01T00:00:00Z", "payload": payload}
    async with running(tmp_path) as hub:
        records: Records = {("quarantine", json.dumps(["api", "a"])): json.dumps(entry)}
        await hub.service.write(ChangeSet(records=records))
        await hub.retry_quarantined("api", "a", actor="test")
        await until(lambda: is_stored(hub.service, "a"))


async def is_stored(service: GraphService, document_id: str) -> bool:
    return document_id in await stored(service)
