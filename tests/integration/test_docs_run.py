"""The HTTP examples of the docs, made against a running hub in the order of their page."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.service import create_graph_service
from hub.cli.intake import named_files
from hub.config import Config, load_config
from hub.runtime import Hub
from hub.sdk.files import read_documents
from hub.web import serve

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8080"
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = ("README.md", "docs/for-external-systems.md")


@dataclass
class Curl:
    """What a `curl` line asks for."""

    url: str = ""
    method: str = ""
    data: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: str) -> Curl:
        call = cls()
        words = iter(shlex.split(line)[1:])
        for word in words:
            match word:
                case "-s":
                    pass
                case "-X":
                    call.method = next(words)
                case "-d":
                    call.data = next(words)
                case "-H":
                    name, _, value = next(words).partition(": ")
                    call.headers[name] = value
                case _:
                    assert word.startswith(ADDRESS), word
                    call.url = word.removeprefix(ADDRESS)
        call.method = call.method or ("GET" if call.data is None else "POST")
        return call


def curls(page: str) -> list[str]:
    found = re.findall(r"^\$ (curl .*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert found
    return list(found)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with (
        await create_graph_service(f"sqlite:{tmp_path}/docs.db") as service,
        Hub(Config(), service=service) as hub,
        await serve(hub, "127.0.0.1:0") as server,
    ):
        yield server.url


@pytest.mark.parametrize("page", PAGES)
async def test_the_calls_of_a_page_succeed_in_their_order(page: str, url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for line in curls(page):
            call = Curl.parse(line)
            async with http.request(call.method, url + call.url, data=call.data, headers=call.headers) as response:
                assert response.status == 200, (line, await response.text())


async def test_the_question_of_the_readme_is_answered_from_the_document_of_the_readme(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for line in curls("README.md")[:2]:
            call = Curl.parse(line)
            async with http.request(call.method, url + call.url, data=call.data, headers=call.headers) as response:
                answer = await response.json()
    assert answer["answer"] == "To reset your password, open Settings and choose Security."
    assert [source["document_id"] for source in answer["sources"]] == ["help-1"]


README_ANSWERS = {
    "How are webhooks signed?": ("The signature is that of [Standard Webhooks]",),
    "Does the default need a server?": ("The default needs no server, no key and no model",),
}
"""How a right answer may begin: the documentation says some things in two places."""


def readme_command(name: str) -> list[list[str]]:
    """The arguments of each `aime NAME` line of the README."""
    found = re.findall(rf"^\$ \.venv/bin/aime {name} (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found
    return [shlex.split(line) for line in found]


async def test_the_questions_of_the_readme_are_answered_from_the_default_configuration_and_what_it_ingests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    async with (
        await create_graph_service(f"sqlite:{tmp_path}/docs.db") as service,
        Hub(load_config(ROOT / "plugins.toml"), service=service, drive=["docs"]) as hub,
    ):
        assert (await (await hub.run_now("docs"))).error is None
        followed = {document.document_id for document in await service.documents(limit=1000)}
        for path, _, source in readme_command("ingest"):
            records = [record for file, name in named_files([Path(path)]) for record in read_documents(file, name)]
            for record in records:
                assert record.fields is not None
                assert record.fields["document_id"] not in followed, "the connector and the command would take turns"
                record.fields["metadata"]["source"] = source
                await service.process_document(**record.fields)
        questions = {words[0]: json.loads(words[2]) for words in readme_command("query")}
        assert questions.keys() == README_ANSWERS.keys()
        for question, filters in questions.items():
            answer = await service.query(question, filters=filters)
            assert not answer.abstained
            assert " ".join((answer.answer or "").split()).startswith(README_ANSWERS[question])


async def test_the_receiver_of_the_docs_takes_what_a_hub_sends_that_is_configured_as_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs/for-external-systems.md").read_text()
    [program] = re.findall(r"^```python receiver\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [configuration] = re.findall(r"^```toml receiver\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [secret] = set(re.findall(r"^\$ export RECEIVER_SECRET=(\S+)$", text, re.MULTILINE))
    monkeypatch.setenv("RECEIVER_SECRET", secret)
    namespace: dict[str, Any] = {"__name__": "receiver"}
    exec(program, namespace)
    with HTTPServer(("127.0.0.1", 0), namespace["Receiver"]) as receiver:
        receiver.timeout = 30
        file = tmp_path / "try.toml"
        file.write_text(configuration.replace(":9000", f":{receiver.server_port}"))
        async with (
            await create_graph_service(f"sqlite:{tmp_path}/try.db") as service,
            Hub(load_config(file), service=service),
        ):
            await service.process_document(document_id="README.md", content="Try it.")
            await asyncio.to_thread(receiver.handle_request)
    assert "`document.processed README.md`" in text
    assert capsys.readouterr().out == "document.processed README.md\n"
    assert namespace["receive"](secret, {"webhook-id": "msg_1"}, b"{}") == 401


async def test_the_program_that_posts_many_documents_gets_a_result_for_each(url: str) -> None:
    text = (ROOT / "docs/for-external-systems.md").read_text()
    [program] = [each for each in PROGRAM.findall(text) if "post_all" in each]
    namespace: dict[str, Any] = {}
    exec(program, namespace)
    documents = [{"document_id": f"crm-{n}", "content": f"Note {n}."} for n in range(3)] + [{"document_id": "crm-3"}]
    results = await asyncio.to_thread(lambda: list(namespace["post_all"](url, documents)))
    assert [result["status"] for result in results] == ["processed", "processed", "processed", "rejected"]
