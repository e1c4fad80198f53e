"""The command line beside a running hub: `aime run` as a process, and commands that find it on its store."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 30
Aime = Callable[..., "subprocess.CompletedProcess[str]"]

CONFIG = """
[hub]
store = "sqlite:hub.db"
listen = "127.0.0.1:0"

[connectors.notes]
kind = "filesystem"
path = "notes"
every = "1h"
source = "field notes"
"""


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AIME_")} | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "rhine.md").write_text("# The Rhine\n\nThe Rhine flows into the North Sea.")
    (tmp_path / "plugins.toml").write_text(CONFIG)
    (tmp_path / "more.jsonl").write_text('{"_id": "nile", "title": "Nile", "text": "The Nile is 6,650 km long."}\n')
    return tmp_path


@pytest.fixture
def aime(folder: Path) -> Aime:
    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hub.cli", *args],
            cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done

    return run


class RunningHub:
    """`aime run`, past its ready line."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.log = folder / "hub.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hub.cli", "run", "--json", *args],
                cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        # The ready line is all that it prints.
        with self.process.stdout as stdout:
            line = stdout.readline()
        assert line, self.log.read_text()
        self.ready: dict[str, Any] = json.loads(line)
        self.url: str = self.ready["url"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@pytest.fixture
def hub(folder: Path) -> Iterator[RunningHub]:
    running = RunningHub(folder)
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.wait(SECONDS)


def test_the_ready_line_comes_when_readyz_answers_200_and_sigterm_ends_with_0(hub: RunningHub) -> None:
    assert hub.ready["pid"] == hub.process.pid
    assert hub.ready["connectors"] == {"notes": "filesystem"}
    with urllib.request.urlopen(f"{hub.url}/readyz", timeout=SECONDS) as response:
        assert response.status == 200
    assert hub.stop() == 0
    assert "Traceback" not in hub.log.read_text()


def test_ctrl_c_ends_with_0_too(hub: RunningHub) -> None:
    assert hub.stop(signal.SIGINT) == 0


def test_commands_that_find_the_hub_on_its_store_speak_to_it(hub: RunningHub, aime: Aime, folder: Path) -> None:
    ingested = aime("ingest", "more.jsonl", "--json")
    assert ingested.returncode == 0
    assert json.loads(ingested.stdout)["processed"] == 1
    ran = json.loads(aime("connectors", "run", "notes", "--json").stdout)
    assert ran["error"] is None
    assert aime("query", "How long is the Nile?").stdout.startswith("The Nile is 6,650 km long.")
    assert aime("query", "Where does the Rhine flow?", "--store", "sqlite:hub.db").returncode == 0
    [notes] = json.loads(aime("connectors", "list", "--json").stdout)
    assert (notes["name"], notes["kind"], notes["documents"]["processed"]) == ("notes", "filesystem", 1)
    assert json.loads(aime("connectors", "check", "notes", "--json").stdout)[0]["ok"] is True
    actors = {record["actor"] for record in json.loads(aime("audit", "--json").stdout)}
    assert {"cli", "notes"} <= actors
    exported = aime("export")
    assert hub.stop() == 0
    # Without the hub the same command opens the store itself, and finds the same.
    assert aime("export").stdout == exported.stdout
    assert aime("query", "How long is the Nile?").stdout.startswith("The Nile is 6,650 km long.")


def test_rejected_documents_are_named_when_a_hub_takes_them_as_well(hub: RunningHub, aime: Aime, folder: Path) -> None:
    lines = ['{"document_id": "1", "content": "Good."}', "{broken", '{"document_id": "", "content": "x"}']
    (folder / "mixed.ndjson").write_text("\n".join([*lines, '{"document_id": "2", "content": "Good too."}']))
    done = aime("ingest", "mixed.ndjson", "--json")
    assert done.returncode == 1
    counts = json.loads(done.stdout)
    assert (counts["documents"], counts["processed"], counts["rejected"]) == (4, 2, 2)
    named = sorted(line.split(": ")[0] for line in done.stderr.splitlines())
    assert named == ["mixed.ndjson:2", "mixed.ndjson:3"]


def test_a_pause_given_through_the_hub_outlives_it(hub: RunningHub, aime: Aime) -> None:
    assert json.loads(aime("connectors", "pause", "notes", "--json").stdout)["state"] == "paused"
    assert hub.stop() == 0
    assert json.loads(aime("connectors", "list", "--json").stdout)[0]["state"] == "paused"
    refused = aime("connectors", "run", "notes")
    assert refused.returncode == 2
    assert "resume it first" in refused.stderr
    assert json.loads(aime("connectors", "resume", "notes", "--json").stdout)["state"] != "paused"


def test_once_there_is_a_key_a_url_needs_one_and_the_command_on_the_store_still_gets_in(
    hub: RunningHub, aime: Aime
) -> None:
    secret = aime("keys", "create", "ops", "--scope", "read").stdout.strip()
    refused = aime("query", "Nile?", AIME_URL=hub.url)
    assert refused.returncode == 1
    assert "API key" in refused.stderr
    assert aime("query", "Nile?", "--url", hub.url, AIME_API_KEY=secret).returncode == 0
    too_little = aime("audit", AIME_URL=hub.url, AIME_API_KEY=secret)
    assert too_little.returncode == 1
    assert "admin" in too_little.stderr
    assert aime("audit").returncode == 0


def test_a_second_hub_on_the_store_is_told_who_has_it(hub: RunningHub, aime: Aime) -> None:
    second = aime("run")
    assert second.returncode == 1
    assert f"process {hub.process.pid}" in second.stderr
    assert hub.url in second.stderr


def test_a_port_in_use_is_a_clear_error_and_the_store_is_let_go(hub: RunningHub, aime: Aime) -> None:
    port = hub.url.rpartition(":")[2]
    outcome = aime("run", "--store", "sqlite:other.db", "--listen", f"127.0.0.1:{port}")
    assert outcome.returncode == 2
    assert f"127.0.0.1:{port} is in use" in outcome.stderr
    assert aime("query", "Nile?", "--store", "sqlite:other.db").returncode == 0


def test_a_public_address_is_refused_until_there_is_a_key(aime: Aime) -> None:
    outcome = aime("run", "--listen", "0.0.0.0:0")
    assert outcome.returncode == 2
    assert "aime keys create" in outcome.stderr


ENDPOINT = """
[connectors.crm]
kind = "webhook"
notify.url = "http://127.0.0.1:9/nobody-listens"
notify.secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
notify.allow_networks = ["127.0.0.0/8"]
"""


def test_a_disabled_endpoint_is_named_wherever_somebody_looks_for_what_does_not_arrive(
    aime: Aime, folder: Path
) -> None:
    (folder / "plugins.toml").write_text(CONFIG + ENDPOINT)
    running = RunningHub(folder)
    try:
        listed = {each["name"]: each["events"] for each in json.loads(aime("endpoints", "list", "--json").stdout)}
        assert listed["crm"] == ["document.deleted", "document.processed"]
        tested = aime("endpoints", "test", "crm")
        assert (tested.returncode, tested.stderr.startswith("crm did not take it: ")) == (1, True)
        assert aime("endpoints", "disable", "crm").stdout.startswith("crm is disabled; ")
        assert aime("ingest", "more.jsonl").returncode == 0
        pending = wait_for(lambda: json.loads(aime("deliveries", "list", "--endpoint", "crm", "--json").stdout))
        replayed = aime("deliveries", "replay", pending[0]["id"])
        assert replayed.returncode == 0
        assert "crm is disabled (by an admin)" in replayed.stderr
        assert "aime endpoints enable crm" in replayed.stderr
        assert aime("endpoints", "enable", "nobody").returncode == 1
    finally:
        assert running.stop() == 0
    [finding] = [each for each in json.loads(aime("doctor", "--json").stdout) if each["subject"] == "endpoint"]
    assert finding["state"] == "warning"
    assert re.fullmatch(r"crm is disabled \(by an admin\): \d deliver(y|ies) pending, 0 dead", finding["detail"])
    assert aime("deliveries", "replay", pending[0]["id"]).stderr.startswith("crm is disabled")
    without = aime("endpoints", "list")
    assert without.returncode == 1
    assert "needs a running hub" in without.stderr


def wait_for(look: Callable[[], Any]) -> Any:
    """What `look` finds, once it is not empty."""
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline
    return found


def test_a_hub_that_was_killed_leaves_a_store_that_the_next_one_opens(
    hub: RunningHub, aime: Aime, folder: Path
) -> None:
    assert aime("ingest", "more.jsonl").returncode == 0
    assert hub.stop(signal.SIGKILL) == -signal.SIGKILL
    assert aime("query", "How long is the Nile?").stdout.startswith("The Nile is 6,650 km long.")
    again = RunningHub(folder)
    assert again.stop() == 0


def test_a_command_drives_one_connector_where_no_hub_runs(aime: Aime) -> None:
    ran = json.loads(aime("connectors", "run", "notes", "--json").stdout)
    assert ran == {"processed": 1, "unchanged": 0, "deleted": 0, "rejected": 0, "error": None}
    # A file that was written just now is read once more, since another write could bear the same time.
    once_more = "notes: 0 processed, 1 unchanged, 0 deleted, 0 rejected.\n"
    said = once_more
    for _ in range(20):
        if said != once_more:
            break
        said = aime("connectors", "run", "notes").stdout
    assert said == "notes: its source has nothing new since the last run.\n"
    assert aime("query", "Where does the Rhine flow?").stdout.startswith("The Rhine flows into the North Sea.")
    unknown = aime("connectors", "run", "letters")
    assert unknown.returncode == 1
    assert "letters" in unknown.stderr


FORMS = """
answers.form = "support"

[connectors.papers]
kind = "filesystem"
path = "notes"
answers.form = "research"
answers.sources = ["field notes"]
answers.min_groundedness = 0.1
"""


@pytest.mark.parametrize("running", [False, True], ids=["on the store", "on a hub"])
def test_a_connector_is_asked_in_its_own_form(aime: Aime, folder: Path, *, running: bool) -> None:
    (folder / "plugins.toml").write_text(CONFIG + FORMS)
    assert aime("connectors", "run", "notes").returncode == 0
    hub = RunningHub(folder) if running else None
    try:
        question = "Where does the Rhine flow?"
        support = json.loads(aime("ask", "notes", question, "--json").stdout)
        assert support["answer"] == "The Rhine flows into the North Sea."
        assert [source["document_id"] for source in support["sources"]] == ["notes/rhine.md"]
        assert aime("ask", "notes", question).stdout.splitlines()[:2] == [
            support["answer"], f"confidence {support['confidence']:.2f}",
        ]  # fmt: skip
        printed = aime("ask", "papers", question, "--fields", '{"filters": {"source": "field notes"}}').stdout
        assert printed.startswith(f"{support['answer']}\ngroundedness ")
        assert "[1] The Rhine (notes/rhine.md)\n    “The Rhine flows into the North Sea.”" in printed
        before = aime("ask", "papers", question, "--fields", '{"date_range": {"to": "2001-01-01"}}')
        assert before.stdout.startswith("No answer: ")
        wrong = aime("ask", "notes", question, "--fields", '{"min_groundedness": 2}')
        assert (wrong.returncode, wrong.stderr) == (2, "aime: min_groundedness: must be less than or equal to 1\n")
        unknown = aime("ask", "nobody", question)
        assert (unknown.returncode, "'nobody'" in unknown.stderr) == (1, True)
    finally:
        if hub is not None:
            assert hub.stop() == 0


def test_doctor_passes_over_callbacks_where_none_can_be_asked_for(aime: Aime, folder: Path) -> None:
    running = RunningHub(folder)
    try:
        assert not [each for each in json.loads(aime("doctor", "--json").stdout) if each["subject"] == "endpoint"]
    finally:
        assert running.stop() == 0
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    (folder / "plugins.toml").write_text(CONFIG.replace("[hub]", f'[hub]\ncallbacks.secret = "{secret}"'))
    running = RunningHub(folder)
    try:
        [found] = [each for each in json.loads(aime("doctor", "--json").stdout) if each["subject"] == "endpoint"]
        assert (found["state"], found["detail"]) == ("ok", "callback: 0 deliveries pending, 0 dead")
    finally:
        assert running.stop() == 0
