"""The hub as a whole: what is configured runs, what is broken says so, and an edit of the file is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from core.errors import ConfigError, ConfigErrors, NotFound, PermanentDocumentError
from core.service import create_graph_service
from hub.config import load_config
from hub.runtime import Hub, InstanceState
from hub.sdk import Health, Notification, Outcome, hooks
from tests.integration.hub.rig import Hook, Source, doc, plugins, running, stored, table, until


async def first_run(hub: Hub, name: str) -> None:
    status = hub.instances[name].status
    await until(lambda: status.next_run)


# ---------------------------------------------------------------- start


async def test_a_plugin_that_does_not_import_is_reported_by_name_and_stops_nobody(tmp_path: Path) -> None:
    broken = EntryPoint("broken", "no_such_module_at_all", hooks.ENTRY_POINT_GROUP)
    config = table("s") + '[connectors.b]\nkind = "broken"\n'
    async with running(tmp_path, {"s": Source([doc("a")])}, config, others=[broken]) as hub:
        await first_run(hub, "s")
        assert list(await stored(hub.service)) == ["a"]
        instance = hub.instances["b"]
        assert instance.status.state is InstanceState.FAILED
        assert "no_such_module_at_all" in str(instance.status.last_error)
        health = await hub.check("b")
        assert not health.ok
        assert "plugin 'broken'" in health.detail


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), ConfigError("wants a url")])
async def test_a_connector_that_cannot_be_made_is_reported_and_stops_nobody(tmp_path: Path, error: Exception) -> None:
    async with running(tmp_path, {"s": Source([doc("a")]), "b": error}) as hub:
        await first_run(hub, "s")
        assert hub.instances["b"].status.state is InstanceState.FAILED
        assert str(error) in str(hub.instances["b"].status.last_error)
        with pytest.raises(NotFound):
            await hub.run_now("b")


async def test_a_wrong_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(table("a", "stp = 1") + table("b", 'step = "x"'))
    source = Source([doc("a")])
    async with await create_graph_service("sqlite::memory:") as service:
        hub = Hub(load_config(path), service=service, plugins=plugins({"a": source, "b": source}))
        with pytest.raises(ConfigErrors) as raised:
            async with hub:
                pytest.fail("it must not start")
        assert len(raised.value.errors) == 2
        assert '; did you mean "step"?' in raised.value.message
        assert source.context is None


async def test_what_is_not_enabled_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path, {}, table("s", "enabled = false")) as hub:
        assert dict(hub.instances) == {}


async def test_an_instance_shows_what_it_can_do(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source(), "h": Hook(lambda _: [])}) as hub:
        assert hub.instances["s"].modes == ("pulls",)
        assert hub.instances["h"].modes == ("receives",)
        for name in ("s", "nobody"):
            with pytest.raises(NotFound, match="answers questions"):
                hub.answering(name)
        for call in (hub.check, hub.pause, hub.resume):
            with pytest.raises(NotFound):
                await call("nobody")


class Failing(Source):
    async def check(self) -> Health:
        raise PermanentDocumentError("x", "of an unexpected kind")


class Exploding(Source):
    async def check(self) -> Health:
        raise ZeroDivisionError("oops")

    async def aclose(self) -> None:
        raise ZeroDivisionError("oops")


async def test_a_check_and_a_close_that_fail_are_no_disaster(tmp_path: Path) -> None:
    async with running(tmp_path, {"f": Failing(), "e": Exploding()}) as hub:
        assert await hub.check("f") == Health(ok=False, detail="x: of an unexpected kind")
        assert await hub.check("e") == Health(ok=False, detail="ZeroDivisionError: oops")


class Told(Source):
    """Notifies: keeps the documents that it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: list[str] = []

    async def notify(self, batch: Sequence[Notification]) -> Sequence[Outcome]:
        self.documents += [str(notification.data["document_id"]) for notification in batch]
        return [Outcome() for _ in batch]


async def test_an_endpoint_whose_connector_was_broken_at_a_start_misses_nothing(tmp_path: Path) -> None:
    told = Told()
    config = table("t", 'notify.events = ["document.processed"]')

    async def put(hub: Hub, name: str) -> None:
        await hub.service.process_document(document_id=name, content="Some text.")

    async with running(tmp_path, {"t": told}, config) as hub:
        await put(hub, "before")
        await until(lambda: told.documents == ["before"])
    async with running(tmp_path, {"t": ZeroDivisionError("oops")}, config) as hub:
        await put(hub, "while")
    async with running(tmp_path, {"t": told}, config):
        await until(lambda: told.documents == ["before", "while"])


# ---------------------------------------------------------------- an edit of the file


async def test_added_instances_start_removed_ones_stop_and_edited_ones_start_anew_alone(tmp_path: Path) -> None:
    sources = {name: Source([doc(name)]) for name in ("stays", "edited", "removed", "added")}
    before = table("stays") + table("edited", "step = 1") + table("removed")
    async with running(tmp_path, sources, before) as hub:
        for name in ("stays", "edited", "removed"):
            await first_run(hub, name)
        kept = hub.instances["stays"]
        sources["edited"].closed = False
        (tmp_path / "plugins.toml").write_text(
            "# moved\n\n[hub]\n" + table("added") + table("edited", "step = 2") + table("stays")
        )
        await until(lambda: set(hub.instances) == {"added", "edited", "stays"})
        await first_run(hub, "added")
        await first_run(hub, "edited")
        assert hub.instances["stays"] is kept
        assert (sources["stays"].closed, sources["removed"].closed, sources["edited"].closed) == (False, True, True)
        assert len(sources["stays"].started_at) == 1
        assert sources["edited"].started_at == [0, 1], "it goes on from its checkpoint"
        assert sorted(await stored(hub.service)) == ["added", "edited", "removed", "stays"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hub\n", "plugins.toml:1"),
        (table("s", "stp = 1"), 'did you mean "step"'),
        ("[connectors.s]\n", "kind is required"),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing_until_it_is_mended(
    tmp_path: Path, text: str, words: str
) -> None:
    async with running(tmp_path, {"s": Source(), "t": Source()}, table("s")) as hub:
        kept = hub.instances["s"]
        (tmp_path / "plugins.toml").write_text(text)
        await until(lambda: hub.config_error)
        assert words in str(hub.config_error)
        assert dict(hub.instances) == {"s": kept}
        assert kept.status.state is not InstanceState.FAILED
        (tmp_path / "plugins.toml").write_text(table("s") + table("t"))
        await until(lambda: "t" in hub.instances)
        await until(lambda: hub.config_error is None)
        assert hub.instances["s"] is kept


async def test_an_editor_that_puts_a_new_file_in_the_old_ones_place_is_followed(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": Source(), "t": Source()}, table("s")) as hub:
        new = tmp_path / "plugins.toml.new"
        new.write_text(table("t"))
        new.replace(tmp_path / "plugins.toml")
        await until(lambda: list(hub.instances) == ["t"])


async def test_an_edit_frees_an_instance_that_had_failed_to_start(tmp_path: Path) -> None:
    sources: dict[str, object] = {"s": ZeroDivisionError("oops")}
    async with running(tmp_path, sources) as hub:
        assert hub.instances["s"].problem
        sources["s"] = Source([doc("a")])
        (tmp_path / "plugins.toml").write_text(table("s", "step = 2"))
        await until(lambda: hub.instances["s"].problem is None)
        await first_run(hub, "s")
        assert list(await stored(hub.service)) == ["a"]


# ---------------------------------------------------------------- tasks and history


async def test_a_task_that_breaks_off_starts_again_and_touches_no_other(tmp_path: Path) -> None:
    tries: list[int] = []

    async def breaks() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise ZeroDivisionError("a defect")

    async with running(tmp_path, {"s": Source([doc("a")])}) as hub:
        task = hub._supervisor.start("breaks", breaks)
        async with asyncio.timeout(10):
            await task
        assert len(tries) == 2
        await first_run(hub, "s")


async def test_history_that_nobody_may_ask_for_any_more_is_collected(tmp_path: Path) -> None:
    """Seen by the clock of a hub that starts two days later."""
    async with await create_graph_service(f"sqlite:{tmp_path / 'test.db'}") as service:
        for number in range(3):
            await service.process_document(document_id="a", content=f"Version {number}.")
        path = tmp_path / "plugins.toml"
        path.write_text("[hub]\nkeep_history = '1d'")
        async with Hub(load_config(path), service=service):
            assert await service.store.floor() == 0
        later = datetime.now(UTC) + timedelta(days=2)
        async with Hub(load_config(path), service=service, now=lambda: later):
            await until(lambda: _collected(service.store))
        assert (await service.document("a")).text == "Version 2."


async def _collected(store: object) -> bool:
    floor: int = await store.floor()  # type: ignore[attr-defined]  # any store
    return floor == 3
